"""One Parquet file in the making."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.errors import storage_errors
from parquet_consumer.manifest import FileRecord
from parquet_consumer.partitions import from_microseconds
from parquet_consumer.row_groups import ROW_GROUP_BYTES, RowGroups
from parquet_consumer.storage import NewFile, Storage
from stellar_arrow_client.request import LEDGER, TIME

IDS: Final = frozenset({LEDGER, "transaction_id", "operation_id"})
"""Columns without a dictionary: with one, writing payments takes 1.2 times as long and their files are 1.2 times as
large. DELTA_BINARY_PACKED would make them smaller by another 3 %, but not every reader of Iceberg takes it."""

_MARGIN: Final = 1.05
"""Over the size of a file, lest an estimate that is a little too high leave it to be filled up by tiny row groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How files are written.

    Attributes:
        compression: one of :data:`parquet_consumer.values.COMPRESSIONS`.
        max_file_size: bytes on disk at which a file is completed, at the end of a ledger.
        row_group_rows: rows after which a row group is written, at the end of a batch.
    """

    compression: str = "zstd"
    max_file_size: int = 256 * 1024 * 1024
    row_group_rows: int = 1_000_000


def with_dictionary(schema: pa.Schema) -> list[str]:
    """The paths, in terms of Parquet, of the columns that are written with a dictionary: all but :data:`IDS`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    leaves = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [leaves.column(at).path for at in range(len(leaves.names)) if leaves.column(at).path not in IDS]


class FileWriter:
    """Writes the rows of one range of ledgers of one partition into a file that appears when it is complete.

    Rows are held until a row group is full, which is written while the next one fills.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        stream: str,
        first: int,
        schema: pa.Schema,
        options: FileOptions,
        row_groups: RowGroups,
    ) -> None:
        self._storage = storage
        self.folder = folder
        self._stream = stream
        self._first = first
        self._schema = schema
        self._options = options
        self._row_groups = row_groups
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._rows = 0
        self._written_bytes = 0
        self._size = 0  # on disk, of the row groups that have arrived there
        self._writing: Future[None] | None = None
        self._writing_bytes = 0
        self._close_times: tuple[int, int] | None = None
        self._file: NewFile | None = None
        self._writer: pq.ParquetWriter | None = None
        self._footers: list[pq.FileMetaData] = []

    @property
    def is_full(self) -> bool:
        """Whether the file has reached its size on disk."""
        return self._size >= self._options.max_file_size

    def add(self, rows: pa.RecordBatch) -> None:
        """Take the rows of whole ledgers.

        Raises:
            ArchiveError: the disk is full or cannot be written.
        """
        times = rows.column(TIME).cast(pa.int64())
        oldest = times[0].as_py() if self._close_times is None else self._close_times[0]
        self._close_times = oldest, times[-1].as_py()
        self._held.append(rows)
        self._held_rows += rows.num_rows
        self._held_bytes += rows.nbytes
        is_due = (
            self._row_groups.hold(self, self._held_bytes)
            or self._held_rows >= self._options.row_group_rows
            or self._held_bytes >= ROW_GROUP_BYTES
        )
        enough = self._options.max_file_size * _MARGIN
        if is_due or self._expected_size() >= enough:
            self._settle()
            if is_due or self._expected_size() >= enough:
                self._write_row_group()
        if self._expected_size() >= self._options.max_file_size:
            self._settle()

    def _expected_size(self) -> float:
        """Bytes on disk once all rows are written, by how well those before were compressed."""
        ratio = self._size / self._written_bytes if self._written_bytes else 1.0
        return self._size + (self._writing_bytes + self._held_bytes) * ratio

    def _write_row_group(self) -> None:
        """Begin to write what is held, once the row group before it is written."""
        self._settle()
        with storage_errors("write", self._place):
            if self._file is None:
                self._file = self._storage.create(self.folder, self._stream, self._first)
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._file.stream,
                    self._schema,
                    compression=self._options.compression,
                    use_dictionary=with_dictionary(self._schema),
                    sorting_columns=[pq.SortingColumn(0)],
                    metadata_collector=self._footers,
                )
        group = pa.Table.from_batches(self._held, self._schema)
        write = partial(self._writer.write_table, group, row_group_size=self._held_rows)
        self._writing_bytes = self._held_bytes
        self._rows += self._held_rows
        self._let_go()
        self._writing = self._row_groups.write(self._writing_bytes, write)

    def _settle(self) -> None:
        """Wait for the row group that is being written.

        Raises:
            ArchiveError: it could not be.
        """
        if self._writing is None:
            return
        assert self._file is not None
        writing, self._writing = self._writing, None
        with storage_errors("write", self._place):
            writing.result()
            self._size = self._file.stream.tell()
        self._written_bytes += self._writing_bytes
        self._writing_bytes = 0

    def _let_go(self) -> None:
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        self._row_groups.hold(self, 0)

    @property
    def _place(self) -> str:
        """What messages call the file."""
        return self._storage.at(self.folder) if self._file is None else self._file.place

    def complete(self, last: int, *, unique: bool = False) -> tuple[FileRecord, pq.FileMetaData]:
        """Write what is held, make the file durable and let it appear; the record of it, and its footer.

        Args:
            unique: whether its name must be one that no other file ever had.

        Raises:
            ArchiveError: the disk is full or cannot be written.
        """
        if self._held:
            self._write_row_group()
        self._settle()
        assert self._writer is not None
        assert self._file is not None
        assert self._close_times is not None
        with storage_errors("write", self._place):
            self._writer.close()
            written = self._file.complete(None if unique else last)
        oldest, newest = (from_microseconds(time).isoformat() for time in self._close_times)
        record = FileRecord(
            path=written.path,
            first=self._first,
            last=last,
            rows=self._rows,
            size=written.size,
            sha256=written.sha256,
            oldest=oldest,
            newest=newest,
        )
        return record, self._footers[0]

    def abort(self) -> None:
        """Drop the file, also after a failed write and when it could not be recorded."""
        self._let_go()
        if self._writing is not None:
            wait([self._writing])
        if self._writer is not None:
            # Else its destructor would try to write a footer, and complain on a full disk.
            self._writer.is_open = False
            self._writer = None
        if self._file is not None:
            self._file.abort()
