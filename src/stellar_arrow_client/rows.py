"""The rows of a range, read when they are asked for and into what asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from stellar_arrow_client.display import PREVIEWED_ROWS, Preview, columns_html
from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_client.extras import load
from stellar_arrow_client.progress import Progress, reporting
from stellar_arrow_client.pushdown import MAX_PUSHED_CHARS, Bounds, Pushdown, push_down
from stellar_arrow_client.request import LEDGER, TIME, StreamRequest

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars

    from stellar_arrow_client.client import Client

REPORT_SECONDS: Final = 0.1


_NOT_A_FILE: Final = "/rows of a server can be scanned only; read them first, with to_table()"


class Rows(ds.FileSystemDataset):  # type: ignore[misc]
    """The rows of a stream over a range of ledgers, as a dataset: nothing is read before it is asked for.

    It is a :class:`pyarrow.dataset.Dataset`, so that DuckDB, Polars and others that scan datasets ask the server for
    no more than the columns, ledgers and rows they need. Every reading asks anew and is resumed like any stream.

    Made by :meth:`stellar_arrow_client.Client.read`.

    Args:
        request: what to read; a side of the range that it leaves open must be given by the filter of each reading.
        schema: of the stream with the columns of the request; asked for when it is needed, if None.
        progress: show how far a reading is.
        on_error: told what a reading failed with, which engines hide in errors of their own.
    """

    def __init__(
        self,
        client: Client,
        request: StreamRequest,
        *,
        schema: pa.Schema | None = None,
        progress: bool = False,
        on_error: Callable[[StellarArrowError], None] | None = None,
    ) -> None:
        # What reaches past scanner() for a C++ dataset finds a file that is not there, rather than no dataset at all.
        nowhere = ds.IpcFileFormat().make_fragment(_NOT_A_FILE, LocalFileSystem())
        super().__init__([nowhere], pa.schema([]), ds.IpcFileFormat())
        self.request = request
        self._client = client
        self._schema = schema
        self._progress = progress
        self._on_error = on_error

    @property
    def schema(self) -> pa.Schema:
        """The schema, as :meth:`stellar_arrow_client.Client.schema` gives it."""
        if self._schema is None:
            self._schema = self._client.schema(self.request.stream, self.request.columns)
        return self._schema

    def scanner(
        self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None, **_hints: Any
    ) -> RowScanner:
        """One reading of the rows.

        Args:
            columns: to read; None for all.
            filter: which rows to read; narrows the range of ledgers too.
            _hints: of how to read files; they mean nothing here.

        Raises:
            InvalidRequestError: request and filter together leave the range open, or it is not all there yet.
        """
        try:
            return self._scanner(columns, filter)
        except StellarArrowError as error:
            self._tell(error)
            raise

    def count_rows(self, filter: pc.Expression | None = None, **_hints: Any) -> int:
        """How many rows there are; reads one column."""
        return self.scanner([], filter).count_rows()

    def reader(self) -> pa.RecordBatchReader:
        """The rows batch by batch: a range of any size in bounded memory."""
        return self.scanner().to_reader()

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame of Arrow's own types: integers, decimals and nulls stay what they are."""
        return as_pandas(self.to_table())

    def to_polars(self) -> polars.DataFrame:
        """The rows as a Polars frame."""
        return as_polars(self.to_table())

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """The rows as a DuckDB relation, which reads from the server what a query on it needs.

        Args:
            connection: that the relation is to belong to; a new one in memory, if None.
        """
        return (connection or load("duckdb", "reading into DuckDB").connect()).from_arrow(self)

    def preview(self, rows: int = PREVIEWED_ROWS) -> Preview:
        """The first ``rows`` rows, to look at."""
        return Preview(str(self.request), self.head(rows))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<Rows {self.request}: {', '.join(self.schema.names)}>"

    def _repr_html_(self) -> str:
        return columns_html(str(self.request), self.schema)

    def _scanner(self, columns: Sequence[str] | None, filter: pc.Expression | None) -> RowScanner:
        room = MAX_PUSHED_CHARS - len(f"({self.request.filter}) AND ()")
        pushed = push_down(filter, self.schema, room)
        wanted = self.schema.names if columns is None else list(columns)
        unknown = [name for name in wanted if name not in self.schema.names]
        if unknown or isinstance(columns, dict):
            raise InvalidRequestError(f"{self.request.stream} is read by the names of its columns, not {unknown[:3]}")
        read = self.schema.names if pushed.columns is None else [*wanted, *pushed.columns]
        # Rows without any column cannot be counted.
        read = list(dict.fromkeys(read)) or [LEDGER if LEDGER in self.schema.names else self.schema.names[0]]
        ledgers = self._range(pushed)
        request = None
        if ledgers is not None:
            text = " AND ".join(f"({text})" for text in (self.request.filter, pushed.filter) if text is not None)
            first, last = ledgers
            request = replace(self.request, start=first, end=last, columns=tuple(read), filter=text or None)
        schema = pa.schema([self.schema.field(name) for name in wanted], self.schema.metadata)
        return RowScanner(schema, lambda: self._batches(request, wanted, filter))

    def _range(self, pushed: Pushdown) -> tuple[int, int] | None:
        """The first and the last ledger to ask for; None for none."""
        bounds = pushed.ledgers & Bounds(self.request.start, self.request.end)
        if bounds.are_empty or pushed.times.are_empty:
            return None
        if bounds.low is None and pushed.times.low is not None:
            bounds &= Bounds(low=self._client.first_ledger_at(pushed.times.low))
        if bounds.high is None and pushed.times.high is not None:
            bounds &= Bounds(high=self._client.first_ledger_at(pushed.times.high + 1) - 1)
        if bounds.are_empty:
            return None
        newest = self._client.latest_ledger()
        there = "there is no ledger yet" if newest is None else f"the newest ledger is {newest}"
        if bounds.low is None or bounds.high is None:
            raise InvalidRequestError(
                f"{self.request.stream} is read over a range of ledgers: give start and end, or in SQL "
                f"WHERE {LEDGER} BETWEEN first AND last, or {TIME} between two times ({there})"
            )
        if newest is None or bounds.high > newest:
            raise InvalidRequestError(
                f"ledger {bounds.high} of {self.request.stream} cannot be read: {there}; end there, or follow the "
                "network with stream()"
            )
        return max(bounds.low, 1), bounds.high

    def _batches(
        self, request: StreamRequest | None, columns: Sequence[str], filter: pc.Expression | None
    ) -> Generator[pa.RecordBatch, None, None]:
        if request is None:
            return
        progress = Progress(request.stream, request.start, request.end)
        try:
            with (
                reporting("bar" if self._progress else "none") as report,
                closing(self._client.stream(request)) as batches,
            ):
                due = 0.0
                for batch, cursor in batches:
                    progress.count(batch, cursor)
                    if time.monotonic() >= due or progress.remaining == 0:
                        report([progress])
                        due = time.monotonic() + REPORT_SECONDS
                    # The server has filtered, by what it understands; the engine relies on the whole condition.
                    kept = batch if filter is None else batch.filter(filter)
                    if kept.num_rows:
                        yield kept.select(list(columns))
        except StellarArrowError as error:
            self._tell(error)
            raise

    def _tell(self, error: StellarArrowError) -> None:
        if self._on_error is not None:
            self._on_error(error)

    def _refuse(self, *_arguments: object, **_options: object) -> NoReturn:
        raise NotImplementedError(_NOT_A_FILE[1:])

    filter = join = join_asof = sort_by = replace_schema = get_fragments = _refuse


class RowScanner:
    """One reading of rows; the part of :class:`pyarrow.dataset.Scanner` that engines use.

    Args:
        schema: of the batches.
        batches: begins to read.
    """

    def __init__(self, schema: pa.Schema, batches: Callable[[], Generator[pa.RecordBatch, None, None]]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches())

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        return self._batches()

    def to_table(self) -> pa.Table:
        with closing(self._batches()) as batches:
            return pa.Table.from_batches(batches, self.projected_schema)

    def head(self, num_rows: int) -> pa.Table:
        """The first rows; ends the reading when it has them."""
        parts: list[pa.RecordBatch] = []
        with closing(self._batches()) as batches:
            while num_rows > 0 and (batch := next(batches, None)) is not None:
                parts.append(batch.slice(0, num_rows))
                num_rows -= parts[-1].num_rows
        return pa.Table.from_batches(parts, self.projected_schema)

    def count_rows(self) -> int:
        with closing(self._batches()) as batches:
            return sum(batch.num_rows for batch in batches)


def as_pandas(table: pa.Table) -> pandas.DataFrame:
    """A table as a pandas frame whose columns have Arrow's own types."""
    return table.to_pandas(types_mapper=load("pandas", "reading into pandas").ArrowDtype)


def as_polars(table: pa.Table) -> polars.DataFrame:
    """A table as a Polars frame."""
    return load("polars", "reading into Polars").from_arrow(table)
