"""EventService over ``ttp_events``: each call reads the stream of its own range and gets it as messages."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import (
    GapError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.request import StreamRequest
from ttp_processor.columns import COLUMNS, STREAM
from ttp_processor.metrics import Metrics
from ttp_processor.protos.event_service_pb2 import DESCRIPTOR, GetEventsRequest
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent
from ttp_processor.relay import Relay
from ttp_processor.transport import send_framed
from ttp_processor.wire import encode, frame

ROWS: Final = 4096
"""Most events that are made into messages at a time."""

SERVICE: Final[str] = DESCRIPTOR.services_by_name["EventService"].full_name

_POLL_SECONDS: Final = 0.02

_STATUS: Final[tuple[tuple[type[StellarArrowError], Status], ...]] = (
    (IntegrityError, Status.DATA_LOSS),
    (InvalidRequestError, Status.INVALID_ARGUMENT),
    (UnavailableError, Status.UNAVAILABLE),
)

_log = logging.getLogger(__name__)
_Call = Stream[GetEventsRequest, TokenTransferEvent]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of some events, and the first ledger that is not complete after them."""

    framed: memoryview
    events: int
    next_ledger: int


@dataclass(slots=True)
class Account:
    """What became of a call so far."""

    range: StreamRequest | None = None
    next_ledger: int | None = None
    events: int = 0
    status: Status = Status.CANCELLED

    @property
    def complete(self) -> bool:
        """Whether all ledgers of the range have been sent."""
        end = self.range.end if self.range else None
        return end is not None and self.next_ledger == end + 1


class EventService:
    """The service ``token_transfer_service.EventService``; for a server of grpclib.

    Args:
        client: of the server that has the stream.
        condition: which events all clients get (a filter of the ticket), None for all.
        start: where a call begins that names no start; None for the newest ledger.
        max_calls: calls at the same time; one more is refused with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self, client: Client, metrics: Metrics, *, condition: str | None, start: int | None, max_calls: int
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._condition = condition
        self._start = start
        self._max_calls = max_calls
        self._threads = 0
        self._relays: set[Relay[Chunk]] = set()
        self._stopping = False

    def __mapping__(self) -> Mapping[str, Handler]:
        method = Handler(self.get_events, Cardinality.UNARY_STREAM, GetEventsRequest, TokenTransferEvent)
        return {f"/{SERVICE}/GetTTPEvents": method}

    async def stop(self, deadline: float) -> None:
        """Let all calls end with a whole ledger, and refuse others; returns when they have, or at ``deadline``."""
        self._stopping = True
        for relay in self._relays:
            relay.stop()
        while self._relays and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)

    async def join(self, deadline: float) -> None:
        """Returns when no thread reads any more, or at ``deadline``; for when all calls have ended."""
        while self._threads and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)

    async def get_events(self, stream: _Call) -> None:
        """The call GetTTPEvents."""
        account, began = Account(), time.monotonic()
        try:
            account.range = self._range(await _receive(stream))
            await self._send(stream, account.range, account)
            account.status = Status.OK
        except GRPCError as error:
            account.status = error.status
            raise
        except StellarArrowError as error:
            account.status = _status(error, account)
            raise GRPCError(account.status, str(error)) from error
        except Exception:  # for the account; it is raised again
            account.status = Status.UNKNOWN
            raise
        finally:
            self._metrics.calls.labels(account.status.name).inc()
            _log.info(
                "call ended",
                extra={
                    "peer": stream.peer.addr(),
                    "range": str(account.range),
                    "status": account.status.name,
                    "events": account.events,
                    "next_ledger": account.next_ledger,
                    "seconds": round(time.monotonic() - began, 3),
                },
            )

    def _range(self, asked: GetEventsRequest) -> StreamRequest:
        """The request of a call: an end of 0, or before the start, follows the network."""
        start: int | None = asked.start_ledger or self._start
        end: int | None = asked.end_ledger if asked.end_ledger >= (start or 1) else None
        if start is None and end is not None:
            raise InvalidRequestError(
                "start_ledger 0 means the newest ledger, and end_ledger must be 0 with it; name the first ledger"
            )
        return StreamRequest(STREAM, start, end, COLUMNS, self._condition)

    async def _send(self, stream: _Call, request: StreamRequest, account: Account) -> None:
        relay = self._relay(request)
        self._relays.add(relay)
        try:
            async with aclosing(relay.items()) as chunks:
                async for chunk in chunks:
                    if account.next_ledger is None:
                        await stream.send_initial_metadata()
                    await send_framed(stream, chunk.framed)
                    account.next_ledger = chunk.next_ledger
                    account.events += chunk.events
                    self._metrics.events.inc(chunk.events)
                    self._metrics.bytes.inc(len(chunk.framed))
        finally:
            relay.leave()
            self._relays.discard(relay)
        if not account.complete:
            raise UnavailableError(
                f"ttp-processor is stopping; ask again from ledger {account.next_ledger or request.start or 0} on"
            )

    def _relay(self, request: StreamRequest) -> Relay[Chunk]:
        """Begin to read a range, in a thread of its own."""
        if self._stopping:
            raise GRPCError(Status.UNAVAILABLE, "ttp-processor is stopping")
        if self._threads >= self._max_calls:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"all {self._max_calls} calls (--max-calls) are in use; try again later"
            )
        self._count(1)
        return Relay(lambda stop: self._read(request, stop), name=f"call {request}", on_end=lambda: self._count(-1))

    def _count(self, change: int) -> None:
        self._threads += change
        self._metrics.active.inc(change)

    def _read(self, request: StreamRequest, stop: threading.Event) -> Generator[Chunk, None, None]:
        def count(_error: StellarArrowError) -> None:
            self._metrics.reconnects.inc()

        with closing(self._client.stream(request, stop=stop, on_reconnect=count)) as batches:
            for batch, cursor in batches:
                for row in range(0, batch.num_rows, ROWS):
                    rows = batch.slice(row, ROWS)
                    yield Chunk(frame(encode(rows)), rows.num_rows, cursor.first)
                yield Chunk(memoryview(b""), 0, cursor.cursor)


async def _receive(stream: _Call) -> GetEventsRequest:
    """The request of a call.

    Raises:
        InvalidRequestError: there is none, or it is damaged.
    """
    try:
        request = await stream.recv_message()
    except (DecodeError, AssertionError):  # the latter: it is cut short
        raise InvalidRequestError("the request is no GetEventsRequest") from None
    except NotImplementedError:
        raise GRPCError(Status.UNIMPLEMENTED, "compressed requests are not understood") from None
    if request is None:
        raise InvalidRequestError("the call has no request")
    return request


def _status(error: StellarArrowError, account: Account) -> Status:
    if isinstance(error, GapError) and account.next_ledger is None:  # before the oldest ledger
        return Status.OUT_OF_RANGE
    return next((status for kind, status in _STATUS if isinstance(error, kind)), Status.INTERNAL)
