"""A stream whose position, and what was written up to it, survive any end of the process."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import pyarrow as pa

from stellar_arrow_client.checkpoint import Checkpoint, load_checkpoint, locked, save_checkpoint, sync_folder
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError
from stellar_arrow_client.request import Cursor, StreamRequest

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client


class CheckpointedStream:
    """The batches of a request, resumed after the ones that were acknowledged.

    Use it in a ``with`` statement, which holds a lock against a second process. ``ack`` says that everything up to a
    cursor is dealt with. What was not acknowledged when the process ended comes again; files that :meth:`open` gave
    are cut back to what was acknowledged. So rows that go into these files are there exactly once. Output elsewhere
    is written exactly once if it can be undone or repeated: keep in ``state`` what that takes.

    Made by :meth:`stellar_arrow_client.Client.checkpointed`.

    Attributes:
        state: as given to the last ``ack``; empty at first.
        next_ledger: where the stream goes on; None at the beginning of a request without start.

    Raises:
        InvalidRequestError: the checkpoint is of another request.
        IntegrityError: the checkpoint or a file is not as it was left.
        StellarArrowError: another process works with the checkpoint.
    """

    def __init__(self, client: Client, request: StreamRequest, path: Path) -> None:
        self.state: dict[str, Any] = {}
        self.next_ledger = request.start
        self._client, self._request, self._path = client, request, path
        self._open: dict[str, IO[Any]] = {}
        self._seen: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._first = request.start
        self._given: int | None = None
        self._batches: Generator[tuple[pa.RecordBatch, Cursor], None, None] | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entering:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            entering.enter_context(locked(self._path.with_name(f".{self._path.name}.lock")))
            checkpoint = load_checkpoint(self._path)
            resume = None
            if checkpoint is not None:
                resume = self.next_ledger = checkpoint.resume(self._request, self._path)
                self._first = checkpoint.first
                try:
                    self._sizes, self.state = dict(checkpoint.state["files"]), dict(checkpoint.state["state"])
                except (LookupError, TypeError, ValueError):
                    raise InvalidRequestError(
                        f"{self._path} is the checkpoint of something else than a checkpointed stream; choose another"
                    ) from None
            self._batches = self._client.stream(self._request, resume=resume)
            entering.callback(self._batches.close)
            self._held = entering.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches = None
        with self._held:
            for file in self._open.values():
                self._held.callback(file.close)

    def __iter__(self) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        return self

    def __next__(self) -> tuple[pa.RecordBatch, Cursor]:
        if self._batches is None:
            raise StellarArrowError("a checkpointed stream gives batches inside its with statement only")
        batch, cursor = next(self._batches)
        if self._first is None:
            self._first = cursor.first
        self._given = cursor.cursor
        return batch, cursor

    def open(self, path: str | Path, mode: str = "w", **options: Any) -> IO[Any]:
        """A file to append to, without what was written to it after the last ``ack``.

        A file that was not acknowledged yet is emptied, as by the built-in :func:`open`. It may be closed and opened
        again at any time; leaving the ``with`` statement closes it.

        Args:
            path: is kept relative to the checkpoint: the two can be moved together.
            mode: ``w`` for text, ``wb`` for bytes.
            options: of the built-in :func:`open`, such as ``encoding`` and ``newline``.

        Raises:
            IntegrityError: the file is shorter than what was acknowledged.
        """
        if mode not in ("w", "wb"):
            raise InvalidRequestError(f"a file of a checkpointed stream is opened with mode w or wb, not {mode!r}")
        name = os.path.relpath(path, self._path.parent)
        if name in self._open and not self._open[name].closed:
            raise InvalidRequestError(f"{path} is open already")
        if name not in self._seen:
            self._cut(Path(path), self._sizes.get(name, 0))
            self._seen.add(name)
        self._open[name] = Path(path).open(mode.replace("w", "a"), **options)  # noqa: SIM115 - closed by __exit__
        return self._open[name]

    def _cut(self, path: Path, size: int) -> None:
        path.touch()
        found = path.stat().st_size
        if found < size:
            raise IntegrityError(
                f"{path} has {found} bytes, {size} were acknowledged; restore it, or delete it together with "
                f"{self._path} to begin anew"
            )
        os.truncate(path, size)

    def ack(self, cursor: Cursor, state: dict[str, Any] | None = None) -> None:
        """Everything up to ``cursor`` is dealt with: it does not come again. Makes the files durable up to here.

        Args:
            cursor: of a batch that the stream gave.
            state: what to find in ``state`` after a restart, JSON; None leaves it as it is.

        Raises:
            InvalidRequestError: the stream has not come so far, or more was acknowledged before.
        """
        if self._given is None or self._first is None or cursor.cursor > self._given:
            raise InvalidRequestError(f"ledger {cursor.last} cannot be acknowledged: the stream has not given it yet")
        if cursor.cursor < (self.next_ledger or 0):
            raise InvalidRequestError(f"more than ledger {cursor.last} was acknowledged before")
        for name, file in list(self._open.items()):
            if file.closed:
                del self._open[name]
            else:
                file.flush()
            self._sizes[name] = _made_durable(self._path.parent / name)
        self.state = self.state if state is None else state
        kept = {"files": self._sizes, "state": self.state}
        save_checkpoint(self._path, Checkpoint.of(self._request, self._first, cursor.cursor, kept))
        self.next_ledger = cursor.cursor


def _made_durable(path: Path) -> int:
    """Bytes of a file, which are on disk with its name when this returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    sync_folder(path.parent)
    return size
