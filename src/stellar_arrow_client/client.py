"""The client: what a server offers, and its streams."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client import request as wire
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError, UnavailableError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.stream import read_stream
from stellar_arrow_client.transport import Address, connect, typed_error

CALL_SECONDS: Final = 30.0
MAX_ACTION_BYTES: Final = 16 * 1024 * 1024

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


class Client:
    """A connection to a stellar-arrow-source server; may be shared by threads.

    Args:
        server: ``localhost:8815``, ``grpc://…`` or ``grpc+tls://…``.
        token: sent as bearer token with every call.
        tls_roots: PEM certificates that the server's certificate must lead to; None for the system's.
        retry: how long to go on trying; see :class:`~stellar_arrow_client.policy.RetryPolicy`.

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
        retry: RetryPolicy | None = None,
    ) -> None:
        self.address = Address.parse(server)
        self.retry = retry or RetryPolicy()
        self._headers = _authorization(token, self.address)
        self._flight = connect(self.address, tls_roots)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a stream that is still being read breaks."""
        self._flight.close()

    def streams(self) -> list[StreamInfo]:
        """The streams of the server, in its order."""
        body = self._action(wire.ACTION_STREAMS)
        try:
            return [
                StreamInfo(
                    str(entry["name"]),
                    tuple(str(alias) for alias in entry["aliases"]),
                    str(entry["description"]),
                    int(entry["schema_version"]),
                )
                for entry in body["streams"]
            ]
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

    def plan(self, request: StreamRequest) -> flight.FlightInfo:
        """The parts of a request that can be read at the same time: one endpoint for each sub-range."""
        descriptor = flight.FlightDescriptor.for_command(request.to_ticket())
        return self._call(lambda options: self._flight.get_flight_info(descriptor, options))

    def latest_ledger(self) -> int | None:
        """The newest ledger that the server can give now; None when there is none yet."""
        latest = self._action(wire.ACTION_LATEST_LEDGER).get("latest")
        if latest is not None and type(latest) is not int:
            raise self._unexpected(wire.ACTION_LATEST_LEDGER)
        return latest

    def health(self) -> dict[str, Any]:
        """The server's own report."""
        return self._action(wire.ACTION_HEALTH)

    def stream(
        self,
        request: StreamRequest,
        *,
        stop: threading.Event | None = None,
        retry: RetryPolicy | None = None,
        heartbeats: bool = False,
        on_reconnect: Callable[[StellarArrowError], None] | None = None,
    ) -> Generator[tuple[pa.RecordBatch, Cursor], None, None]:
        """Batches of whole ledgers, in order, each ledger once, across breaks of the connection.

        Ends when the range is complete or ``stop`` is set; a request without ``end`` follows the tip.
        Close the iterator to cancel the call.

        Args:
            stop: ends the stream within a fraction of a second when it is set.
            heartbeats: give out batches without news too: no rows, and a cursor that does not advance.
            on_reconnect: told why the stream broke, before each attempt to resume it.

        Raises:
            GapError: the server left ledgers out.
            IntegrityError: batches contradict what they say of themselves, or data at the source is damaged.
            UnavailableError: the server cannot be reached and the retries are used up.
            StellarArrowError: what else the server reports.
        """
        return read_stream(
            request,
            self._open,
            self._translate,
            stop=stop or threading.Event(),
            retry=retry or self.retry,
            heartbeats=heartbeats,
            on_reconnect=on_reconnect,
        )

    def to_reader(self, request: StreamRequest) -> pa.RecordBatchReader:
        """The batches of a request as a reader, for DuckDB, Polars and others that take one."""
        schema = self.schema(request.stream, request.columns)
        return pa.RecordBatchReader.from_batches(schema, (batch for batch, _ in self.stream(request)))

    def read_table(self, request: StreamRequest) -> pa.Table:
        """All rows of a bounded range, in memory.

        Raises:
            InvalidRequestError: the range has no end.
        """
        if request.end is None:
            raise InvalidRequestError(f"{request} has no end; read_table needs one, use stream() to follow the tip")
        return self.to_reader(request).read_all()

    def _open(self, request: StreamRequest) -> flight.FlightStreamReader:
        return self._flight.do_get(flight.Ticket(request.to_ticket()), flight.FlightCallOptions(headers=self._headers))

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
            except Exception as error:
                typed = self._translate(error)
                if not isinstance(typed, UnavailableError) or attempt == self.retry.first_tries:
                    raise typed from error
            time.sleep(next(waits))
        raise AssertionError("first_tries must be at least 1")

    def _translate(self, error: Exception) -> StellarArrowError:
        return typed_error(error, self.address)

    def _unexpected(self, action: str) -> IntegrityError:
        return IntegrityError(f"{self.address} answers {action} with what is not the answer of stellar-arrow-source")


def _authorization(token: str | None, address: Address) -> list[tuple[bytes, bytes]]:
    if token is None:
        return []
    if not token.isascii() or not token.isprintable() or not token:
        raise InvalidRequestError("the token is not a line of printable ASCII characters")
    if not address.tls and not address.is_loopback:
        log.warning("the token travels to %s unencrypted; use grpc+tls://", address)
    return [(b"authorization", f"Bearer {token}".encode())]
