"""The client: what a server offers, and its streams."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client import request as wire
from stellar_arrow_client.display import PREVIEWED_ROWS, Preview, html_table, text_table
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError, UnavailableError
from stellar_arrow_client.parallel import read_shared
from stellar_arrow_client.policy import PARALLEL, RetryPolicy
from stellar_arrow_client.request import LEDGER, TIME, Cursor, StreamRequest
from stellar_arrow_client.servers import Credentials, Servers
from stellar_arrow_client.stream import read_stream
from stellar_arrow_client.timeline import first_closed_at
from stellar_arrow_client.transport import Address, typed_error

if TYPE_CHECKING:
    from stellar_arrow_client.checkpointed import CheckpointedStream
    from stellar_arrow_client.rows import Rows

CALL_SECONDS: Final = 30.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_LEDGER: Final = 2
"""The first that closed: ledger 1 is made, not closed, and sources begin with either."""
PREVIEWED_LEDGERS: Final = (1, 16, 256)
"""How many of the newest ledgers are looked at, one attempt after the other, for enough rows."""

MAX_ACTION_BYTES: Final = 16 * 1024 * 1024
MAX_STREAMS: Final = 1024

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream that the server offers.

    Attributes:
        name: what to ask for.
        aliases: other names of it.
        description: what one row is.
        schema_version: rises when a column changes its name, type or meaning.
    """

    name: str
    aliases: tuple[str, ...]
    description: str
    schema_version: int


class StreamList(list[StreamInfo]):
    """Streams; shown as a table on a terminal and in a notebook."""

    _HEADER: Final = ("stream", "other names", "rows")

    def __repr__(self) -> str:
        return text_table(self._HEADER, self._cells())

    def _repr_html_(self) -> str:
        return html_table("streams", self._HEADER, self._cells())

    def _cells(self) -> list[tuple[str, str, str]]:
        return [(info.name, ", ".join(info.aliases), info.description) for info in self]


class Client:
    """A connection to a stellar-arrow-source server; may be shared by threads.

    Args:
        server: ``localhost:8815``, ``grpc://…`` or ``grpc+tls://…``.
        token: sent as bearer token with every call.
        tls_roots: PEM certificates that the server's certificate must lead to; None for the system's.
        client_cert, client_key: PEM certificate chain and private key with which the client shows who it is, to a
            server that asks for that.
        retry: how long to go on trying; see :class:`~stellar_arrow_client.policy.RetryPolicy`.
        parallel: how many servers one stream is read from at a time, at most, where the server names several that
            share its work.

    Raises:
        InvalidRequestError: the address is not one. The server itself is first contacted by a call; every
            call may raise UnavailableError, AuthenticationError or what the server reports.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        tls_roots: bytes | None = None,
        client_cert: bytes | None = None,
        client_key: bytes | None = None,
        retry: RetryPolicy | None = None,
        parallel: int = PARALLEL,
    ) -> None:
        self.address = Address.parse(server)
        self.retry = retry or RetryPolicy()
        self.parallel = parallel
        credentials = Credentials(token, tls_roots, client_cert, client_key)
        self._headers = credentials.headers(self.address)
        self._flight = credentials.connect(self.address)
        self._servers = Servers((self.address, self._flight), credentials, self.latest_ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a stream that is still being read breaks."""
        self._servers.close()
        self._flight.close()

    def streams(self) -> StreamList:
        """The streams of the server, in its order."""
        body = self._action(wire.ACTION_STREAMS)
        try:
            return StreamList(
                StreamInfo(
                    str(entry["name"]),
                    tuple(str(alias) for alias in entry["aliases"]),
                    str(entry["description"]),
                    int(entry["schema_version"]),
                )
                for entry in body["streams"]
            )
        except (LookupError, TypeError, ValueError):
            raise self._unexpected(wire.ACTION_STREAMS) from None

    def schema(self, stream: str, columns: Sequence[str] | None = None) -> pa.Schema:
        """The schema of a stream's batches.

        Fields carry ``description`` and ``unit`` as metadata, the schema ``stream``, ``schema_version`` and
        ``network``.

        Args:
            columns: as in :class:`~stellar_arrow_client.request.StreamRequest`.

        Raises:
            UnknownStreamError, UnknownColumnError: the message names the nearest valid name.
        """
        request = StreamRequest(stream, columns=None if columns is None else tuple(columns))
        descriptor = flight.FlightDescriptor.for_command(request.to_ticket())
        # Not get_schema: pyarrow's server answers it with a traceback instead of the typed error.
        return self._call(lambda options: self._flight.get_flight_info(descriptor, options).schema)

    def schemas(self) -> dict[str, pa.Schema]:
        """The schemas of all streams, by name, in one call."""
        listed = self._call(lambda options: list(islice(self._flight.list_flights(options=options), MAX_STREAMS + 1)))
        try:
            schemas = {_described(info.descriptor).stream: info.schema for info in listed}
        except InvalidRequestError:
            raise self._unexpected("a listing") from None
        if len(schemas) != len(listed) or len(listed) > MAX_STREAMS:
            raise self._unexpected("a listing")
        return schemas

    def plan(self, request: StreamRequest) -> flight.FlightInfo:
        """The parts of a request that can be read at the same time: one endpoint for each sub-range."""
        descriptor = flight.FlightDescriptor.for_command(request.to_ticket())
        return self._call(lambda options: self._flight.get_flight_info(descriptor, options))

    def latest_ledger(self) -> int | None:
        """The newest ledger that the server can give now; None when there is none yet."""
        return self._bounds()[1]

    def ledger_at(self, time: datetime) -> int:
        """The first ledger that closed at ``time`` or later, found by a few looks at close times.

        Raises:
            InvalidRequestError: the time has no zone, or the server has no ledgers of that time.
        """
        if time.tzinfo is None:
            raise InvalidRequestError(f"{time} has no time zone; write it like datetime(…, tzinfo=UTC)")
        return self.first_ledger_at((time - EPOCH) // timedelta(microseconds=1))

    def first_ledger_at(self, time: int) -> int:
        """As :meth:`ledger_at`, of a time in microseconds since 1970."""
        oldest, newest = self._bounds()
        if oldest is None or newest is None:
            raise InvalidRequestError(
                f"{self.address} does not say from when to when it has ledgers; give their numbers"
            )
        found = first_closed_at(time, oldest, newest, self._close_time)
        if found > newest or (found == oldest > FIRST_LEDGER and time < self._close_time(oldest)):
            begin, end = (EPOCH + timedelta(microseconds=self._close_time(ledger)) for ledger in (oldest, newest))
            raise InvalidRequestError(
                f"the ledgers of {self.address}, {oldest} to {newest}, closed from {begin} to {end}; ask for a time "
                "between these"
            )
        return found

    def health(self) -> dict[str, Any]:
        """The server's own report."""
        return self._action(wire.ACTION_HEALTH)

    def stream(
        self,
        request: StreamRequest | str,
        *,
        resume: int | None = None,
        stop: threading.Event | None = None,
        retry: RetryPolicy | None = None,
        heartbeats: bool = False,
        on_reconnect: Callable[[StellarArrowError], None] | None = None,
    ) -> Generator[tuple[pa.RecordBatch, Cursor], None, None]:
        """Batches of whole ledgers, in order, each ledger once, across breaks of the connection.

        Ends when the range is complete or ``stop`` is set; a request without ``end`` follows the tip.
        Close the iterator to cancel the call.

        Args:
            request: what to read, also as text such as ``payments:2:501``.
            resume: the ledger to go on with, such as the ``cursor.cursor`` of the last batch that was dealt with;
                nothing comes when it is beyond the end. None begins at the start.
            stop: ends the stream within a fraction of a second when it is set.
            heartbeats: give out batches without news too: no rows, and a cursor that does not advance.
            on_reconnect: told why the stream broke, before each attempt to resume it.

        Raises:
            GapError: the server left ledgers out.
            IntegrityError: batches contradict what they say of themselves, or data at the source is damaged.
            UnavailableError: the server cannot be reached and the retries are used up.
            StellarArrowError: what else the server reports.
        """
        request = as_request(request)
        if resume is not None and request.end is not None and resume > request.end:
            return _nothing()
        stop = stop or threading.Event()
        alone = partial(
            read_stream,
            open_reader=self._open,
            translate=self._translate,
            stop=stop,
            retry=retry or self.retry,
            heartbeats=heartbeats,
            on_reconnect=on_reconnect,
        )
        rest = request if resume is None else request.resumed_at(resume)
        if self.parallel < 2:
            return alone(rest)
        return read_shared(
            rest,
            self._servers.share,
            alone,
            most=self.parallel,
            idle_timeout=self.retry.idle_timeout,
            stop=stop,
            heartbeats=heartbeats,
            on_reconnect=on_reconnect,
        )

    def checkpointed(self, request: StreamRequest | str, path: str | Path) -> CheckpointedStream:
        """A stream whose position is kept in a file: after a restart it goes on where it was acknowledged last.

        To be used in a ``with`` statement; see
        :class:`~stellar_arrow_client.checkpointed.CheckpointedStream`.
        """
        from stellar_arrow_client.checkpointed import CheckpointedStream

        return CheckpointedStream(self, as_request(request), Path(path))

    def read(self, request: StreamRequest | str, *, progress: bool = False) -> Rows:
        """The rows of a range of ledgers, into a pyarrow table, pandas, Polars or DuckDB, or batch by batch.

        Nothing is read before the rows are asked for.

        Args:
            request: what to read, also as text such as ``payments:2:501``.
            progress: show how far the reading is, on a terminal or in a notebook.
        """
        from stellar_arrow_client.rows import Rows  # here, since it is not needed to stream

        return Rows(self, as_request(request), progress=progress)

    def preview(self, stream: str, rows: int = PREVIEWED_ROWS, *, columns: Sequence[str] | None = None) -> Preview:
        """Rows of the newest ledgers, to look at: the last ones of the last 256 ledgers at most.

        Raises:
            UnavailableError: the server has no ledger yet.
        """
        oldest, newest = self._bounds()
        if newest is None:
            raise UnavailableError(f"{self.address} has no ledger yet; try again later")
        for ledgers in PREVIEWED_LEDGERS:
            first = max(newest - ledgers + 1, oldest or 1)
            table = self.read_table(StreamRequest(stream, first, newest, None if columns is None else tuple(columns)))
            if table.num_rows >= rows or first == oldest:
                break
        return Preview(f"{stream}:{first}:{newest}", table.slice(max(0, table.num_rows - rows)))

    def read_table(self, request: StreamRequest | str) -> pa.Table:
        """All rows of a bounded range, in memory; waits for ledgers that are not there yet.

        Raises:
            InvalidRequestError: the range has no end.
        """
        request = as_request(request)
        if request.end is None:
            raise InvalidRequestError(f"{request} has no end; read_table needs one, use stream() to follow the tip")
        schema = self.schema(request.stream, request.columns)
        return pa.Table.from_batches((batch for batch, _ in self.stream(request)), schema)

    def _open(self, request: StreamRequest) -> flight.FlightStreamReader:
        return self._flight.do_get(flight.Ticket(request.to_ticket()), flight.FlightCallOptions(headers=self._headers))

    def _bounds(self) -> tuple[int | None, int | None]:
        """The oldest and the newest ledger of the server's source."""
        body = self._action(wire.ACTION_LATEST_LEDGER)
        oldest, newest = body.get("oldest"), body.get("latest")
        if any(bound is not None and type(bound) is not int for bound in (oldest, newest)):
            raise self._unexpected(wire.ACTION_LATEST_LEDGER)
        return oldest, newest

    def _close_time(self, ledger: int) -> int:
        """Microseconds since 1970."""
        table = self.read_table(StreamRequest("ledgers", ledger, ledger, (LEDGER, TIME)))
        if table.num_rows != 1:
            raise IntegrityError(f"{self.address} gives {table.num_rows} rows for ledger {ledger}")
        return int(table[TIME].cast(pa.int64())[0].as_py())

    def _action(self, name: str) -> dict[str, Any]:
        def act(options: flight.FlightCallOptions) -> bytes:
            results: list[bytes] = [result.body.to_pybytes() for result in self._flight.do_action(name, options)]
            if len(results) != 1 or len(results[0]) > MAX_ACTION_BYTES:
                raise self._unexpected(name)
            return results[0]

        try:
            body = json.loads(self._call(act))
        except (ValueError, RecursionError):
            raise self._unexpected(name) from None
        if not isinstance(body, dict):
            raise self._unexpected(name)
        return body

    def _call(self, call: Callable[[flight.FlightCallOptions], T]) -> T:
        """Make a short call; a server that is not there is tried again a few times."""
        waits = self.retry.waits()
        for attempt in range(1, self.retry.first_tries + 1):
            try:
                return call(flight.FlightCallOptions(timeout=CALL_SECONDS, headers=self._headers))
            except Exception as error:  # raised again as what it is for users
                typed = self._translate(error)
                wait = max(next(waits), typed.retry_after or 0.0)
                hopeless = not isinstance(typed, UnavailableError) or wait > self.retry.maximum
                if hopeless or attempt == self.retry.first_tries:
                    raise typed from error
            time.sleep(wait)
        raise AssertionError("first_tries must be at least 1")

    def _translate(self, error: Exception) -> StellarArrowError:
        return typed_error(error, self.address)

    def _unexpected(self, action: str) -> IntegrityError:
        return IntegrityError(f"{self.address} answers {action} with what is not the answer of stellar-arrow-source")


def as_request(request: StreamRequest | str) -> StreamRequest:
    """A request that may be given as text."""
    return StreamRequest.parse(request) if isinstance(request, str) else request


def _described(descriptor: flight.FlightDescriptor) -> StreamRequest:
    """The request that a server's descriptor stands for."""
    return StreamRequest.parse(descriptor.command or b"".join(descriptor.path or ()))


def _nothing() -> Generator[tuple[pa.RecordBatch, Cursor], None, None]:
    yield from ()
