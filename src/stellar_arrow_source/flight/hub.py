"""Reads ledgers ahead of the streams, once for all streams that are at about the same place of the same range.

They share what is decoded of them, too, see :mod:`stellar_arrow_source.flight.shared`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, NamedTuple

from stellar_arrow_source.flight.feeds import Arrived, Feed
from stellar_arrow_source.flight.shared import Begin, Wanted
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger

if TYPE_CHECKING:
    from stellar_arrow_source.tables import DecodedBatch

FAIRNESS_SECONDS: Final = 0.5
"""How often a reader looks back at how long slower ones have held it up."""

HELD_UP: Final = 0.75
"""Share of that time from which on they must go their own way."""

MEETING_SECONDS: Final = 0.1
"""How often a reader looks whether there are others to go on together with."""

MEETING_SECONDS_A_FEED: Final = 0.005
"""How often at most, for each feed that there is to look at: else thousands would do nothing but look."""


class Wait(NamedTuple):
    """A ledger that the source is to give next, and for how many seconds it has been waited for."""

    ledger: int
    seconds: float


class LedgerHub:
    """Gives out readers; those of one range whose places are near each other share what is read from the source.

    A reader waits for the slower ones that it shares with, but not for long: then those go on by themselves. So one
    that does not read stops nobody else. Those of one range that come to be near each other go on together.

    Args:
        share: bytes of raw ledgers that one reader may hold ready now; what is shared has the shares of its readers.
        arrived: see :data:`Arrived`.
        together: see :class:`SharedDecoding`.
    """

    def __init__(
        self,
        share: Callable[[], int],
        arrived: Arrived = lambda *_: None,
        together: Callable[[], bool] = lambda: False,
    ) -> None:
        self._share = share
        self._arrived = arrived
        self._together = together
        self._feeds: list[Feed] = []
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Raw ledgers held ready for all readers, and what has been decoded for several."""
        return sum(feed.held_bytes + feed.decoded.held_bytes for feed in tuple(self._feeds))

    @property
    def held_ledgers(self) -> int:
        """Raw ledgers held ready for all readers."""
        return sum(feed.held_ledgers for feed in tuple(self._feeds))

    @property
    def meeting_seconds(self) -> float:
        """How long a reader goes on before it calls :meth:`meet` again."""
        return max(MEETING_SECONDS, MEETING_SECONDS_A_FEED * len(self._feeds))

    def waits(self) -> list[Wait]:
        """What is being waited for from the source now."""
        now = time.monotonic()
        return [
            Wait(feed.upcoming, now - feed.waiting_since)
            for feed in tuple(self._feeds)
            if not (feed.ended or feed.blocked)
        ]

    def open(
        self,
        source: LedgerSource,
        start: int,
        end: int | None,
        stream: str = "",
        columns: Iterable[str] = (),
        *,
        alone: bool = False,
    ) -> LedgerReader:
        """A reader of the ledgers ``start`` to ``end`` (None = for ever), which begins to read ahead at once.

        It wants ``columns`` of ``stream`` decoded of them; ``alone``: not together with other streams.
        """
        return LedgerReader(self, source, start, end, Wanted(stream, frozenset(columns), alone))

    def join(self, reader: LedgerReader, leave: Feed | None = None) -> Feed:
        """Give a reader the feed that it reads from now on: another one than ``leave``, which it has read from."""
        with self._lock:
            if leave is not None:
                self._leave(reader, leave)
            for feed in self._feeds:
                if feed is not leave and feed.admit(reader):
                    return feed
            feed = Feed(reader, self._share, self._arrived, self._together, slow=leave is not None)
            self._feeds.append(feed)
            return feed

    def meet(self, reader: LedgerReader, feed: Feed) -> Feed:
        """The feed that a reader goes on with: one with more readers, where it has come to be among them, or its own.

        Its own may be told to wait for one close behind.
        """
        with self._lock:
            size, before = feed.size, True
            for other in self._feeds:
                if other is feed:
                    before = False
                elif other.is_of(reader) and other.is_near(reader.position, feed):
                    # Of two equals the elder stays, so that none goes to and fro.
                    if (other.size > size or (before and other.size == size)) and other.admit(reader, among=True):
                        other.inherit_patience(feed)
                        self._leave(reader, feed)
                        return other
                    feed.wait_for(other)
            return feed

    def leave(self, reader: LedgerReader, feed: Feed) -> None:
        """Take a reader from its feed, which ends with its last one."""
        with self._lock:
            self._leave(reader, feed)

    def _leave(self, reader: LedgerReader, feed: Feed) -> None:
        if feed.dismiss(reader):
            self._feeds.remove(feed)


class LedgerReader:
    """Takes the ledgers of one range in order.

    Attributes:
        position: the ledger to come next.
        begun: the first ledger of the group taken last, which may still have to be decoded.
        wanted: what it wants decoded.
    """

    def __init__(self, hub: LedgerHub, source: LedgerSource, start: int, end: int | None, wanted: Wanted) -> None:
        self.source, self.position, self.end = source, start, end
        self.begun = start
        self.wanted = wanted
        self._hub = hub
        self._closed = False
        self._looked_back = self._looked_around = time.monotonic()
        self._held_up = 0.0
        self._feed = hub.join(self)

    @property
    def ended(self) -> bool:
        """The source gave its last ledger and all were taken."""
        feed = self._feed
        return feed.ended and feed.has(self) and not feed.ready(self.position)

    def take(self, max_ledgers: int, max_bytes: int, *, wait: float, linger: float) -> list[RawLedger]:
        """The next ledgers, at least one unless none comes within ``wait`` seconds.

        A group that is not full waits up to ``linger`` seconds for further ledgers.

        Raises:
            StellarArrowError: what the source raised, after all ledgers before it were taken.
        """
        self._look_back()
        if not self._feed.has(self):
            self._feed = self._hub.join(self, leave=self._feed)
        self._look_around()
        if self._feed.is_waiting():
            time.sleep(wait)
            return []
        group: list[RawLedger] = []
        room, deadline = max_bytes, time.monotonic() + wait
        feed, start = self._feed, self.position
        with feed.changed:
            while len(group) < min(max_ledgers, feed.groups.get(start, max_ledgers)) and feed.has(self):
                if group and self.position in feed.groups:
                    break
                if not feed.ready(self.position):
                    if feed.ended or (patience := deadline - time.monotonic()) <= 0:
                        break
                    self._wait(patience)
                    continue
                if not group:
                    deadline = time.monotonic() + linger
                ledger = feed.ledger(self.position)
                if group and len(ledger.xdr) > room:
                    break
                group.append(ledger)
                room -= len(ledger.xdr)
                self.position += 1
            self.begun = start
            if group:
                feed.note(start, len(group))
            feed.notice()
            if not group and feed.failure is not None and feed.has(self):
                raise feed.failure
        return group

    def decode(self, group: list[RawLedger], begin: Begin) -> Future[DecodedBatch]:
        """What ``begin`` makes of a group just taken; see :meth:`SharedDecoding.get`."""
        return self._feed.decoded.get(self.wanted, group[0].sequence, len(group), begin)

    def close(self) -> None:
        """Stop reading; the last reader of a feed ends its thread, within the 0.2 s in which a source polls."""
        if not self._closed:
            self._closed = True
            self._hub.leave(self, self._feed)

    def _wait(self, patience: float) -> None:
        began = time.monotonic()
        self._feed.notice()
        self._feed.changed.wait(patience)
        if self._feed.blocked:  # there is no room, for a slower reader's ledgers fill it
            self._held_up += time.monotonic() - began

    def _look_back(self) -> None:
        now = time.monotonic()
        if (span := now - self._looked_back) < FAIRNESS_SECONDS:
            return
        if self._held_up > HELD_UP * span:
            self._feed.leave_behind(self)
        self._looked_back, self._held_up = now, 0.0

    def _look_around(self) -> None:
        if (now := time.monotonic()) - self._looked_around >= self._hub.meeting_seconds:
            self._looked_around, self._feed = now, self._hub.meet(self, self._feed)
