"""A whole consumer in one file: rows as JSON lines, one file a checkpoint, listed in the checkpoint itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from stellar_arrow_client import Client, Cursor, StreamRequest, run
from stellar_arrow_client.checkpoint import Checkpoint, load_checkpoint, locked, save_checkpoint, write_atomically
from stellar_arrow_client.options import (
    Command,
    RunOptions,
    Selection,
    client_options,
    option,
    request_options,
    run_options,
    standard_options,
)


class JsonLinesSink:
    """Keeps rows in memory until a checkpoint makes a file of them; a file not listed there does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[str] = []
        self._files: list[str] = []
        self._first: int | None = None
        self._next: int | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        self._folder.mkdir(exist_ok=True)
        self._request = request
        held = load_checkpoint(self._folder / "checkpoint.json")
        if held is None:
            return None
        self._next = held.resume(request, self._folder)
        self._first, self._files = held.first, list(held.state["files"])
        return self._next

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        self._first = self._first or cursor.first
        self._next = cursor.cursor
        self._lines += [json.dumps(row, default=_text) for row in batch.to_pylist()]

    def checkpoint(self) -> int | None:
        if self._first is None or self._next is None:
            return None
        if self._lines:
            name = f"rows-to-{self._next - 1}.jsonl"
            write_atomically(self._folder / name, "\n".join(self._lines).encode())
            self._files.append(name)
            self._lines.clear()
        state = {"files": self._files}
        save_checkpoint(self._folder / "checkpoint.json", Checkpoint.of(self._request, self._first, self._next, state))
        return self._next

    def close(self, *, complete: bool = True) -> None:
        pass


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


@click.command("jsonl-consumer", cls=Command)
@client_options
@click.argument("output", type=click.Path(path_type=Path))
@request_options()
@option("--stream", default="samples", help="Stream to read.")
@option("--checkpoint-seconds", default=60.0, help="Seconds between two checkpoints.")
@run_options
@standard_options("stellar-arrow-source")
def command(
    client: Client,
    output: Path,
    selection: Selection,
    stream: str,
    checkpoint_seconds: float,
    run_options: RunOptions,
) -> int:
    """Write a stream as JSON lines."""
    request = selection.request(stream)
    output.mkdir(exist_ok=True)
    with locked(output / ".lock"):
        sink = JsonLinesSink(output)
        return run(sink, client, request, options=run_options, checkpoint_seconds=checkpoint_seconds).exit_code


if __name__ == "__main__":
    command()
