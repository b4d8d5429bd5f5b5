"""Reads one range of ledgers ahead, for all readers that are at about the same place of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from stellar_arrow_source.flight.shared import SharedDecoding, Wanted
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger

PATIENCE_SECONDS: Final = 1.0
"""How long a feed waits at most for one close behind it, once."""

PATIENCE_IN_ALL: Final = 2.0
"""How many seconds a feed may wait in all, whoever comes behind it."""

PATIENCE_GAINED: Final = 0.03
"""Seconds of that which each second brings back."""

CLOSE_WINDOWS: Final = 3
"""How many times the ledgers that it holds another may be behind to be close."""

Arrived = Callable[[RawLedger, float], None]
"""Told of every ledger as it comes from the source, and how many seconds it took, by the thread that reads it."""


class Reader(Protocol):
    """Who takes ledgers from a feed.

    Attributes:
        position: the ledger to come next.
        begun: the first ledger of the group taken last, which may still have to be decoded.
        wanted: what it wants decoded.
    """

    source: LedgerSource
    position: int
    begun: int
    end: int | None
    wanted: Wanted


class Feed:
    """A thread that pulls one range into a window, which moves on with its slowest reader.

    Ledgers that all have taken stay until their room is needed, so that others can join. One ledger is always let
    in, however large: little room slows a feed but never stops it.

    Args:
        slow: its reader has held up others, so none shall wait for it again.
    """

    def __init__(
        self,
        reader: Reader,
        share: Callable[[], int],
        arrived: Arrived,
        together: Callable[[], bool],
        *,
        slow: bool = False,
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
        self._begin = reader.position
        self._was_awaited = slow
        self._awaited: Feed | None = None
        self._waiting_from = self._patient_until = 0.0
        self._patience, self._patience_at = PATIENCE_IN_ALL, time.monotonic()
        threading.Thread(target=self._pull, name=f"feed-{reader.position}", daemon=True).start()

    def admit(self, reader: Reader, *, among: bool = False) -> bool:
        """Take a reader of the same range in if its place is in the window; ``among``: and not behind all others."""
        with self.changed:
            fits = (
                self.is_of(reader)
                and self.failure is None
                and (self._slowest() if among else self._first) <= reader.position
                and (self.ready(reader.position) or (not self.ended and self.ready(reader.position - 1)))
            )
            if fits:
                self._readers.add(reader)
                self.decoded.add(reader.wanted)
            return fits

    def is_of(self, reader: Reader) -> bool:
        """Whether it reads what that reader wants, at whatever place."""
        return self._end == reader.end and self._source is reader.source

    @property
    def size(self) -> int:
        """How many readers it has."""
        return len(self._readers)

    @property
    def slowest(self) -> int:
        """The place of the reader that is behind all others."""
        with self.changed:
            return self._slowest()

    def is_near(self, position: int, behind: Feed) -> bool:
        """Whether a reader at that place of ``behind`` could join this feed or wait for it; asked without a lock."""
        return self._first <= position <= self.upcoming + behind._reach()

    def wait_for(self, other: Feed) -> None:
        """Hold the readers back for a while if those of another feed are close behind, and move.

        Two feeds decode what one could for both, and at the same pace they would never meet. Where ledgers come
        slower than they are read, the other comes up by itself.
        """
        if not self.blocked or other._was_awaited or self.is_waiting():
            return
        place, now = other.slowest, time.monotonic()
        gained = PATIENCE_GAINED * (now - self._patience_at)
        self._patience, self._patience_at = min(self._patience + gained, PATIENCE_IN_ALL), now
        if self._patience >= PATIENCE_SECONDS and place > other._begin and 0 < self.slowest - place <= self._reach():
            other._was_awaited = True
            self._awaited, self._waiting_from, self._patient_until = other, now, now + PATIENCE_SECONDS

    def is_waiting(self) -> bool:
        """Whether the readers are to be held back."""
        if self._awaited is None:
            return False
        with self.changed:
            now = time.monotonic()
            if self._awaited is not None and (not self._awaited.size or now >= self._patient_until):
                self._awaited = None
                self._patience -= min(now, self._patient_until) - self._waiting_from
            return self._awaited is not None

    def inherit_patience(self, other: Feed) -> None:
        """Wait no more from now on than those that come from another feed may."""
        self._patience = min(self._patience, other._patience)

    def has(self, reader: Reader) -> bool:
        """Whether a reader is one of this feed, and has not been left behind."""
        return reader in self._readers

    def leave_behind(self, reader: Reader) -> None:
        """Go on without those whose places are in the older half of the window, for ``reader`` waits for them."""
        with self.changed:
            slow = {one for one in self._readers if one.position < self._first + len(self._window) / 2} - {reader}
            self._readers -= slow
            for one in slow:
                self.decoded.discard(one.wanted)
            self.changed.notify_all()

    def dismiss(self, reader: Reader) -> bool:
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

    def note(self, first: int, ledgers: int) -> None:
        """A group has been taken: others take the same one; and what all have had decoded is let go of."""
        if first >= self._first:  # else its room was given away meanwhile, and nobody can be there any more
            self.groups[first] = ledgers
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
        slowest = self._slowest()
        while self._window and self.held_bytes + size > budget:
            if self._first >= slowest:
                return False
            self.held_bytes -= len(self._window.popleft().xdr)
            self.groups.pop(self._first, None)
            self._first += 1
        return True

    def _slowest(self) -> int:
        return min((reader.position for reader in self._readers), default=self.upcoming)

    def _reach(self) -> int:
        return CLOSE_WINDOWS * len(self._window)

    def _budget(self) -> int:
        return self._share() * max(1, len(self._readers))
