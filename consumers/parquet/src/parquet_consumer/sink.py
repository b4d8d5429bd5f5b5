"""The sink of one archive: batches in, recorded Parquet files out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from parquet_consumer.archive import Archive, stream_name
from parquet_consumer.errors import ArchiveIntegrityError
from parquet_consumer.files import FileOptions, FileWriter
from parquet_consumer.manifest import EmptyRecord
from parquet_consumer.partitions import Partitioning, Piece, ledgers_and_close_times
from parquet_consumer.row_groups import RowGroups
from parquet_consumer.table_types import to_table
from stellar_arrow_client.errors import GapError
from stellar_arrow_client.request import LEDGER, MAX_LEDGER, TIME, Cursor, StreamRequest

REQUIRED_COLUMNS = {LEDGER: pa.uint32(), TIME: pa.timestamp("us", tz="UTC")}
"""The columns that say which file a row goes to."""


class ParquetSink:
    """Writes one stream into one archive; implements :class:`stellar_arrow_client.sink.Sink`.

    Ledgers are *in hand* from when they are written to when their file (or the mark that they have no row) is
    recorded in the manifest. A file is completed when it is full, when the next ledger belongs to another folder or
    is already covered, and at a checkpoint.
    """

    def __init__(
        self, archive: Archive, partitioning: Partitioning, options: FileOptions, row_groups: RowGroups | None = None
    ) -> None:
        """``row_groups`` is shared by the sinks that run at the same time."""
        self._row_groups = row_groups or RowGroups()
        self._archive = archive
        self._partitioning = partitioning
        self._options = options
        self._schema: pa.Schema | None = None
        self._stored: pa.Schema | None = None  # the same, with the types of the archive's format
        self._stream = ""
        self._first: int | None = None  # of the ledgers in hand
        self._next: int | None = None  # one past the last ledger taken
        self._folder: str | None = None  # of the ledgers in hand, None while they have no row that tells
        self._file: FileWriter | None = None
        self._begun = False  # whether the archive holds a ledger of the request

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """See that the stream belongs into the archive.

        Returns:
            The first ledger of the request that the archive lacks; None when that is the start of the request.

        Raises:
            OutputMismatchError, IntegrityError: the archive holds something else.
            ArchiveIntegrityError: the schema lacks one of :data:`REQUIRED_COLUMNS`.
        """
        for name, type_ in REQUIRED_COLUMNS.items():
            if name not in schema.names or schema.field(name).type != type_:
                raise ArchiveIntegrityError(f"the stream {request.stream} has no column {name} of type {type_}")
        self._archive.describe(schema, request, self._partitioning)
        self._stream, self._schema = stream_name(schema, request), schema
        self._stored = self._archive.records.schema(schema)
        covered = self._archive.records.covered
        start = request.start if request.start is not None else covered.last and covered.last + 1
        if start is None:
            return None
        missing = next(covered.missing(start, request.end), None)
        self._next = missing[0] if missing else (request.end or MAX_LEDGER) + 1
        self._begun = self._next != request.start
        return self._next if self._begun else None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Take the rows of whole ledgers; those that the archive already covers are passed over.

        Raises:
            ArchiveError: the disk is full or cannot be written.
            GapError: ledgers were left out before this batch.
            ArchiveIntegrityError: the rows are not those of the ledgers, or have another schema.
        """
        if batch.num_rows and not cursor.advances:
            raise ArchiveIntegrityError(f"a batch holds only a part of ledger {cursor.first}")
        if not batch.schema.equals(self._schema):
            raise ArchiveIntegrityError(f"a batch of ledger {cursor.first} has another schema than the stream")
        if cursor.advances:
            self._check_contiguous(cursor)
            ledgers, close_times = ledgers_and_close_times(batch)
            for first, last in self._wanted(cursor):
                self._skip_to(first)
                start, end = (int(row) for row in np.searchsorted(ledgers, [first, last + 1]))
                rows = batch.slice(start, end - start)
                for piece in self._partitioning.pieces(ledgers[start:end], close_times[start:end], first, last):
                    self._take(rows, piece)
            self._skip_to(cursor.cursor)

    def _check_contiguous(self, cursor: Cursor) -> None:
        if self._next is None or cursor.first <= self._next:
            return
        for first, last in self._archive.records.covered.missing(self._next, cursor.first - 1):
            raise GapError(f"the server left out ledgers {first} to {last} of {self._stream}")

    def _wanted(self, cursor: Cursor) -> list[tuple[int, int]]:
        """The ledgers of a batch that are neither covered nor in hand."""
        first = cursor.first if self._next is None else max(cursor.first, self._next)
        missing = self._archive.records.covered.missing(first, cursor.last)
        return [(first, last) for first, last in missing if last is not None]

    def _skip_to(self, ledger: int) -> None:
        """Pass over covered ledgers: no file may span them."""
        if self._next != ledger:
            self._complete()
            self._next = ledger

    def _take(self, rows: pa.RecordBatch, piece: Piece) -> None:
        if None not in (piece.folder, self._folder) and piece.folder != self._folder:
            self._complete()
        if self._first is None:
            self._first = piece.first
        if piece.folder is not None:
            self._folder = piece.folder
        if count := piece.row_end - piece.row_start:
            if self._file is None:
                assert self._folder is not None
                self._file = FileWriter(
                    self._archive.storage,
                    self._folder,
                    self._stream,
                    self._first,
                    self._stored,
                    self._options,
                    self._row_groups,
                )
            self._file.add(to_table(rows.slice(piece.row_start, count), self._stored))
        self._next = piece.last + 1
        if self._file is not None and self._file.is_full:
            self._complete()

    def _complete(self) -> None:
        """Record the ledgers in hand, in a file if they have rows."""
        if self._first is None or self._next is None:
            return
        last = self._next - 1
        if self._file is None:
            self._archive.records.add_empty(EmptyRecord(first=self._first, last=last))
        else:
            self._archive.records.add_file(*self._file.complete(last))
        self._file = self._first = self._folder = None
        self._begun = True

    def checkpoint(self) -> int | None:
        """Complete and record what is in hand.

        Returns:
            The next ledger wanted, None when the archive holds no ledger of the request.
        """
        self._complete()
        return self._next if self._begun else None

    def close(self, *, complete: bool = True) -> None:
        """Drop what is in hand, or complete it when the run went well."""
        try:
            if complete:
                self._complete()
        finally:
            if self._file is not None:
                self._file.abort()
            self._file = self._first = self._folder = None
