"""Ledgers from a RawLedgerService over gRPC."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from stellar_arrow_client.errors import GapError, IntegrityError, InvalidRequestError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.paging import PageSize
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, RawLedger, RetryPolicy
from stellar_arrow_source.ledgers.tally import RETRIES
from stellar_arrow_source.ledgers.wire import decode_ledger, decode_range
from stellar_arrow_source.sparing import Sparing
from stellar_arrow_source.tls import SourceTls, TlsMaterial, tls_problem

SERVICE = "raw_ledger_service.RawLedgerService"
MAX_MESSAGE = 256 << 20
"""Largest message that is received; ledgers of pubnet exceed gRPC's default of 4 MB."""

_PAGE_BYTES = 4 << 20  # messages of about this size are the fastest
_PAGES_IN_FLIGHT = 2
_MAX_PAGE = 1024  # ledgers
_CALL_SECONDS = 120.0
_KEEPALIVE_SECONDS = 310  # servers of other makes end connections that are pinged more often than in 5 minutes
_LAST = (1 << 32) - 2  # a range ends before a uint32

_log = logging.getLogger(__name__)


class GrpcSource:
    """Client of a RawLedgerService: bounded calls as far as the server's newest ledger, then its stream.

    Args:
        target: ``host:port``.
        tls: how to speak TLS; None speaks none.

    Attributes:
        endpoint: ``host:port``, ``grpc://host:port`` or ``grpcs://host:port``, as given.
        network_passphrase: None; the service does not tell it.

    Raises:
        InvalidRequestError: a file of ``tls`` cannot be used.
    """

    def __init__(self, target: str, *, endpoint: str, retry: RetryPolicy, tls: SourceTls | None = None) -> None:
        self.endpoint = endpoint
        self.network_passphrase: str | None = None
        self._target, self._retry, self._tls = target, retry, tls
        self._has_range = True  # until the server says UNIMPLEMENTED
        self._failing = Sparing()
        self._answered = False  # so the two can speak with each other
        self._connecting = threading.Lock()
        self._material = None if tls is None else tls.material()
        self._connect()

    def _connect(self) -> None:
        retry = self._retry
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", int(retry.initial * 1000)),
            ("grpc.max_reconnect_backoff_ms", int(retry.maximum * 1000)),
            ("grpc.keepalive_time_ms", _KEEPALIVE_SECONDS * 1000),
        ]
        name = self._tls.name if self._tls else None
        self._channel = _channel(self._target, self._material, name, options)
        self._range = self._channel.unary_unary(
            f"/{SERVICE}/GetLedgerRange",
            request_serializer=pb.GetLedgerRangeRequest.SerializeToString,
        )
        self._stream = self._channel.unary_stream(
            f"/{SERVICE}/StreamRawLedgers",
            request_serializer=pb.StreamLedgersRequest.SerializeToString,
        )

    def bounds(self) -> Bounds:
        """Newest ledger of the server (None if it lacks GetLedgerRange); the oldest is not told.

        Raises:
            SourceUnavailableError: the server cannot be reached.
        """
        try:
            answer = self._range(pb.GetLedgerRangeRequest(), timeout=_CALL_SECONDS)
            self._answered = True
            _, latest = decode_range(answer, 0)
        except grpc.RpcError as error:
            if error.code() in _TELLS_NOTHING:
                return Bounds(None, None)
            if error.code() == grpc.StatusCode.UNAVAILABLE and self._renew():
                return self.bounds()
            raise self._unavailable(error) from error
        except ValueError as error:
            raise self._no_message(error) from error
        return Bounds(None, latest or None)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        expected, failures, size = start, 0, PageSize(_PAGE_BYTES, _MAX_PAGE)
        while not stop.is_set() and (end is None or expected <= end):
            try:
                for ledger in self._attempt(expected, end, size, stop):
                    if ledger.sequence != expected:
                        raise GapError(
                            f"{self.endpoint} sent ledger {ledger.sequence} where {expected} is due: "
                            "check that server's store for missing or doubled ledgers"
                        )
                    if (inside := ledger_sequence(ledger.xdr)) != expected:
                        raise IntegrityError(f"{self.endpoint} sent ledger {inside} as ledger {expected}")
                    yield ledger
                    expected, failures, self._answered = expected + 1, 0, True
            except grpc.RpcError as error:
                if stop.is_set():
                    return
                failures += 1
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    size.shrink()
                self._give_up_or_wait(error, expected, failures, stop)
            except ValueError as error:
                raise self._no_message(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _renew(self) -> bool:
        """Connect anew if the files of certificates have changed: what they held may have expired."""
        if self._tls is None:
            return False
        with self._connecting:
            try:
                material = self._tls.material()
            except InvalidRequestError:
                return False  # one has been replaced, but not the other yet
            if material == self._material:
                return False
            self._material = material
            self._connect()  # calls in flight keep the old connection as long as they last
        _log.info("%s is spoken to with certificates that have changed", self.endpoint)
        return True

    def _attempt(self, start: int, end: int | None, size: PageSize, stop: threading.Event) -> Iterator[RawLedger]:
        """Ledgers from ``start`` until the range is done, the stream ends or a call fails."""
        if self._has_range:
            for ledger in self._pages(start, end, size, stop):
                yield ledger
                start = ledger.sequence + 1
        if not stop.is_set() and (end is None or start <= end):
            yield from self._follow(start, end, stop)

    def _pages(self, start: int, end: int | None, size: PageSize, stop: threading.Event) -> Iterator[RawLedger]:
        """Bounded calls, several in flight, as far as the server's newest ledger."""
        pages: deque[_Page] = deque()
        upcoming = start  # first ledger that no call asks for yet
        newest: int | None = None  # as far as the server has told
        try:
            while not stop.is_set():
                limit = min(_LAST if end is None else end, _LAST if newest is None else newest, _LAST)
                ahead = _PAGES_IN_FLIGHT if size.known else 1
                while len(pages) < ahead and upcoming <= limit:
                    pages.append(self._page(upcoming, min(upcoming + size.ledgers - 1, limit)))
                    upcoming = pages[-1].last + 1
                if not pages:
                    return
                page = pages.popleft()
                answer = page.wait(stop)
                if answer is None:
                    return
                ledgers, latest = decode_range(answer, page.last - page.first + 1)
                newest = max(newest or 0, latest)
                size.learn(ledgers)
                yield from ledgers
                first = page.first + len(ledgers)
                if not ledgers and first <= newest:
                    raise GapError(
                        f"{self.endpoint} has ledger {newest} but not ledger {first}: "
                        "start at a ledger it has, or use a source with more history"
                    )
                if ledgers and first <= page.last:
                    pages.appendleft(self._page(first, page.last))
                elif first <= page.last:
                    return  # the tip
        finally:
            for page in pages:
                page.call.cancel()

    def _page(self, first: int, last: int) -> _Page:
        request = pb.GetLedgerRangeRequest(start_ledger=first, end_ledger=last + 1)
        return _Page(first, last, self._range.future(request, timeout=_CALL_SECONDS))

    def _follow(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """The server's endless stream, cancelled at the end of the range or when ``stop`` is set."""
        call = self._stream(pb.StreamLedgersRequest(start_ledger=start))
        threading.Thread(target=_cancel_when, args=(stop, call), daemon=True).start()
        try:
            for message in call:
                ledger = decode_ledger(message)
                yield ledger
                if ledger.sequence == end:
                    return
            raise _StreamEnded
        finally:
            call.cancel()

    def _give_up_or_wait(self, error: grpc.RpcError, expected: int, failures: int, stop: threading.Event) -> None:
        code = error.code()
        if code == grpc.StatusCode.UNIMPLEMENTED and self._has_range:
            self._has_range = False
            return
        if code == grpc.StatusCode.UNAVAILABLE and self._renew():
            return
        if (refusal := _REFUSALS.get(code)) is not None:
            raise refusal(f"{self.endpoint} refuses ledger {expected}: {error.details()}") from error
        if code not in _TRANSIENT or failures >= self._retry.attempts or (not self._answered and self._problem(error)):
            raise self._unavailable(error) from error
        RETRIES.add("grpc")
        delay = self._retry.delay(failures)
        if (also := self._failing.tell()) is not None:
            what = (self.endpoint, expected, _plain(error), delay, also)
            _log.warning("%s failed at ledger %d (%s), next attempt in %.1f s%s", *what)
        stop.wait(delay)

    def _no_message(self, error: ValueError) -> IntegrityError:
        return IntegrityError(f"{self.endpoint} sent what is no message of {SERVICE}: {error}")

    def _unavailable(self, error: grpc.RpcError) -> SourceUnavailableError:
        if problem := self._problem(error):
            return SourceUnavailableError(f"no connection to the ledger source {self.endpoint}: {problem}")
        return SourceUnavailableError(
            f"the ledger source {self.endpoint} is not available ({_plain(error)}): is it running there?"
        )

    def _problem(self, error: grpc.RpcError) -> str | None:
        """What is wrong with TLS where there is no connection."""
        return tls_problem(self._target, self._tls) if error.code() == grpc.StatusCode.UNAVAILABLE else None


@dataclass(frozen=True, slots=True)
class _Page:
    """A call in flight for the ledgers ``first`` to ``last``, both inclusive."""

    first: int
    last: int
    call: grpc.Future

    def wait(self, stop: threading.Event) -> bytes | None:
        """The answer, a GetLedgerRangeResponse, or None when ``stop`` is set first."""
        while not stop.is_set():
            try:
                answer: bytes = self.call.result(timeout=POLL_SECONDS)
                return answer
            except grpc.FutureTimeoutError:
                continue
        return None


class _StreamEnded(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """The server ended a stream that has no end, as it does when it stops."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the server ended the stream"


_TRANSIENT = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
}
_REFUSALS = {
    grpc.StatusCode.DATA_LOSS: IntegrityError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: GapError,
    grpc.StatusCode.OUT_OF_RANGE: GapError,
    grpc.StatusCode.PERMISSION_DENIED: SourceRefusedError,
    grpc.StatusCode.UNAUTHENTICATED: SourceRefusedError,
}
_TELLS_NOTHING = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}


def _channel(
    target: str, material: TlsMaterial | None, name: str | None, options: list[tuple[str, Any]]
) -> grpc.Channel:
    if material is None:
        return grpc.insecure_channel(target, options)
    chain, key = material.identity or (None, None)
    if name is not None:
        options = [*options, ("grpc.ssl_target_name_override", name)]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(material.authorities, key, chain), options)


def _cancel_when(stop: threading.Event, call: grpc.Call) -> None:
    while call.is_active():
        if stop.wait(POLL_SECONDS):
            call.cancel()


def _plain(error: grpc.RpcError) -> str:
    """Code and first line of a gRPC error."""
    details = (error.details() or "").splitlines()
    return ": ".join([error.code().name, *details[:1]])
