"""Who is served now and with what: open streams, clients, and what came from the source for them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stellar_arrow_client.request import Cursor
from stellar_arrow_source.monitoring import families
from stellar_arrow_source.monitoring.metrics import DRAINING, Metrics, drop_reason
from stellar_arrow_source.monitoring.tip import Tip

MOST_CLIENTS = 50
"""Clients with figures of their own: each is several time series."""

IDLE_SECONDS = 900.0
"""A client without streams for this long makes way for another one."""

OTHER = "other"
"""All further clients."""

COMPLETE, CANCELLED, DISCONNECTED, DROPPED = "complete", "cancelled", "disconnected", "dropped"
"""How a stream ends."""


@dataclass(slots=True)
class ClientFigures:
    """What one client has been sent since it is known."""

    streams: int = 0
    ledgers: int = 0
    rows: int = 0
    bytes: int = 0
    last_at: float = 0.0

    def add(self, other: ClientFigures) -> None:
        self.ledgers += other.ledgers
        self.rows += other.rows
        self.bytes += other.bytes


@dataclass(slots=True, eq=False)
class OpenStream:
    """One stream that is being sent.

    Attributes:
        stream, client: names.
        start, end: the range; an endless one has no end.
        position: the ledger to be sent next.
        outcome: how it ended.
    """

    number: int
    stream: str
    client: str
    start: int
    end: int | None
    began: float
    position: int
    figures: ClientFigures = field(default_factory=ClientFigures)
    outcome: str = DISCONNECTED


class Activity:
    """Open streams and the figures of clients; every method may be called from any thread.

    At most :data:`MOST_CLIENTS` clients are told apart; the figures of one that makes way go to :data:`OTHER`.
    """

    def __init__(self, metrics: Metrics, tip: Tip, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._tip, self._clock = metrics, tip, clock
        self._open: dict[int, OpenStream] = {}
        self._clients: dict[str, ClientFigures] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        for family, read in (
            (families.CLIENTS_CONNECTED, lambda: len({stream.client for stream in self.open_streams()})),
            (families.CLIENT_STREAMS, lambda: self._by_client(lambda client: client.streams)),
            (families.CLIENT_LEDGERS, lambda: self._by_client(lambda client: client.ledgers)),
            (families.CLIENT_BYTES, lambda: self._by_client(lambda client: client.bytes)),
            (families.CLIENT_LAG, self._lags),
            (families.TIP_LAG_LEDGERS, self.tip_lag_ledgers),
        ):
            metrics.publish(family, read)

    @contextmanager
    def stream(self, stream: str, client: str, start: int, end: int | None) -> Iterator[OpenStream]:
        """An open stream; whoever sends it sets how it ended, unless the client just went."""
        with self._lock:
            name = self._named(client)
            opened = OpenStream(next(self._numbers), stream, name, start, end, self._clock(), start)
            opened.figures.last_at = opened.began
            self._open[opened.number] = opened
            self._clients[name].streams += 1
        self._metrics.stream_started(stream)
        try:
            yield opened
        finally:
            with self._lock:
                del self._open[opened.number]
                figures = self._clients[name]
                figures.streams -= 1
                figures.last_at = self._clock()
            self._metrics.stream_ended(stream, opened.outcome)

    def sent(self, opened: OpenStream, cursor: Cursor, rows: int, nbytes: int, seconds: float) -> None:
        """A batch of a stream went out, with so many rows and bytes, in so long a time."""
        position = cursor.cursor
        ledgers = position - cursor.first
        self._metrics.served(opened.stream, ledgers, rows, nbytes, seconds)
        now = self._clock()
        if ledgers and position - 1 == self._tip.seen and self._tip.seen_at > opened.figures.last_at:
            # It came after all before it had been sent: the stream waited for it.
            self._metrics.tip_served(opened.stream, now - self._tip.seen_at)
        sent = ClientFigures(ledgers=ledgers, rows=rows, bytes=nbytes)
        opened.position = position
        opened.figures.add(sent)
        opened.figures.last_at = now
        with self._lock:
            self._clients[opened.client].add(sent)

    def dropped(self, opened: OpenStream, error: Exception, *, draining: bool) -> None:
        """The server ends a stream with ``error``."""
        opened.outcome = DROPPED
        self._metrics.stream_dropped(DRAINING if draining else drop_reason(error))

    def open_streams(self) -> list[OpenStream]:
        with self._lock:
            return list(self._open.values())

    def tip_lag_ledgers(self) -> int:
        """Ledgers that the endless stream which is furthest has still to be sent."""
        return min(self._lag_of_streams(), default=0)

    def report(self) -> list[dict[str, Any]]:
        """What is sent now, the largest first."""
        now = self._clock()
        return [
            {
                "stream": stream.stream,
                "client": stream.client,
                "start": stream.start,
                "end": stream.end,
                "next": stream.position,
                "seconds": round(now - stream.began, 1),
                "ledgers": stream.figures.ledgers,
                "rows": stream.figures.rows,
                "bytes": stream.figures.bytes,
            }
            for stream in sorted(self.open_streams(), key=lambda stream: -stream.figures.bytes)
        ]

    def _named(self, client: str) -> str:
        """The name that a client's figures stand under."""
        known = self._clients
        if client in known:
            return client
        if len(known) >= MOST_CLIENTS and not self._make_way():
            client = OTHER
        known.setdefault(client, ClientFigures())
        return client

    def _make_way(self) -> bool:
        idle = self._clock() - IDLE_SECONDS
        gone = min(
            (name for name, client in self._clients.items() if not client.streams and name != OTHER),
            key=lambda name: self._clients[name].last_at,
            default=None,
        )
        if gone is None or self._clients[gone].last_at > idle:
            return False
        self._clients.setdefault(OTHER, ClientFigures()).add(self._clients.pop(gone))
        return True

    def _by_client(self, figure: Callable[[ClientFigures], float]) -> Mapping[tuple[str, ...], float]:
        with self._lock:
            return {(name,): figure(client) for name, client in self._clients.items()}

    def _lag(self, stream: OpenStream) -> int:
        return max(0, (self._tip.newest or 0) + 1 - stream.position)

    def _lag_of_streams(self) -> list[int]:
        return [self._lag(stream) for stream in self.open_streams() if stream.end is None]

    def _lags(self) -> Mapping[tuple[str, ...], float]:
        lags: dict[tuple[str, ...], float] = {}
        for stream in self.open_streams():
            if stream.end is None:
                lags[stream.client,] = max(self._lag(stream), lags.get((stream.client,), 0))
        return lags


class Fetched:
    """What came from the source; counted for each ledger, so without more ado than needed."""

    def __init__(self, metrics: Metrics) -> None:
        self._ledgers, self._bytes, self._seconds = 0, 0, 0.0
        self._lock = threading.Lock()
        metrics.publish(families.LEDGERS_FETCHED, lambda: self._ledgers)
        metrics.publish(families.XDR_BYTES_FETCHED, lambda: self._bytes)
        metrics.publish(families.FETCH_SECONDS, lambda: self._seconds)

    def add(self, nbytes: int, seconds: float) -> None:
        """One ledger came after so long a wait."""
        with self._lock:
            self._ledgers += 1
            self._bytes += nbytes
            self._seconds += seconds
