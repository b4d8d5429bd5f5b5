"""How many streams may be open, how much each may read ahead, and when all must end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stellar_arrow_client.errors import UnavailableError

GROUP_BYTES: Final = 4 << 20, 8 << 20
"""XDR of one decode call, at least and at most. Each stream holds what was made of two calls at a time.

Of a call, 0.5 to 1 ms is Python, whatever the number of ledgers, and threads wait for each other in it. With ledgers
of 1.1 MB, 8 MB are decoded and sent at 1.2 (one stream) to 1.4 times (two) the speed of 4; 16 bring another 1.15.
"""


class StreamLimiter:
    """Admits at most ``max_streams`` streams at a time; they share ``read_ahead_bytes`` equally.

    ``draining`` is set once and for all when the server shuts down: no stream is admitted any more, and
    every open one is to end at its next batch.
    """

    def __init__(self, max_streams: int, read_ahead_bytes: int) -> None:
        self.draining = threading.Event()
        self._max_streams = max_streams
        self._read_ahead_bytes = read_ahead_bytes
        self._open = 0
        self._changed = threading.Condition()

    @property
    def open_streams(self) -> int:
        return self._open

    def read_ahead_share(self) -> int:
        """Bytes of raw ledgers that one stream may hold ready now."""
        return self._read_ahead_bytes // max(1, self._open)

    def group_bytes(self) -> int:
        """Bytes of raw ledgers to decode in one call: half the share, so that the next are read meanwhile."""
        least, most = GROUP_BYTES
        return max(least, min(self.read_ahead_share() // 2, most))

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place for one stream.

        Raises:
            UnavailableError: all places are taken, or the server is shutting down; try again later.
        """
        with self._changed:
            if self.draining.is_set():
                raise UnavailableError("the server is shutting down; connect again in a moment")
            if self._open >= self._max_streams:
                raise UnavailableError(
                    f"the server already serves {self._open} streams, its limit (MAX_CONNECTIONS); try again later"
                )
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def drain(self, timeout: float) -> int:
        """End all streams, waiting up to ``timeout`` seconds; returns how many are still open."""
        self.draining.set()
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, timeout=max(0.0, deadline - time.monotonic()))
            return self._open
