"""SQL over a server's streams: DuckDB on this machine, which asks the server for what a query needs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from stellar_arrow_client.client import Client
from stellar_arrow_client.display import PREVIEWED_ROWS, Preview
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.extras import load
from stellar_arrow_client.policy import PARALLEL, RetryPolicy
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.rows import Rows, as_pandas, as_polars

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars

Parameters = Sequence[Any] | Mapping[str, Any]


def connect(
    server: str,
    *,
    start: int | None = None,
    end: int | None = None,
    progress: bool = False,
    connection: duckdb.DuckDBPyConnection | None = None,
    token: str | None = None,
    tls_roots: bytes | None = None,
    client_cert: bytes | None = None,
    client_key: bytes | None = None,
    retry: RetryPolicy | None = None,
    parallel: int = PARALLEL,
) -> Connection:
    """Open a connection on which the streams of a server are tables.

    A query reads a table over a range of ledgers: the one that its ``WHERE`` gives by ``ledger_sequence``, within
    ``start`` and ``end`` where these are given. Only the columns that it uses travel, and only rows that meet those of
    its conditions that the server understands; DuckDB applies all of them.

    Args:
        server: as for :class:`~stellar_arrow_client.Client`, like ``token``, ``tls_roots``, ``client_cert``,
            ``client_key``, ``retry`` and ``parallel``.
        start, end: first and last ledger of every table.
        progress: show how far the reading is, on a terminal or in a notebook.
        connection: of DuckDB, that is to have the tables; a new one in memory, if None.

    Raises:
        StellarArrowError: the server cannot be reached, or duckdb is not installed.
    """
    client = Client(
        server,
        token=token,
        tls_roots=tls_roots,
        client_cert=client_cert,
        client_key=client_key,
        retry=retry,
        parallel=parallel,
    )
    try:
        return Connection(client, start, end, progress=progress, connection=connection)
    except BaseException:  # whatever it is, the connection does not stay open
        client.close()
        raise


class Connection:
    """A connection on which the streams of a server are tables; see :func:`connect`.

    As any of DuckDB's it is for one thread at a time.

    Attributes:
        client: of the server.
        duckdb: DuckDB's own connection, for all that it can do more; what goes wrong at the server is a
            ``duckdb.Error`` there.
    """

    def __init__(
        self,
        client: Client,
        start: int | None,
        end: int | None,
        *,
        progress: bool,
        connection: duckdb.DuckDBPyConnection | None,
    ) -> None:
        self.client = client
        self._failures: list[StellarArrowError] = []
        self._duckdb = load("duckdb", "SQL")
        self._owned = connection is None
        self.duckdb = connection if connection is not None else self._duckdb.connect()
        self._names: list[str] = []
        schemas = client.schemas()
        for info in client.streams():
            request = StreamRequest(info.name, start, end)
            rows = Rows(
                client, request, schema=schemas.get(info.name), progress=progress, on_error=self._failures.append
            )
            for name in (info.name, *info.aliases):
                self.duckdb.register(name, rows)
                self._names.append(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both connections; if DuckDB's was given, it stays open and loses the tables."""
        if self._owned:
            self.duckdb.close()
        else:
            for name in self._names:
                self.duckdb.unregister(name)
        self.client.close()

    def sql(self, query: str, params: Parameters | None = None) -> Answer:
        """A query, which runs when its rows are asked for; any other statement runs at once.

        Args:
            params: values for ``?``, ``$1`` or ``$name`` in the query.

        Raises:
            duckdb.Error: the query is wrong.
        """
        with self.typed_errors():
            return Answer(self, query, self.duckdb.sql(query, params=params))

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Raise what a stream failed with, in place of DuckDB's error about it."""
        self._failures.clear()
        try:
            yield
        except self._duckdb.Error:
            if self._failures:
                raise self._failures[0] from None
            raise


class Answer:
    """The rows that a query gives; it runs anew for each call.

    Every call raises what the streams fail with: InvalidRequestError when the query leaves a range of ledgers open,
    GapError, UnavailableError and so on.

    Attributes:
        relation: DuckDB's own object; None for a statement that gives no rows.
    """

    def __init__(self, connection: Connection, query: str, relation: duckdb.DuckDBPyRelation | None) -> None:
        self.relation = relation
        self._connection = connection
        self._query = query

    def to_table(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table(self.relation)

    def reader(self) -> pa.RecordBatchReader:
        """The rows batch by batch, in bounded memory; read them before the next query of the connection."""
        if self.relation is None:
            return pa.table({}).to_reader()
        with self._connection.typed_errors():
            reader = self.relation.to_arrow_reader()

        def batches() -> Generator[pa.RecordBatch, None, None]:
            with self._connection.typed_errors():
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas frame of Arrow's own types."""
        return as_pandas(self.to_table())

    def to_polars(self) -> polars.DataFrame:
        """The rows as a Polars frame."""
        return as_polars(self.to_table())

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of Python values."""
        with self._connection.typed_errors():
            return [] if self.relation is None else self.relation.fetchall()

    def preview(self, rows: int = PREVIEWED_ROWS) -> Preview:
        """The first ``rows`` rows, to look at."""
        return Preview(self._query, self._table(None if self.relation is None else self.relation.limit(rows)))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)

    def __str__(self) -> str:
        return str(self.preview())

    def __repr__(self) -> str:
        return self._repr_mimebundle_()["text/plain"]

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]

    def _repr_mimebundle_(self, **_options: object) -> dict[str, str]:
        """Both forms from one run, since notebooks ask for both; a failure is shown, not raised once for each."""
        try:
            preview = self.preview()
        except StellarArrowError as error:
            return {"text/plain": f"{self._query}\n{error}", "text/html": f"<p>{escape(str(error))}</p>"}
        return {"text/plain": str(preview), "text/html": preview._repr_html_()}

    def _table(self, relation: duckdb.DuckDBPyRelation | None) -> pa.Table:
        with self._connection.typed_errors():
            return pa.table({}) if relation is None else relation.to_arrow_table()
