"""An archive in object storage: an object appears whole or not at all, and none is ever replaced by another's.

Data objects are uploaded while they are written, in parts once they are larger than one, under names that no other
writer can choose. The log is one object, replaced only in the version that was read (``If-Match``, or
``If-None-Match: *`` for the first one): of two writers, one loses and must read what the other has recorded.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final, Self, TypeVar

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from parquet_consumer.errors import ArchiveIntegrityError, storage_errors
from parquet_consumer.leases import Lease
from parquet_consumer.names import object_name
from parquet_consumer.storage import LOCK_NAME, OvertakenError, Written
from stellar_arrow_client.object_storage import ATTEMPTS, ObjectAddress, repeat, tells_of_no_bucket

PART_BYTES: Final = 8 * 1024 * 1024
"""Of an upload: a smaller object is put at once, a larger one in parts of this size."""

_PARTS_AT_ONCE: Final = 3
_PAGE: Final = 1000

T = TypeVar("T")


class Bucket:
    """See :class:`~parquet_consumer.storage.Storage`."""

    shared = True  # what a killed writer has sent may arrive later

    def __init__(self, address: ObjectAddress) -> None:
        self.address = address
        self.store = address.open(attempts=0)  # for what is repeated here
        self.patient = address.open()  # for what only the library can repeat

    def __str__(self) -> str:
        return self.address.where

    def at(self, path: str) -> str:
        return f"{self.address.where}/{path}"

    def within(self, name: str) -> Self:
        return type(self)(self.address.within(name))

    def below(self, name: str) -> list[Self]:
        with storage_errors("read", str(self)):
            folders = repeat(lambda: obstore.list_with_delimiter(self.store)["common_prefixes"])
        inner = (self.within(folder.rstrip("/")) for folder in sorted(folders))
        return [place for place in inner if place.exists(name)]

    def prepare(self) -> None:
        """Nothing: a prefix need not be made."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with Lease(self.store, LOCK_NAME, str(self)).held():
            yield

    def is_locked(self) -> bool:
        return Lease(self.store, LOCK_NAME, str(self)).is_held()

    def exists(self, path: str) -> bool:
        return self.size(path) is not None

    def files(self) -> Iterator[str]:
        with storage_errors("read", str(self)):
            yield from repeat(
                lambda: [entry["path"] for page in obstore.list(self.store, chunk_size=_PAGE) for entry in page]
            )

    def size(self, path: str) -> int | None:
        meta = self._head(path)
        return None if meta is None else meta["size"]

    def modified(self, path: str) -> datetime | None:
        meta = self._head(path)
        return None if meta is None else meta["last_modified"]

    def _head(self, path: str) -> obstore.ObjectMeta | None:
        with storage_errors("read", self.at(path)):
            try:
                return repeat(lambda: obstore.head(self.store, path))
            except FileNotFoundError as error:
                return _absent(error, None)

    def open(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(_Reader(obstore.open_reader(self.patient, path)), mode="r")

    def delete(self, paths: Iterable[str]) -> None:
        with storage_errors("delete in", str(self)):
            for path in paths:
                with suppress(FileNotFoundError):
                    repeat(lambda path=path: obstore.delete(self.store, path))  # type: ignore[misc]

    def create(self, folder: str, stream: str, first: int) -> NewObject:
        name = object_name(stream, first, secrets.randbits(64))
        return NewObject(self, f"{folder}/{name}" if folder else name)

    def log(self, name: str) -> Log:
        return Log(self, name)


class NewObject:
    """An upload; see :class:`~parquet_consumer.storage.NewFile`."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._path = path
        self.place = bucket.at(path)
        self._upload = _Upload(bucket, path)
        self.stream = pa.PythonFile(self._upload, mode="w")

    def complete(self, last: int | None) -> Written:
        self._upload.finish()
        return Written(self._path, self._upload.tell(), self._upload.digest.hexdigest())

    def abort(self) -> None:
        self._upload.abort()  # a complete object is left to the next run: it may have come to be recorded


class _Upload(io.RawIOBase):
    """Sends what is written to it; parts go on their way while the next ones are written."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._bucket, self._path = bucket, path
        self._begun = bytearray()
        self._parts: obstore.WritableFile | None = None
        self._size = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.digest.update(view)
        self._size += len(view)
        if self._parts is not None:
            self._parts.write(view)
            return len(view)
        self._begun += view
        if len(self._begun) > PART_BYTES:
            self._parts = obstore.open_writer(
                self._bucket.patient, self._path, buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
            self._parts.write(self._begun)
            self._begun = bytearray()
        return len(view)

    def finish(self) -> None:
        """Make the object appear.

        An answer that is lost on the way does not matter: no one else can have made an object of this name.
        """
        try:
            if self._parts is None:
                content = bytes(self._begun)
                repeat(lambda: obstore.put(self._bucket.store, self._path, content, mode="create", use_multipart=False))
            else:
                self._parts.close()
        except (BaseError, OSError):
            if not self._is_there():
                raise
        self._parts, self._begun = None, bytearray()

    def _is_there(self) -> bool:
        try:
            return obstore.head(self._bucket.store, self._path)["size"] == self._size
        except (BaseError, OSError):
            return False

    def abort(self) -> None:
        """Remove the parts that were sent."""
        parts, self._parts, self._begun = self._parts, None, bytearray()
        if parts is not None:
            # What led here is raised, not what follows from it; parts that stay go by the bucket's own rule.
            with suppress(Exception):
                parts.__exit__(InterruptedError, InterruptedError(), None)  # how this writer is told to abort


class _Reader(io.RawIOBase):
    """Reads an object; the library's own reader lacks what pyarrow asks a file for."""

    def __init__(self, file: obstore.ReadableFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._file.readall() if size is None or size < 0 else self._file.read(size))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def size(self) -> int:
        return self._file.size


class Log:
    """One object; see :class:`~parquet_consumer.storage.Log` and its ``Change``."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._store, self._name, self._place = bucket.store, name, bucket.at(name)
        self._content = b""
        self._version: Any = "create"  # what the object must still be when it is replaced
        self._is_known = False

    def read(self, offset: int) -> bytes:
        if not self._is_known:
            self._fetch()
        return self._content[offset:]

    @contextmanager
    def changing(self) -> Iterator[Log]:
        yield self

    def write(self, offset: int, line: bytes) -> None:
        if len(self._content) < offset:
            raise ArchiveIntegrityError(
                f"{self._place} was removed or cut while it was in use; restore it from a backup"
            )
        content = self._content[:offset] + line
        try:
            written = repeat(
                lambda: obstore.put(self._store, self._name, content, mode=self._version, use_multipart=False)
            )
            version = _version(written)
        except (BaseError, OSError) as error:
            # Also when the answer was lost: the object tells what has happened.
            before = self._content
            self._fetch(attempts=2)
            if self._content != content:
                if self._content == before and not isinstance(error, AlreadyExistsError | PreconditionError):
                    raise
                raise OvertakenError(
                    f"another process has changed {self._place}; run the same command again"
                ) from error
            return
        self._content, self._version = content, version

    def _fetch(self, attempts: int = ATTEMPTS) -> None:
        self._is_known = False
        try:
            self._content, self._version = repeat(self._get, attempts=attempts)
        except FileNotFoundError as error:
            self._content, self._version = _absent(error, (b"", "create"))
        self._is_known = True

    def _get(self) -> tuple[bytes, dict[str, str]]:
        answer = obstore.get(self._store, self._name)
        return bytes(answer.bytes()), _version(answer.meta)


def _version(meta: Any) -> dict[str, str]:
    """The version of an object, in the terms of its storage."""
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def _absent(error: FileNotFoundError, answer: T) -> T:
    """``answer``, unless not only the object is missing but its bucket."""
    if tells_of_no_bucket(error):
        raise error
    return answer
