"""Reads ledgers ahead of the streams, once for all streams that are at about the same place of the same range.

They share what is decoded of them, too, see :mod:`stellar_arrow_source.flight.shared`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from stellar_arrow_source.flight.shared import Begin, SharedDecoding, Wanted
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger

if TYPE_CHECKING:
    from stellar_arrow_source.tables import DecodedBatch

FAIRNESS_SECONDS: Final = 0.5
"""How often a reader looks back at how long slower ones have held it up."""

HELD_UP: Final = 0.75
"""Share of that time from which on they must go their own way."""


Arrived = Callable[[RawLedger, float], None]
"""Told of every ledger as it comes from the source, and how many seconds it took, by the thread that reads it."""


class Wait(NamedTuple):
    """A ledger that the source is to give next, and for how many seconds it has been waited for."""

    ledger: int
    seconds: float


class LedgerHub:
    """Gives out readers; those of one range whose places are near each other share what is read from the source.

    A reader waits for the slower ones that it shares with, but not for long: then those go on by themselves. So one
    that does not read stops nobody else.

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
        self._feeds: list[_Feed] = []
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Raw ledgers held ready for all readers, and what has been decoded for several."""
        return sum(feed.held_bytes + feed.decoded.held_bytes for feed in tuple(self._feeds))

    @property
    def held_ledgers(self) -> int:
        """Raw ledgers held ready for all readers."""
        return sum(feed.held_ledgers for feed in tuple(self._feeds))

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

    def join(self, reader: LedgerReader, leave: _Feed | None = None) -> _Feed:
        """Give a reader the feed that it reads from now on: another one than ``leave``, which it has read from."""
        with self._lock:
            if leave is not None:
                self._leave(reader, leave)
            for feed in self._feeds:
                if feed is not leave and feed.admit(reader):
                    return feed
            feed = _Feed(reader, self._share, self._arrived, self._together)
            self._feeds.append(feed)
            return feed

    def leave(self, reader: LedgerReader, feed: _Feed) -> None:
        """Take a reader from its feed, which ends with its last one."""
        with self._lock:
            self._leave(reader, feed)

    def _leave(self, reader: LedgerReader, feed: _Feed) -> None:
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
        self._looked_back = time.monotonic()
        self._held_up = 0.0
        self._feed = hub.join(self)

    @property
    def ended(self) -> bool:
        """The source gave its last ledger and all were taken."""
        return self._feed.ended and not self._feed.ready(self.position)

    def take(self, max_ledgers: int, max_bytes: int, *, wait: float, linger: float) -> list[RawLedger]:
        """The next ledgers, at least one unless none comes within ``wait`` seconds.

        A group that is not full waits up to ``linger`` seconds for further ledgers.

        Raises:
            StellarArrowError: what the source raised, after all ledgers before it were taken.
        """
        self._look_back()
        if not self._feed.has(self):
            self._feed = self._hub.join(self, leave=self._feed)
        group: list[RawLedger] = []
        room, deadline = max_bytes, time.monotonic() + wait
        feed, start = self._feed, self.position
        with feed.changed:
            while len(group) < min(max_ledgers, feed.groups.get(start, max_ledgers)) and feed.has(self):
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
                feed.groups[start] = len(group)
                feed.forget_decoded()
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


class _Feed:
    """A thread that pulls one range into a window, which moves on with its slowest reader.

    Ledgers that all have taken stay until their room is needed, so that others can join. One ledger is always let
    in, however large: little room slows a feed but never stops it.
    """

    def __init__(
        self, reader: LedgerReader, share: Callable[[], int], arrived: Arrived, together: Callable[[], bool]
    ) -> None:
        self.changed = threading.Condition()
        self.failure: Exception | None = None
        self.ended = False
        self.blocked = False
        self.held_bytes = 0
        self.waiting_since = time.monotonic()
        """Since when the source has given nothing; of no meaning while blocked or ended."""
        self.groups: dict[int, int] = {}
        """First ledger → number of ledgers of the groups taken, so that all readers take the same ones."""
        self.decoded = SharedDecoding(self._budget, together)
        self.decoded.add(reader.wanted)
        self._share, self._arrived = share, arrived
        self._readers = {reader}
        self._source, self._first, self._end = reader.source, reader.position, reader.end
        self._window: deque[RawLedger] = deque()
        self._stop = threading.Event()
        threading.Thread(target=self._pull, name=f"feed-{reader.position}", daemon=True).start()

    def admit(self, reader: LedgerReader) -> bool:
        """Take a reader of the same range in, if its place is in the window."""
        with self.changed:
            fits = (
                self._end == reader.end
                and self._source is reader.source
                and self.failure is None
                and self._first <= reader.position
                and (self.ready(reader.position) or (not self.ended and self.ready(reader.position - 1)))
            )
            if fits:
                self._readers.add(reader)
                self.decoded.add(reader.wanted)
            return fits

    def has(self, reader: LedgerReader) -> bool:
        """Whether a reader is one of this feed, and has not been left behind."""
        return reader in self._readers

    def leave_behind(self, reader: LedgerReader) -> None:
        """Go on without those whose places are in the older half of the window, for ``reader`` waits for them."""
        with self.changed:
            slow = {one for one in self._readers if one.position < self._first + len(self._window) / 2} - {reader}
            self._readers -= slow
            for one in slow:
                self.decoded.discard(one.wanted)
            self.changed.notify_all()

    def dismiss(self, reader: LedgerReader) -> bool:
        """Let a reader go; whether it was the last one, with whom the feed ends."""
        with self.changed:
            if reader not in self._readers:
                return False
            self._readers.remove(reader)
            self.decoded.discard(reader.wanted)
            if not self._readers:
                self._stop.set()
                self._window.clear()
                self.held_bytes = 0
            self.changed.notify_all()
            return not self._readers

    def forget_decoded(self) -> None:
        """Let go of what has been decoded and all readers have had."""
        self.decoded.forget(min((reader.begun for reader in self._readers), default=self.upcoming))

    @property
    def upcoming(self) -> int:
        """The ledger to come next from the source."""
        return self._first + len(self._window)

    @property
    def held_ledgers(self) -> int:
        return len(self._window)

    def ready(self, position: int) -> bool:
        """Whether that ledger has come."""
        return position < self.upcoming

    def ledger(self, position: int) -> RawLedger:
        """A ledger of the window."""
        return next(islice(self._window, position - self._first, None))

    def notice(self) -> None:
        """A reader may have moved on."""
        if self.blocked:
            self.changed.notify_all()

    def _pull(self) -> None:
        try:
            for ledger in self._source.ledgers(self._first, self._end, self._stop):
                self._arrived(ledger, time.monotonic() - self.waiting_since)
                if not self._put(ledger):
                    break
                self.waiting_since = time.monotonic()
        except Exception as error:  # raised for every reader, after the ledgers before it
            self.failure = error
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def _put(self, ledger: RawLedger) -> bool:
        with self.changed:
            while not self._stop.is_set() and not self._make_room(len(ledger.xdr)):
                self.blocked = True
                # The room shrinks and grows with the number of streams, which notifies nobody here.
                self.changed.wait(timeout=0.2)
            self.waiting_since = time.monotonic()
            self.blocked = False
            if self._stop.is_set():
                return False
            self._window.append(ledger)
            self.held_bytes += len(ledger.xdr)
            self.changed.notify_all()
        return True

    def _make_room(self, size: int) -> bool:
        """Drop what all have taken as far as needed; whether there is room now."""
        budget = self._budget()
        slowest = min(reader.position for reader in self._readers)
        while self._window and self.held_bytes + size > budget:
            if self._first >= slowest:
                return False
            self.held_bytes -= len(self._window.popleft().xdr)
            self.groups.pop(self._first, None)
            self._first += 1
        return True

    def _budget(self) -> int:
        return self._share() * max(1, len(self._readers))
