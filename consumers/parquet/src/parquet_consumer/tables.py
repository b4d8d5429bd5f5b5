"""What the table formats have in common: one commit a file, with the ledgers that it covers in it."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.errors import ArchiveError, ArchiveIntegrityError, StorageUnavailableError, storage_errors
from parquet_consumer.formats import write_sign
from parquet_consumer.manifest import ArchiveRecord, EmptyRecord, FileRecord
from parquet_consumer.names import first_ledger, is_ours
from parquet_consumer.partitions import HIVE
from parquet_consumer.storage import Storage
from parquet_consumer.table_types import table_schema
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.ranges import LedgerRanges

ARCHIVE_PROPERTY: Final = "stellar-arrow.archive"
DAY: Final = "date"
_ATTEMPTS: Final = 10
_PATIENCE: Final = RetryPolicy(initial=0.05, maximum=5.0)
"""Between attempts, 8 to 16 seconds together: also what a catalog stands on may be away for a moment."""


@dataclass(frozen=True, slots=True)
class Change:
    """One commit.

    Attributes:
        token: tells it from all other commits.
        covers: the ledgers that it adds, None for none.
        file: the file that it adds, with what its footer says; None for none.
    """

    token: int
    covers: tuple[int, int] | None = None
    file: tuple[FileRecord, pq.FileMetaData] | None = None


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of the newest version of a table.

    Attributes:
        path: relative to the archive.
        rows, size: their number, and bytes.
        newest: a time that none of its rows closed after; None when it is not known.
        partition: the values of its partition, as text.
    """

    path: str
    rows: int
    size: int
    newest: datetime | None = None
    partition: Mapping[str, str] = field(default_factory=dict)


class ConflictError(Exception):
    """Another commit was first."""


class Table(ABC):
    """See :class:`~parquet_consumer.formats.Records`.

    Every commit replaces the token of the one before, and is refused when that is not the one this process knows:
    so of two writers one ends, and a commit whose answer was lost is recognised.
    """

    grows = True
    torn = False

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.place = str(storage)
        self.archive: ArchiveRecord | None = None
        self.covered = LedgerRanges()
        self._token: int | None = None
        self._reload()

    # What a format does.

    @abstractmethod
    def _load(self) -> tuple[str, int | None, Iterable[tuple[int, int]]] | None:
        """The newest version's archive record as JSON, token and covered ledgers; None when there is no table."""

    @abstractmethod
    def _sign(self) -> dict[str, str]:
        """How other commands find the table."""

    @abstractmethod
    def _create(self, record: str, stream: str, schema: pa.Schema, *, by_day: bool) -> None:
        """Make the table."""

    @abstractmethod
    def _widen(self, record: str, new: list[pa.Field]) -> None:
        """Add columns, and replace the archive record."""

    @abstractmethod
    def _commit(self, change: Change) -> None:
        """Make a change on top of the version that was loaded.

        Raises:
            ConflictError: that is not the newest one.
        """

    @property
    @abstractmethod
    def version(self) -> str:
        """What the format calls the newest version."""

    @abstractmethod
    def files(self) -> Iterator[TableFile]:
        """The files of the newest version."""

    @abstractmethod
    def optimize(self, target_size: int) -> tuple[int, int]:
        """Replace small files by larger ones; how many were removed, and added."""

    @abstractmethod
    def _remove(self, files: list[TableFile]) -> None:
        """Take files out of the newest version, in one commit.

        Raises:
            ConflictError: another commit has taken one of them out.
        """

    @abstractmethod
    def vacuum(self, keep: timedelta, *, dry_run: bool) -> list[str]:
        """Give up versions older than ``keep`` and delete the files that no version needs any more; their paths."""

    # What follows from it.

    def holdings(self) -> Iterator[TableFile]:
        return self.files()

    def further_facts(self) -> list[tuple[str, object]]:
        return [("version", self.version)]

    def repair(self) -> None:
        assert not self.torn, "a commit happens wholly or not at all"

    def claim(self) -> None:
        if self.archive is not None:
            self._make(Change(self._new_token()))

    def schema(self, schema: pa.Schema) -> pa.Schema:
        return table_schema(schema)

    def describe(self, record: ArchiveRecord, schema: pa.Schema) -> None:
        text = json.dumps(asdict(record))
        stored = self.schema(schema)
        with storage_errors("record in", self.place):
            if self.archive is None:
                write_sign(self.storage, self._sign())
                self._create(text, record.stream, stored, by_day=record.partition == HIVE)
            else:
                known = {column.split(" ")[0] for column in self.archive.columns}
                new = [field.with_nullable(True) for field in stored if field.name not in known]
                self._widen(text, new)
        self._reload()

    def prune(self, before: datetime, *, dry_run: bool = False) -> list[TableFile]:
        """Give up the files whose rows all closed before a time, in one commit; those files. Older versions keep them.

        Raises:
            ArchiveError: others keep changing the table.
        """
        conflict: ConflictError | None = None
        for wait in _waits():
            with storage_errors("prune", self.place):
                old = [file for file in self.files() if file.newest is not None and file.newest < before]
                if dry_run or not old:
                    return old
                try:
                    self._remove(old)
                except ConflictError as error:
                    conflict = error
                    if wait is not None:
                        time.sleep(wait)
                    self._reload()
                else:
                    self._reload()
                    return old
        raise ArchiveError(f"cannot prune {self.place}: others keep changing it ({conflict}); try again")

    def add_file(self, record: FileRecord, metadata: pq.FileMetaData) -> None:
        self._cover(record.first, record.last, (record, metadata))

    def add_empty(self, record: EmptyRecord) -> None:
        self._cover(record.first, record.last, None)

    def strays(self, paths: Iterable[str]) -> list[str]:
        """A file that was recorded begins with a ledger that is covered, for ever."""
        return [path for path in paths if is_ours(path) and not self._is_covered(first_ledger(path))]

    def _is_covered(self, ledger: int | None) -> bool:
        return ledger is not None and self.covered.overlaps(ledger, ledger)

    def _cover(self, first: int, last: int, file: tuple[FileRecord, pq.FileMetaData] | None) -> None:
        if self.covered.overlaps(first, last):
            raise ArchiveIntegrityError(f"{self.place} already holds some of the ledgers {first} to {last}")
        self._make(Change(self._new_token(), (first, last), file))

    def _new_token(self) -> int:
        return secrets.randbits(62)

    def _make(self, change: Change) -> None:
        """Commit; when something goes wrong, the table itself tells what has happened."""
        with storage_errors("record in", self.place):
            for wait in _waits():
                before = self._token
                try:
                    self._commit(change)
                except (ConflictError, OSError, StorageUnavailableError) as error:
                    self._reload()
                    if self._token == change.token:
                        return
                    if self._token != before:
                        raise ArchiveError(
                            f"another process has begun to write to {self.place}; this one must end"
                        ) from error
                    if wait is not None:
                        time.sleep(wait)
                    elif isinstance(error, ConflictError):
                        raise ArchiveError(
                            f"cannot record in {self.place}: others keep changing it ({error}); try again"
                        ) from error
                    else:
                        raise
                else:
                    self._reload()
                    return

    def _reload(self) -> None:
        with storage_errors("read", self.place):
            found = self._load()
        self.archive, self._token, self.covered = None, None, LedgerRanges()
        if found is None:
            return
        text, self._token, ranges = found
        try:
            self.archive = ArchiveRecord(**json.loads(text))
        except (ValueError, TypeError):
            raise ArchiveIntegrityError(
                f"{self.place} is a table that this program did not make, or its properties are damaged; choose "
                "another place"
            ) from None
        for first, last in ranges:
            self.covered.add(first, last)


def _waits() -> Iterator[float | None]:
    """Seconds after each attempt to commit; None after the last."""
    yield from islice(_PATIENCE.waits(), _ATTEMPTS - 1)
    yield None
