"""Checkpoint files: where a consumer goes on after a restart."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stellar_arrow_client.errors import IntegrityError, OutputMismatchError, StellarArrowError
from stellar_arrow_client.request import MAX_LEDGER, StreamRequest

VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an output holds.

    Attributes:
        stream, columns, filter: as in the request that filled it.
        first: the first ledger it holds.
        next_ledger: the first one it does not hold.
        state: what the sink itself needs to know; JSON.
    """

    stream: str
    first: int
    next_ledger: int
    columns: tuple[str, ...] | None = None
    filter: str | None = None
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, request: StreamRequest, first: int, next_ledger: int, state: dict[str, Any] | None = None
    ) -> Checkpoint:
        """The checkpoint of an output that holds ``first`` to ``next_ledger - 1`` of a request."""
        return cls(request.stream, first, next_ledger, request.columns, request.filter, state or {})

    def resume(self, request: StreamRequest, output: str | Path) -> int:
        """The ledger at which ``request`` goes on in ``output``, which this checkpoint describes.

        Raises:
            OutputMismatchError: the output holds something else, or the request would leave a gap in it.
        """
        for name in ("stream", "columns", "filter"):
            held, wanted = getattr(self, name), getattr(request, name)
            if held != wanted:
                raise OutputMismatchError(
                    f"{output} holds {name} {_text(held)}, not {_text(wanted)}; choose another output"
                )
        if request.start is not None and not self.first <= request.start <= self.next_ledger:
            raise OutputMismatchError(
                f"{output} holds ledgers {self.first} to {self.next_ledger - 1}, so a range that begins at "
                f"{request.start} does not join it; choose another output or a start in {self.first} to "
                f"{self.next_ledger}"
            )
        return self.next_ledger

    def to_json(self) -> bytes:
        """The checkpoint as text, for a sink that keeps it where its rows are, such as in a database."""
        body = {"version": VERSION, **dataclasses.asdict(self)}
        body["sha256"] = _digest(body)
        return json.dumps(body, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, place: str | Path) -> Checkpoint:
        """Read what :meth:`to_json` wrote; ``place`` is where it was found.

        Raises:
            IntegrityError: it is damaged or of a version that is not known.
        """
        damaged = f"the checkpoint {place} is damaged: "
        remedy = "; restore it, or delete it together with its output to begin anew"
        if len(content) > MAX_BYTES:
            raise IntegrityError(f"{damaged}it has more than {MAX_BYTES} bytes{remedy}")
        try:
            body = json.loads(content)
            version = body["version"]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise IntegrityError(f"{damaged}it is not a JSON object with a version{remedy}") from None
        if version != VERSION:
            raise IntegrityError(f"the checkpoint {place} has version {version!r}; this program knows {VERSION}")
        if body.pop("sha256", None) != _digest(body):
            raise IntegrityError(f"{damaged}its checksum does not fit{remedy}")
        try:
            return _checkpoint(body)
        except (LookupError, TypeError, ValueError) as error:
            raise IntegrityError(f"{damaged}{error}{remedy}") from None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that a crash leaves either the old one or the new one, whole."""
    write_atomically(path, checkpoint.to_json())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None when there is no file.

    Raises:
        IntegrityError: the file is damaged or of a version that is not known.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    return Checkpoint.from_json(content, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file durably: write beside it, fsync, rename, fsync the folder."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, after files in it were created, renamed or deleted."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, so that no two processes write the same output; freed even by a crash.

    Raises:
        StellarArrowError: another process holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StellarArrowError(
                f"another process is writing to {path.parent}; wait for it or choose another output"
            ) from None
        yield
    finally:
        os.close(handle)


def _checkpoint(body: dict[str, Any]) -> Checkpoint:
    columns, first, next_ledger = body["columns"], body["first"], body["next_ledger"]
    for number in (first, next_ledger):
        if type(number) is not int or not 1 <= number <= MAX_LEDGER + 1:
            raise ValueError(f"{number!r} is not a ledger")
    if first > next_ledger:
        raise ValueError(f"its first ledger {first} is after its next one {next_ledger}")
    if not isinstance(body["state"], dict):
        raise ValueError("its state is not an object")
    return Checkpoint(
        str(body["stream"]),
        first,
        next_ledger,
        None if columns is None else tuple(columns),
        body["filter"],
        body["state"],
    )


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _text(value: object) -> str:
    if value is None:
        return "all"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
