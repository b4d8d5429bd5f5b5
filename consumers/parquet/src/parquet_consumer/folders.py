"""An archive in a folder of this machine: what is complete is synced to the disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pyarrow as pa

from parquet_consumer.errors import storage_errors
from parquet_consumer.names import file_name, object_name, temporary_name
from parquet_consumer.storage import LOCK_NAME, Written
from stellar_arrow_client.checkpoint import locked, sync_folder


class Folder:
    """See :class:`~parquet_consumer.storage.Storage`."""

    shared = False  # a lock of the system is freed when its process has ended, with all that it wrote

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def at(self, path: str) -> str:
        return str(self.path / path)

    def within(self, name: str) -> Self:
        return type(self)(self.path / name)

    def below(self, name: str) -> list[Self]:
        with storage_errors("read", self.path):
            return [type(self)(path.parent) for path in sorted(self.path.glob(f"*/{name}"))]

    def prepare(self) -> None:
        with storage_errors("write into", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with storage_errors("write into", self.path):
            lock = locked(self.path / LOCK_NAME)
            lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def is_locked(self) -> bool:
        with storage_errors("read", self.path):
            try:
                lock = os.open(self.path / LOCK_NAME, os.O_RDONLY)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(lock)
            return False

    def exists(self, path: str) -> bool:
        with storage_errors("read", self.path):
            return (self.path / path).exists()

    def files(self) -> Iterator[str]:
        with storage_errors("read", self.path):
            for root, _, names in os.walk(self.path, onerror=_raise):
                for name in names:
                    yield Path(root, name).relative_to(self.path).as_posix()

    def size(self, path: str) -> int | None:
        with storage_errors("read", self.path / path):
            place = self.path / path
            return place.stat().st_size if place.is_file() else None

    def modified(self, path: str) -> datetime | None:
        with storage_errors("read", self.path / path):
            place = self.path / path
            return datetime.fromtimestamp(place.stat().st_mtime, UTC) if place.is_file() else None

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(str(self.path / path), "rb")

    def delete(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        with storage_errors("delete in", self.path):
            for path in paths:
                (self.path / path).unlink(missing_ok=True)
            for parent in {(self.path / path).parent for path in paths}:
                self._remove_if_empty(parent)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove a partition's folder, and those above it, once nothing is left in them."""
        while folder != self.path:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                sync_folder(folder)
                return
            folder = folder.parent
        sync_folder(self.path)

    def create(self, folder: str, stream: str, first: int) -> NewFile:
        return NewFile(self.path, folder, stream, first)

    def log(self, name: str) -> Log:
        return Log(self.path / name)


class NewFile:
    """Has a hidden temporary name until it is complete; see :class:`~parquet_consumer.storage.NewFile`."""

    def __init__(self, archive: Path, folder: str, stream: str, first: int) -> None:
        self._archive, self._folder, self._stream, self._first = archive, folder, stream, first
        self._path = archive / folder / temporary_name(stream, first)
        self.place = str(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = pa.OSFile(self.place, "wb")

    def complete(self, last: int | None) -> Written:
        self.stream.close()
        with self._path.open("rb") as written:
            os.fsync(written.fileno())
            digest = hashlib.file_digest(written, "sha256").hexdigest()
            size = os.fstat(written.fileno()).st_size
        name = (
            object_name(self._stream, self._first, secrets.randbits(64))
            if last is None
            else file_name(self._stream, self._first, last)
        )
        self._path = self._path.rename(self._path.with_name(name))
        sync_folder(self._path.parent)
        for above in Path(self._folder).parents:
            sync_folder(self._archive / above)
        return Written(self._path.relative_to(self._archive).as_posix(), size, digest)

    def abort(self) -> None:
        with suppress(OSError):
            self.stream.close()
        self._path.unlink(missing_ok=True)


class Log:
    """A file; appends hold a lock on it. See :class:`~parquet_consumer.storage.Log`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, offset: int) -> bytes:
        try:
            log = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return Change(log, self._path.parent).read(offset)
        finally:
            os.close(log)

    @contextmanager
    def changing(self) -> Iterator[Change]:
        log = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(log, fcntl.LOCK_EX)
            yield Change(log, self._path.parent)
        finally:
            os.close(log)


class Change:
    """See :class:`~parquet_consumer.storage.Change`."""

    def __init__(self, log: int, folder: Path) -> None:
        self._log, self._folder = log, folder

    def read(self, offset: int) -> bytes:
        return b"".join(_read_all(self._log, offset))

    def write(self, offset: int, line: bytes) -> None:
        os.ftruncate(self._log, offset)
        try:
            _write_all(self._log, line, offset)
            os.fsync(self._log)
        except OSError:
            os.ftruncate(self._log, offset)
            raise
        if offset == 0:
            sync_folder(self._folder)


def _read_all(log: int, offset: int) -> Iterator[bytes]:
    while block := os.pread(log, 1 << 20, offset):
        yield block
        offset += len(block)


def _write_all(log: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(log, data, offset)
        data, offset = data[written:], offset + written


def _raise(error: OSError) -> None:
    raise error
