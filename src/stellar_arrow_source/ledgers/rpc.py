"""Ledgers from a Stellar RPC server (``getLedgers``), which keeps about a week of them."""

from __future__ import annotations

import binascii
import json
import logging
import threading
import time
from base64 import b64decode
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from stellar_arrow_client.errors import (
    GapError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
)
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.paging import PageSize
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, RawLedger, RetryPolicy
from stellar_arrow_source.ledgers.tally import RETRIES
from stellar_arrow_source.sparing import Sparing

MAX_ANSWER = 256 << 20
"""Most bytes of an answer that are read."""

MAX_PAGE: Final = 200
"""Most ledgers that servers give at once."""

_PAGE_BYTES: Final = 8 << 20  # of XDR; servers take seconds for more
_PAGES_IN_FLIGHT: Final = 2
_TIP_SECONDS: Final = 0.5  # between two questions for a ledger that is not there yet
_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
_CHUNK: Final = 1 << 20

_log = logging.getLogger(__name__)


class _Range(NamedTuple):
    """What the server has, both ends inclusive."""

    oldest: int
    latest: int


class _TryAgain(Exception):
    """A call failed in a way that may pass."""


class _TooLarge(_TryAgain):
    """An answer holds more bytes than are read."""


@dataclass(frozen=True, slots=True)
class _Page:
    """A call in flight for the ledgers ``first`` to ``last``, both inclusive."""

    first: int
    last: int
    answer: Future[tuple[list[RawLedger], _Range]]

    def wait(self, stop: threading.Event) -> tuple[list[RawLedger], _Range] | None:
        """The ledgers, from ``first`` on, and what the server has; None when ``stop`` is set first."""
        while not stop.is_set():
            try:
                return self.answer.result(timeout=POLL_SECONDS)
            except FutureTimeoutError:
                continue
        return None


class RpcSource:
    """Client of a Stellar RPC server: pages of ``getLedgers`` as far as its newest ledger, then one by one.

    Args:
        endpoint: ``rpc+https://…`` or ``rpc+http://…``; path and query, in which providers put keys, are kept out of
            all messages.

    Attributes:
        endpoint: scheme and host alone.
        network_passphrase: None; the hashes of transactions tell the network.

    Raises:
        InvalidRequestError: the endpoint is no such URL.
    """

    def __init__(self, endpoint: str, *, retry: RetryPolicy) -> None:
        parts = urlsplit(endpoint)
        if not parts.hostname:
            raise InvalidRequestError(f"an endpoint of {parts.scheme}:// must name a host: use rpc+https://host/path")
        self.endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.network_passphrase: str | None = None
        self._retry = retry
        self._failing = Sparing()
        self._url = endpoint.partition("+")[2]
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        if parts.username is not None:
            self._headers |= urllib3.make_headers(basic_auth=f"{parts.username}:{parts.password or ''}")
            self._url = self._url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1)
        self._http = urllib3.PoolManager(maxsize=2 * _PAGES_IN_FLIGHT, retries=False, timeout=_TIMEOUT)
        self._pool = ThreadPoolExecutor(2 * _PAGES_IN_FLIGHT, thread_name_prefix="rpc-pages")

    def bounds(self) -> Bounds:
        """Oldest and newest ledger that the server keeps.

        Raises:
            SourceUnavailableError: the server does not answer.
        """
        try:
            return Bounds(*self._range())
        except _TryAgain as error:
            raise self._unavailable(error) from error

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        expected, failures, size = start, 0, PageSize(_PAGE_BYTES, MAX_PAGE)
        while not stop.is_set() and (end is None or expected <= end):
            try:
                for ledger in self._pages(expected, end, size, stop):
                    yield ledger
                    expected, failures = ledger.sequence + 1, 0
            except _TryAgain as error:
                failures += 1
                if isinstance(error, _TooLarge):
                    size.shrink()
                if failures >= self._retry.attempts:
                    raise self._unavailable(error) from error
                RETRIES.add("rpc")
                delay = self._retry.delay(failures)
                if (also := self._failing.tell()) is not None:
                    what = (self.endpoint, expected, error, delay, also)
                    _log.warning("%s failed at ledger %d (%s), next attempt in %.1f s%s", *what)
                stop.wait(delay)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _pages(self, start: int, end: int | None, size: PageSize, stop: threading.Event) -> Iterator[RawLedger]:
        """Ledgers from ``start`` on, several calls in flight."""
        known = self._await(start, stop)
        pages: deque[_Page] = deque()
        upcoming = start  # first ledger that no call asks for yet
        try:
            while known is not None and not stop.is_set() and (end is None or start <= end):
                limit = known.latest if end is None else min(end, known.latest)
                ahead = _PAGES_IN_FLIGHT if size.known else 1
                while len(pages) < ahead and upcoming <= limit:
                    pages.append(self._page(upcoming, min(upcoming + size.ledgers - 1, limit)))
                    upcoming = pages[-1].last + 1
                if not pages:
                    known = self._await(start, stop)
                    continue
                page = pages.popleft()
                if (answer := page.wait(stop)) is None:
                    return
                ledgers, known = answer
                size.learn(ledgers)
                yield from ledgers
                start = page.first + len(ledgers)
                if start <= page.last:
                    if not ledgers:
                        raise _TryAgain(f"it has ledger {known.latest}, but gave no ledger {start}")
                    size.limit(len(ledgers))
                    pages.appendleft(self._page(start, page.last))
        finally:
            for page in pages:
                page.answer.cancel()

    def _await(self, sequence: int, stop: threading.Event) -> _Range | None:
        """Wait until the server has a ledger; None when ``stop`` is set first.

        Raises:
            GapError: it keeps only later ones.
        """
        next_look = time.monotonic()
        while not stop.is_set():
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _TIP_SECONDS
                known = self._range()
                if sequence < known.oldest:
                    raise GapError(
                        f"{self.endpoint} keeps the ledgers {known.oldest} to {known.latest}, not ledger {sequence}: "
                        "start later, or read older ledgers from a store"
                    )
                if sequence <= known.latest:
                    return known
            stop.wait(min(POLL_SECONDS, _TIP_SECONDS))
        return None

    def _page(self, first: int, last: int) -> _Page:
        try:
            return _Page(first, last, self._pool.submit(self._get_ledgers, first, last - first + 1))
        except RuntimeError:
            raise SourceUnavailableError(f"the connection to {self.endpoint} has been closed") from None

    def _get_ledgers(self, first: int, count: int) -> tuple[list[RawLedger], _Range]:
        result = self._call("getLedgers", {"startLedger": first, "pagination": {"limit": count}, "xdrFormat": "base64"})
        try:
            known = _Range(int(result["oldestLedger"]), int(result["latestLedger"]))
            found = [
                RawLedger(int(entry["sequence"]), b64decode(entry["metadataXdr"], validate=True))
                for entry in result["ledgers"][:count]
            ]
        except (LookupError, TypeError, ValueError, binascii.Error) as error:
            raise IntegrityError(f"{self.endpoint} sent what is no answer of getLedgers: {error!r}") from error
        for expected, ledger in enumerate(found, first):
            if ledger.sequence != expected:
                raise GapError(
                    f"{self.endpoint} sent ledger {ledger.sequence} where {expected} is due: use another server"
                )
            if (inside := ledger_sequence(ledger.xdr)) != expected:
                raise IntegrityError(f"{self.endpoint} sent ledger {inside} as ledger {expected}")
        return found, known

    def _range(self) -> _Range:
        result = self._call("getHealth", None)
        try:
            return _Range(int(result["oldestLedger"]), int(result["latestLedger"]))
        except (LookupError, TypeError, ValueError) as error:
            raise IntegrityError(f"{self.endpoint} sent what is no answer of getHealth: {error!r}") from error

    def _call(self, method: str, params: dict[str, Any] | None) -> Any:
        """The result of a JSON-RPC 2.0 call.

        Raises:
            _TryAgain: no answer, or one that says that another time may be better.
            SourceRefusedError: the key is not good.
            SourceUnavailableError: there is no such service.
            IntegrityError: what the server sends is no JSON-RPC.
        """
        request = {"jsonrpc": "2.0", "id": 1, "method": method} | ({} if params is None else {"params": params})
        try:
            answer = self._http.request(
                "POST", self._url, body=json.dumps(request), headers=self._headers, preload_content=False
            )
            try:
                body = self._body(answer)
                if answer.status != 200:
                    self._refuse(answer.status)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            # The library's texts hold the URL, in which there may be a key.
            raise _TryAgain(type(error).__name__) from None
        try:
            message = json.loads(body)
            if "error" in message:
                raise _TryAgain(f"{method}: {str(message['error']['message'])[:300]}")
            return message["result"]
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise IntegrityError(
                f"{self.endpoint} sent what is no answer of JSON-RPC to {method}: {error!r}"[:500]
            ) from None

    def _body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in answer.stream(_CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER:
                answer.close()
                raise _TooLarge(f"an answer of more than {MAX_ANSWER >> 20} MiB")
        return b"".join(parts)

    def _refuse(self, status: int) -> None:
        if status in (401, 403):
            raise SourceRefusedError(f"{self.endpoint} refuses with HTTP {status}: check the key in the endpoint")
        if status == 404:
            raise SourceUnavailableError(f"{self.endpoint} has no RPC service at the path of the endpoint (HTTP 404)")
        raise _TryAgain(f"HTTP {status}")

    def _unavailable(self, error: _TryAgain) -> StellarArrowError:
        return SourceUnavailableError(
            f"the RPC server {self.endpoint} is not available ({error}): is it running there?"
        )
