"""Where an archive lies: a folder of this machine, or a prefix of a bucket; the rest of the program need not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import pyarrow as pa

from parquet_consumer.errors import ArchiveError
from stellar_arrow_client.object_storage import ObjectAddress, is_object_address

LOCK_NAME = "_lock"
"""What a writer holds, so that there is no other."""


class OvertakenError(ArchiveError):
    """Another process has appended to a log in the meantime: read it first."""


class Written(NamedTuple):
    """A complete file.

    Attributes:
        path: relative to the archive, with slashes.
        size: bytes.
        sha256: of its content, in hex.
    """

    path: str
    size: int
    sha256: str


class NewFile(Protocol):
    """A file in the making; nobody sees it before it is complete.

    Attributes:
        place: what messages call it.
        stream: takes its content.
    """

    place: str
    stream: pa.NativeFile

    def complete(self, last: int | None) -> Written:
        """Make it durable, whole and visible.

        Args:
            last: its last ledger, which its name may tell; None for a name that no other file ever has.
        """

    def abort(self) -> None:
        """Drop it, whatever happened to it before; the next run removes what this cannot."""


class Change(Protocol):
    """An append to a log in progress."""

    def read(self, offset: int) -> bytes:
        """What stands in the log behind ``offset``; nothing when there is no log."""

    def write(self, offset: int, line: bytes) -> None:
        """Make ``line`` durable as all that stands behind ``offset``; on failure the log is as before.

        Raises:
            OvertakenError: what was read is no longer all that stands there.
        """


class Log(Protocol):
    """Lines that are only ever appended."""

    def read(self, offset: int) -> bytes:
        """What stands in it behind ``offset``; nothing when it does not exist."""

    def changing(self) -> AbstractContextManager[Change]:
        """Append, beside other processes that do the same."""


class Storage(Protocol):
    """The place of one archive. Paths are relative to it, with slashes.

    All methods raise :class:`~parquet_consumer.errors.ArchiveError` (or the error of a storage that cannot be
    reached or refuses) with one plain sentence.

    Attributes:
        shared: whether a writer that is cut off may still come to change something when another has begun.
    """

    shared: bool

    def __str__(self) -> str:
        """As the user calls it, without options."""

    def at(self, path: str) -> str:
        """A path in it, in full, as readers of Parquet take it."""

    def within(self, name: str) -> Self:
        """A place below this one, for an archive of its own."""

    def below(self, name: str) -> list[Self]:
        """The places directly below this one that hold a file ``name``, ascending."""

    def prepare(self) -> None:
        """Make it ready to be written to."""

    def locked(self) -> AbstractContextManager[None]:
        """Be the only writer.

        Raises:
            StellarArrowError: another process writes there.
        """

    def is_locked(self) -> bool:
        """Whether a process writes there."""

    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    def files(self) -> Iterator[str]:
        """All files, also those that are not the archive's; not those in the making that nobody sees."""

    def size(self, path: str) -> int | None:
        """Bytes of a file, None when there is none."""

    def modified(self, path: str) -> datetime | None:
        """When a file was completed, None when there is none."""

    def open(self, path: str) -> pa.NativeFile:
        """A file to read, in any order."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files for good, and folders that this leaves empty; those that are not there are passed over."""

    def create(self, folder: str, stream: str, first: int) -> NewFile:
        """Begin a file of a stream that begins with ledger ``first``."""

    def log(self, name: str) -> Log:
        """A log, which need not exist yet."""


def open_storage(text: str) -> Storage:
    """The storage that a user names: ``s3://``, ``gs://`` or ``az://``, else a folder.

    Raises:
        InvalidRequestError: the address makes no sense.
    """
    if is_object_address(text):
        from parquet_consumer.buckets import Bucket

        return Bucket(ObjectAddress.parse(text))
    from parquet_consumer.folders import Folder

    return Folder(Path(text))
