"""Keeps each client within its limits: requests, streams, bytes a second, bytes a day."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from stellar_arrow_client.errors import LimitError
from stellar_arrow_source.access.grants import Limits

DAY_SECONDS: Final = 86_400
STREAM_RETRY_SECONDS: Final = 1.0
"""When to ask again for a stream while all places are taken: nobody knows when one gets free."""


class Bucket:
    """A token bucket that is full at first and holds what ``burst`` says.

    Amounts beyond what it holds leave a debt, which must be made good before anything else.
    """

    def __init__(self) -> None:
        self._level: float | None = None
        self._filled = 0.0
        self._last: tuple[float, float] | None = None

    def lack(self, rate: float, burst: float, now: float) -> float:
        """How much there is less than nothing, at ``rate`` amounts a second; zero or less when there is some."""
        level = burst if self._level is None else min(burst, self._level + (now - self._filled) * rate)
        self._level, self._filled, self._last = level, now, (rate, burst)
        return -level

    def take(self, amount: float) -> None:
        """Take it, whether it is there or not; after :meth:`lack`."""
        assert self._level is not None
        self._level -= amount

    def take_later(self, amount: float, now: float) -> None:
        """Take what was used elsewhere, at the rate that was asked for last; nothing of a bucket not used before."""
        if amount and self._last is not None:
            self.lack(*self._last, now)
            self.take(amount)


class Use(NamedTuple):
    """What a client used of one process of a server.

    Attributes:
        requests: calls since this was told last.
        nbytes: bytes since then.
        streams: open now.
    """

    requests: int = 0
    nbytes: int = 0
    streams: int = 0


class Account:
    """What one client uses; may be used by any thread.

    Where a server has several processes, each hears (:meth:`hear`) what the client uses of the others, a moment later.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.open_streams = 0
        self._untold, self._told_streams = Use(), 0
        self._elsewhere: dict[str, int] = {}
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._requests, self._bytes = Bucket(), Bucket()
        self._day, self._day_bytes = 0, 0

    def request(self, limits: Limits) -> None:
        """Count one call.

        Raises:
            LimitError: too many of late; this one does not count.
        """
        if (rate := limits.requests_per_second) is None:
            return
        with self._lock:
            lack = 1 + self._requests.lack(rate, max(rate, 1.0), self._clock())
            if lack > 0:
                wait = math.ceil(10 * lack / rate) / 10
                raise LimitError(
                    f"more than {rate:g} requests a second, your limit; wait {wait:g} seconds", retry_after=wait
                )
            self._requests.take(1)
            self._untold = self._untold._replace(requests=self._untold.requests + 1)

    @contextmanager
    def stream(self, limits: Limits) -> Iterator[None]:
        """Hold one of the client's streams open.

        Raises:
            LimitError: it has as many open as it may.
        """
        with self._lock:
            open_streams = self.open_streams + sum(self._elsewhere.values())
            if limits.streams is not None and open_streams >= limits.streams:
                raise LimitError(
                    f"{open_streams} streams are open, your limit is {limits.streams}; close one first",
                    retry_after=STREAM_RETRY_SECONDS,
                )
            self.open_streams += 1
        try:
            yield
        finally:
            with self._lock:
                self.open_streams -= 1

    def delay(self, limits: Limits) -> float:
        """Seconds until the next bytes may go, zero for now.

        Raises:
            LimitError: not before tomorrow.
        """
        with self._lock:
            self._begin_day()
            if limits.bytes_per_day is not None and self._day_bytes >= limits.bytes_per_day:
                raise LimitError(
                    f"the {limits.bytes_per_day} bytes of today, your limit, are used up; come back at 00:00 UTC",
                    retry_after=DAY_SECONDS - self._wall() % DAY_SECONDS,
                )
            if (rate := limits.bytes_per_second) is None:
                return 0.0
            return max(0.0, self._bytes.lack(rate, rate, self._clock()) / rate)

    def spend(self, limits: Limits, nbytes: int) -> None:
        """Count bytes that are sent."""
        with self._lock:
            self._begin_day()
            self._day_bytes += nbytes
            self._untold = self._untold._replace(nbytes=self._untold.nbytes + nbytes)
            if (rate := limits.bytes_per_second) is not None:
                self._bytes.lack(rate, rate, self._clock())
                self._bytes.take(nbytes)

    def news(self) -> Use | None:
        """What was used here since the last call; None when nothing changed."""
        with self._lock:
            use = self._untold._replace(streams=self.open_streams)
            if use == Use(streams=self._told_streams):
                return None
            self._untold, self._told_streams = Use(), use.streams
            return use

    def hear(self, process: str, use: Use) -> None:
        """Count what was used of another process."""
        with self._lock:
            self._begin_day()
            self._day_bytes += use.nbytes
            self._requests.take_later(use.requests, self._clock())
            self._bytes.take_later(use.nbytes, self._clock())
            if use.streams:
                self._elsewhere[process] = use.streams
            else:
                self._elsewhere.pop(process, None)

    def _begin_day(self) -> None:
        day = int(self._wall() // DAY_SECONDS)
        if day > self._day:
            self._day_bytes = 0
        self._day = day  # a clock that is set back begins no day


class Accounts:
    """The accounts of up to ``capacity`` clients; those that have been idle longest are forgotten first."""

    def __init__(
        self, capacity: int, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._capacity = capacity
        self._clock, self._wall = clock, wall
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, client: str) -> Account:
        """The account of a client."""
        with self._lock:
            account = self._accounts.get(client)
            if account is None:
                self._forget_one()
                account = self._accounts[client] = Account(self._clock, self._wall)
            self._accounts.move_to_end(client)
            return account

    def news(self) -> dict[str, Use]:
        """Client → what it used since the last call, of those where something changed."""
        with self._lock:
            accounts = list(self._accounts.items())
        found = ((client, account.news()) for client, account in accounts)
        return {client: use for client, use in found if use is not None}

    def hear(self, process: str, uses: Mapping[str, Use]) -> None:
        """Count what clients used of another process."""
        for client, use in uses.items():
            self.of(client).hear(process, use)

    def forget(self, process: str) -> None:
        """Another process has ended, and with it all streams that were open there."""
        with self._lock:
            accounts = list(self._accounts.values())
        for account in accounts:
            account.hear(process, Use())

    def _forget_one(self) -> None:
        if len(self._accounts) >= self._capacity:
            idle = (client for client, account in self._accounts.items() if not account.open_streams)
            if (oldest := next(idle, None)) is not None:
                del self._accounts[oldest]
