"""Where rows go."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
from stellar_arrow_client import Cursor, StreamRequest
from stellar_arrow_client.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stellar_arrow_client.errors import IntegrityError


class OutputSink:
    """Appends rows to ``rows.jsonl``; ``checkpoint.json`` says up to which byte they count."""

    def __init__(self, folder: Path) -> None:
        self._rows = (folder / "rows.jsonl").open("ab")
        self._checkpoint_path = folder / "checkpoint.json"
        self._checkpoint: Checkpoint | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Drop what was written after the last checkpoint, and go on from there."""
        self._request = request
        self._checkpoint = load_checkpoint(self._checkpoint_path)
        size = self._checkpoint.state["bytes"] if self._checkpoint else 0
        if os.fstat(self._rows.fileno()).st_size < size:
            raise IntegrityError(f"{self._rows.name} is shorter than the {size} bytes that were written; restore it")
        self._rows.truncate(size)
        self._rows.seek(size)
        return self._checkpoint.resume(request, self._rows.name) if self._checkpoint else None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Write the rows of ledgers ``cursor.first`` to ``cursor.last``."""
        for row in batch.to_pylist():
            self._rows.write(json.dumps(row, default=_text).encode() + b"\n")
        first = self._checkpoint.first if self._checkpoint else cursor.first
        self._checkpoint = Checkpoint.of(self._request, first, cursor.cursor, {"bytes": self._rows.tell()})

    def checkpoint(self) -> int | None:
        """Make durable first the rows, then the mark that says that they count."""
        if self._checkpoint is None:
            return None
        self._rows.flush()
        os.fsync(self._rows.fileno())
        save_checkpoint(self._checkpoint_path, self._checkpoint)
        return self._checkpoint.next_ledger

    def close(self, *, complete: bool = True) -> None:
        """Release the file; what no checkpoint made durable is dropped by the next run."""
        self._rows.close()


def _text(value: Any) -> str:
    """What JSON has no form for: bytes in hexadecimal; times and decimal numbers as Python writes them."""
    return value.hex() if isinstance(value, bytes) else str(value)
