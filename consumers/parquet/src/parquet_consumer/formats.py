"""The format of an archive: who keeps what it holds, its own manifest or a table format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.errors import ArchiveError, ArchiveIntegrityError, storage_errors
from parquet_consumer.manifest import COLUMNS_NAME, MANIFEST_NAME, ArchiveRecord, EmptyRecord, FileRecord, Manifest
from parquet_consumer.partitions import HIVE, NONE, Partitioning
from parquet_consumer.storage import Storage
from parquet_consumer.values import FORMATS
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.ranges import LedgerRanges

if TYPE_CHECKING:
    from parquet_consumer.tables import Table

PARQUET, DELTA, ICEBERG = FORMATS
SIGN: Final = "_table.json"
"""Says of what format the table at a place is, and which table of which catalog, so that all commands find it."""


class Holding(Protocol):
    """A file of an archive.

    Attributes:
        path: relative to the archive.
        rows, size: their number, and bytes.
    """

    @property
    def path(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def size(self) -> int: ...


class Records(Protocol):
    """What an archive holds, as its format records it.

    Attributes:
        place: what messages call it.
        archive: what the archive is of; None while nothing is recorded.
        covered: ledgers that need not be fetched.
        torn: whether the last record is unfinished.
        grows: whether columns may come to be added.
    """

    place: str
    archive: ArchiveRecord | None
    covered: LedgerRanges
    torn: bool
    grows: bool

    def holdings(self) -> Iterator[Holding]:
        """Its files."""

    def further_facts(self) -> list[tuple[str, object]]:
        """What else there is to say of it: a name and a value each."""

    def repair(self) -> None:
        """Take back an unfinished record."""

    def claim(self) -> None:
        """From here on, what another run records is refused."""

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of a stream with the types that its files have."""

    def describe(self, record: ArchiveRecord, schema: pa.Schema) -> None:
        """Record what the archive is of, and the columns of the stream."""

    def add_file(self, record: FileRecord, metadata: pq.FileMetaData) -> None:
        """Record a complete file: durably, wholly or not at all."""

    def add_empty(self, record: EmptyRecord) -> None:
        """Record ledgers without a row, likewise."""

    def strays(self, paths: Iterable[str]) -> list[str]:
        """Those of the archive's own files that an interrupted run left."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format, and where Iceberg keeps its catalog.

    Attributes:
        name: one of :data:`parquet_consumer.values.FORMATS`.
        catalog: of Iceberg: ``sqlite:///path``, ``http://…`` of a REST catalog, or a name in the user's own
            configuration; None for a file in the archive's folder.
        namespace: of the table in the catalog.
    """

    name: str = PARQUET
    catalog: str | None = None
    namespace: str = "stellar"

    def records(self, storage: Storage, stream: str | None = None) -> Records:
        """What an archive holds; nothing when it does not exist yet.

        Args:
            stream: its canonical name, when it is known.

        Raises:
            OutputMismatchError: the place holds an archive of another format.
            ArchiveError: the format needs a package that is not installed.
        """
        known = format_of(storage)
        if known not in (None, self.name):
            raise OutputMismatchError(
                f"{storage} is an archive of the format {known}; give --format {known} or choose another place"
            )
        if self.name == PARQUET:
            return Manifest.load(storage)
        return self.table(storage, stream)

    def table(self, storage: Storage, stream: str | None = None) -> Table:
        """The same, for the table formats."""
        if self.name == DELTA:
            from parquet_consumer.delta import Delta

            return Delta(storage)
        from parquet_consumer.iceberg import Iceberg

        return Iceberg(storage, stream, self.catalog, self.namespace)

    def place(self, storage: Storage, partitioning: Partitioning) -> str:
        """What a user gives a reader: the pattern of the files, or the table."""
        return storage.at(partitioning.glob) if self.name == PARQUET else str(storage)

    def query(self, storage: Storage, partitioning: Partitioning) -> str:
        """How to begin to read the archive."""
        place = self.place(storage, partitioning)
        return {
            PARQUET: f"query it in DuckDB: SELECT * FROM '{place}'",
            DELTA: f"query it in DuckDB: SELECT * FROM delta_scan('{place}')",
            ICEBERG: f"{place} is a table of the namespace {self.namespace}",
        }[self.name]

    def query_columns(self, storage: Storage) -> str:
        """How to read the archive while it has no row."""
        if self.name == PARQUET:
            return f"its columns are in {storage.at(COLUMNS_NAME)}, which any reader of Parquet takes for a file"
        return "the table is empty"

    def check(self, partitioning: Partitioning) -> None:
        """Refuse folders that a table does not know.

        Raises:
            OutputMismatchError: the partition format is not one for tables.
        """
        if self.name != PARQUET and partitioning.text not in (HIVE, NONE):
            raise OutputMismatchError(
                f"--format {self.name} is partitioned by day or not at all: give --partition {HIVE} or {NONE}"
            )


def format_of(storage: Storage) -> str | None:
    """The format of the archive at a place, None when there is none."""
    if storage.exists(MANIFEST_NAME):
        return PARQUET
    return read_sign(storage).get("format")


def read_sign(storage: Storage) -> dict[str, str]:
    """What stands in :data:`SIGN`; nothing when there is no table.

    Raises:
        ArchiveIntegrityError: it is damaged.
    """
    with storage_errors("read", storage.at(SIGN)):
        content = storage.log(SIGN).read(0)
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ArchiveIntegrityError(f"{storage.at(SIGN)} is damaged; restore it from a backup")
    return found


def write_sign(storage: Storage, sign: Mapping[str, str]) -> None:
    """Replace :data:`SIGN`."""
    with storage_errors("write", storage.at(SIGN)), storage.log(SIGN).changing() as change:
        change.read(0)
        change.write(0, json.dumps(sign).encode())


def find_archives(storage: Storage) -> list[tuple[Storage, Format]]:
    """The archives at a place, and their formats: that itself, else those of one stream each below it.

    Raises:
        ArchiveError: there is none, or the place cannot be read.
    """
    places = [storage] if format_of(storage) else _below(storage)
    if not places:
        raise ArchiveError(f"{storage} is no archive: it has no {MANIFEST_NAME}; name the place that was archived into")
    return [(place, Format(format_of(place) or PARQUET)) for place in places]


def inner_archives(storage: Storage) -> list[str]:
    """The names of the archives below a place."""
    return [str(place).rpartition("/")[2] for place in _below(storage)]


def _below(storage: Storage) -> list[Storage]:
    return sorted((place for name in (MANIFEST_NAME, SIGN) for place in storage.below(name)), key=str)
