"""How far the ledger source reaches, whether it moves on, and how far it is behind the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

RECENT_SECONDS = 3600.0
"""A source whose newest ledger was closed this recently when it was first seen follows the network."""


class Tip:
    """What is known of the newest ledger; every method may be called from any thread.

    Attributes:
        newest: sequence of the newest ledger, None while it is not known.
        live: the source follows a network: it has had a new ledger while it was watched, or a recent one at first.
        moved_at: when the newest ledger was first heard of, by the monotonic clock; None before.
        seen_at: when the newest ledger that has come came, by the same clock.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.newest: int | None = None
        self.live = False
        self.moved_at: float | None = None
        self.seen_at = 0.0
        self._clock, self._wall_clock = clock, wall_clock
        self._closed: tuple[int, int] | None = None  # sequence and close time of the newest ledger that was seen
        self._lock = threading.Lock()

    def reach(self, sequence: int) -> None:
        """The source has this ledger, and says that it is its newest one."""
        with self._lock:
            if self.newest is None or sequence > self.newest:
                self.live = self.live or self.newest is not None
                self.newest, self.moved_at = sequence, self._clock()

    def see(self, sequence: int, close_time: int) -> None:
        """A ledger has come, which was closed at ``close_time`` (Unix seconds)."""
        with self._lock:
            if self._closed is None or sequence > self._closed[0]:
                self._closed, self.seen_at = (sequence, close_time), self._clock()
                self.live = self.live or self._wall_clock() - close_time < RECENT_SECONDS

    @property
    def seen(self) -> int:
        """The newest ledger that has come; 0 = none."""
        return self._closed[0] if self._closed else 0

    @property
    def close_time(self) -> int | None:
        """When the newest ledger that has come was closed, in Unix seconds."""
        return self._closed[1] if self._closed else None

    def lag_seconds(self) -> float | None:
        """Seconds since the newest ledger that has come was closed; None before the first one."""
        return max(0.0, self._wall_clock() - self._closed[1]) if self._closed else None

    def still_seconds(self) -> float:
        """Seconds without a new ledger; 0 for a source that does not follow a network."""
        return self._clock() - self.moved_at if self.live and self.moved_at is not None else 0.0
