"""Log lines of what happens again and again: a source that is away for a day must not fill a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

TELL_SECONDS: Final = 30.0
"""How often the same kind of thing is logged at most."""


class Sparing:
    """Knows when something is to be told again; may be used by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at = float("-inf")
        self._untold = 0
        self._lock = threading.Lock()

    def tell(self) -> str | None:
        """What to add to the line, on how often it happened without one; None when there is to be no line now."""
        with self._lock:
            now = self._clock()
            if now - self._told_at < TELL_SECONDS:
                self._untold += 1
                return None
            self._told_at, untold, self._untold = now, self._untold, 0
            return f" ({untold} more since the last such line)" if untold else ""
