"""A real Flight server that serves given tables and breaks on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client import request as wire
from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import (
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
    UnknownColumnError,
    UnknownStreamError,
)
from stellar_arrow_client.request import Cursor, StreamRequest, error_payload

HEARTBEAT_SECONDS = 0.2
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """How one ``do_get`` call goes wrong.

    Attributes:
        after: batches sent before.
        kind: ``break`` loses the connection, ``end`` ends the stream too early, ``error`` sends ``error``,
            ``silence`` sends nothing more, not even a heartbeat.
    """

    after: int
    kind: Literal["break", "end", "error", "silence"] = "break"
    error: StellarArrowError | None = None


class FakeServer:
    """Serves tables, each a stream, on a free port of the loopback interface.

    Keeps the wire contract: cursors, heartbeats at the tip, ledgers split over batches, typed errors, actions.
    Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Args:
        tables: rows of each stream, ordered by ``ledger_sequence``.
        first, last: ledgers that the server holds, also those without a row.
        ledgers_per_batch: how many ledgers a batch covers.
        split_rows: ledgers with more rows are sent in parts of that many.
        delay: seconds before each batch.
        faults: one for each ``do_get`` call, in order; later calls go well.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        first: int,
        last: int,
        *,
        ledgers_per_batch: int = 10,
        split_rows: int | None = None,
        delay: float = 0.0,
        faults: Sequence[Fault] = (),
    ) -> None:
        self.tables = dict(tables)
        self.first, self.last = first, last
        self.ledgers_per_batch, self.split_rows, self.delay = ledgers_per_batch, split_rows, delay
        self.faults = list(faults)
        self.requests: list[StreamRequest] = []
        self.port = 0
        self._batches = self._open_streams = 0
        self._changed = threading.Condition()
        self._service: _Service | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """``127.0.0.1:port``; stays the same when the server is started again."""
        return f"127.0.0.1:{self.port}"

    @property
    def batches(self) -> int:
        """Batches with news sent so far, in all calls."""
        return self._batches

    def start(self) -> Self:
        """Begin to serve; after a :meth:`stop` on the same port again."""
        self._service = _Service(self, self.port)
        self.port = self._service.port
        return self

    def stop(self) -> None:
        """End all streams with a broken connection and stop serving."""
        if self._service is not None:
            self._service.stopping.set()
            self._service.shutdown()
            self._service = None

    def publish(self, last: int, tables: Mapping[str, pa.Table]) -> None:
        """New ledgers close: ``tables`` holds the rows after the present ``last``."""
        for stream, rows in tables.items():
            self.tables[stream] = pa.concat_tables([self.tables[stream], rows])
        self.last = last

    def stages(self, count: int) -> Iterator[int]:
        """Let ledgers close in ``count`` steps and a last one; each gives how many batches of a stream that is.

        A client that is to be stopped in a step cannot come to the end before, however slow the test is.
        """
        last, batches = self.last, (self.last - self.first + 1) // self.ledgers_per_batch // (count + 1)
        for number in range(1, count + 1):
            self.last = self.first + number * batches * self.ledgers_per_batch - 1
            yield batches
        self.last = last

    def wait_for_batches(self, count: int, timeout: float = 30.0) -> None:
        """Return when ``count`` batches with news were sent in all.

        Raises:
            TimeoutError: they were not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._batches >= count, timeout):
                raise TimeoutError(f"{self._batches} of {count} batches were asked for in {timeout:g} seconds")

    def wait_until_idle(self, timeout: float = 30.0) -> None:
        """Return when no stream is open any more.

        Raises:
            TimeoutError: somebody still reads.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open_streams, timeout):
                raise TimeoutError(f"{self._open_streams} streams are still open after {timeout:g} seconds")

    def count(self, *, batches: int = 0, open_streams: int = 0) -> None:
        with self._changed:
            self._batches += batches
            self._open_streams += open_streams
            self._changed.notify_all()


class _Service(flight.FlightServerBase):  # type: ignore[misc]
    def __init__(self, owner: FakeServer, port: int) -> None:
        self.stopping = threading.Event()
        self._owner = owner
        super().__init__(f"grpc://127.0.0.1:{port}")

    def list_flights(self, _context: Any, _criteria: bytes) -> Iterator[flight.FlightInfo]:
        for stream, table in self._owner.tables.items():
            yield flight.FlightInfo(table.schema, flight.FlightDescriptor.for_path(stream), [], -1, -1)

    def get_flight_info(self, _context: Any, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        request = _parse(descriptor.command)
        endpoint = flight.FlightEndpoint(request.to_ticket(), [])
        return flight.FlightInfo(self._table(request).schema, descriptor, [endpoint], -1, -1)

    def do_action(self, _context: Any, action: flight.Action) -> list[flight.Result]:
        bodies: dict[str, dict[str, Any]] = {
            wire.ACTION_HEALTH: {"status": "ok"},
            wire.ACTION_LATEST_LEDGER: {"oldest": self._owner.first, "latest": self._owner.last},
            wire.ACTION_STREAMS: {
                "streams": [
                    {"name": name, "aliases": [], "description": f"rows of {name}", "schema_version": 1}
                    for name in self._owner.tables
                ]
            },
        }
        if action.type not in bodies:
            raise _flight_error(InvalidRequestError(f"no action {action.type!r}"))
        return [flight.Result(json.dumps(bodies[action.type]).encode())]

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.GeneratorStream:
        request = _parse(ticket.ticket)
        schema = self._table(request).schema
        self._owner.requests.append(request)
        fault = self._owner.faults.pop(0) if self._owner.faults else None
        options = pa.ipc.IpcWriteOptions(compression=request.compression)
        return flight.GeneratorStream(schema, self._stream(context, request, fault), options=options)

    def _stream(
        self, context: flight.ServerCallContext, request: StreamRequest, fault: Fault | None
    ) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        self._owner.count(open_streams=1)
        try:
            yield from self._batches(context, request, fault)
        finally:
            self._owner.count(open_streams=-1)

    def _batches(
        self, context: flight.ServerCallContext, request: StreamRequest, fault: Fault | None
    ) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        owner = self._owner
        ledger = owner.last if request.start is None else request.start
        left = None if fault is None else fault.after
        spoke = time.monotonic()
        while request.end is None or ledger <= request.end:
            if self.stopping.is_set():
                raise _flight_error(UnavailableError("the server is stopping"), ledger)
            if context.is_cancelled():
                return
            if ledger > owner.last:
                if time.monotonic() - spoke >= HEARTBEAT_SECONDS:
                    spoke = time.monotonic()
                    yield self._rows(request, ledger, ledger - 1), Cursor(ledger, ledger - 1).to_metadata()
                time.sleep(POLL_SECONDS)
                continue
            last = min(ledger + owner.ledgers_per_batch - 1, owner.last, request.end or owner.last)
            for batch, cursor in self._cut(request, ledger, last):
                if left == 0 and fault is not None:
                    if fault.kind == "silence":
                        while not (context.is_cancelled() or self.stopping.wait(POLL_SECONDS)):
                            pass
                    if fault.kind in ("end", "silence"):
                        return
                    if fault.error is not None:
                        raise _flight_error(fault.error, ledger)
                    raise flight.FlightUnavailableError("Connection reset by peer")
                left = None if left is None else left - 1
                time.sleep(owner.delay)
                yield batch, cursor.to_metadata()
                owner.count(batches=1)
            ledger, spoke = last + 1, time.monotonic()

    def _cut(self, request: StreamRequest, first: int, last: int) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """Ledgers ``first`` to ``last`` as batches: one, or the parts of those that are split."""
        limit = self._owner.split_rows
        begin = first
        for ledger in range(first, last + 1):
            rows = self._rows(request, ledger, ledger)
            if limit is None or rows.num_rows <= limit:
                continue
            if begin < ledger:
                yield self._rows(request, begin, ledger - 1), Cursor(begin, ledger - 1)
            for start in range(0, rows.num_rows, limit):
                final = start + limit >= rows.num_rows
                yield rows.slice(start, limit), Cursor(ledger, ledger if final else ledger - 1)
            begin = ledger + 1
        if begin <= last:
            yield self._rows(request, begin, last), Cursor(begin, last)

    def _rows(self, request: StreamRequest, first: int, last: int) -> pa.RecordBatch:
        table = self._owner.tables[request.stream]
        low, high = np.searchsorted(table.column("ledger_sequence").to_numpy(), [first, last + 1])
        rows = self._table(request).slice(low, high - low).combine_chunks()
        return rows.to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], rows.schema)

    def _table(self, request: StreamRequest) -> pa.Table:
        tables = self._owner.tables
        if request.stream not in tables:
            hint = did_you_mean(request.stream, tables)
            raise _flight_error(UnknownStreamError(f"no stream is called '{request.stream}'{hint}"))
        table = tables[request.stream]
        if request.filter is not None:
            raise _flight_error(InvalidRequestError("this server filters no rows"))
        for name in request.columns or ():
            if name not in table.schema.names:
                hint = did_you_mean(name, table.schema.names)
                raise _flight_error(UnknownColumnError(f"no column is called '{name}'{hint}"))
        return table if request.columns is None else table.select(list(request.columns))


def _parse(text: bytes) -> StreamRequest:
    try:
        return StreamRequest.parse(text)
    except InvalidRequestError as error:
        raise _flight_error(error) from None


def _flight_error(error: StellarArrowError, resume: int | None = None) -> flight.FlightError:
    kind = flight.FlightUnavailableError if isinstance(error, UnavailableError) else flight.FlightServerError
    return kind(str(error), error_payload(error, resume))
