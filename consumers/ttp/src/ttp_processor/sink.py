"""Where JSON lines go: standard output, or a file that loses and doubles nothing over restarts."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from stellar_arrow_client.checkpoint import Checkpoint, load_checkpoint, locked, save_checkpoint, sync_folder
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError
from stellar_arrow_client.request import Cursor, StreamRequest
from ttp_processor.columns import STREAM
from ttp_processor.json_lines import lines


class Lines:
    """A :class:`stellar_arrow_client.sink.Sink` that writes events to a stream of bytes, such as standard output.

    Nothing is ever durable: who reads the stream keeps what was read.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Nothing is kept from an earlier run."""
        return None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Give out the events of whole ledgers at once."""
        self._out.write(lines(batch))
        self._out.flush()

    def checkpoint(self) -> int | None:
        return None

    def close(self, *, complete: bool = True) -> None:
        """The stream belongs to others."""


class LinesFile:
    """A :class:`stellar_arrow_client.sink.Sink` that appends events to a file.

    A checkpoint beside the file says how many of its bytes are durable and which ledger comes next; what an interrupted
    run wrote after it is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checkpoint_path = path.with_name(f"{path.name}.checkpoint")
        self._held = ExitStack()
        self._file: BinaryIO | None = None
        self._request: StreamRequest | None = None
        self._first: int | None = None
        self._next: int | None = None
        self._durable = 0

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Go on with the file, or begin it.

        Raises:
            InvalidRequestError: the file holds something else, or was not written by this command.
            IntegrityError: file and checkpoint contradict each other.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(self._path.with_name(f".{self._path.name}.lock")))
            checkpoint = load_checkpoint(self._checkpoint_path)
            if checkpoint is not None:
                self._durable = _size(checkpoint)
                self._first, self._next = checkpoint.first, checkpoint.resume(request, self._path)
            self._file = self._held.enter_context(self._path.open("ab"))
            self._cut(checkpoint is not None)
            sync_folder(self._path.parent)
        except OSError as error:
            raise _failure(self._path, error) from error
        self._request = request
        return self._next

    def _cut(self, ours: bool) -> None:
        """Cut off what is not durable."""
        assert self._file is not None
        held = self._path.stat().st_size
        if not ours and held:
            raise InvalidRequestError(f"{self._path} has content but no {self._checkpoint_path.name}; choose another")
        if held < self._durable:
            raise IntegrityError(
                f"{self._path} has {held} bytes, its checkpoint says {self._durable}; restore it, or delete both"
            )
        self._file.truncate(self._durable)

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Append the events of whole ledgers.

        Raises:
            StellarArrowError: the disk is full or cannot be written.
        """
        assert self._file is not None
        if self._first is None:
            self._first = self._next = cursor.first
            self.checkpoint()  # from here on, the file is known to be ours
        try:
            self._file.write(lines(batch))
        except OSError as error:
            raise _failure(self._path, error) from error
        self._next = cursor.cursor

    def checkpoint(self) -> int | None:
        """Make all durable, first the events, then the ledger that comes next.

        Raises:
            StellarArrowError: the disk is full or cannot be written.
        """
        if self._first is None or self._next is None:
            return None
        assert self._file is not None
        assert self._request is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            state = {"bytes": size}
            save_checkpoint(self._checkpoint_path, Checkpoint.of(self._request, self._first, self._next, state))
        except OSError as error:
            raise _failure(self._path, error) from error
        self._durable = size
        return self._next

    def close(self, *, complete: bool = True) -> None:
        """Release the file; what is not durable is cut off by the next run."""
        self._held.close()


def _size(checkpoint: Checkpoint) -> int:
    size = checkpoint.state.get("bytes")
    if type(size) is not int or size < 0 or checkpoint.stream != STREAM:
        raise IntegrityError("the checkpoint is not one of ttp-processor; choose another --output")
    return size


def _failure(path: Path, error: OSError) -> StellarArrowError:
    return StellarArrowError(f"cannot write {path}: {error.strerror}; free the disk or choose another --output")
