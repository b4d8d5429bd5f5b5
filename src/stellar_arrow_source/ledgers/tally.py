"""What happens within the sources of this process, counted for monitoring."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final


class Tally:
    """Counts of a few kinds of events; may be used from any thread."""

    def __init__(self, *kinds: str) -> None:
        self._counts = dict.fromkeys(kinds, 0)
        self._lock = threading.Lock()

    def add(self, kind: str) -> None:
        """Count one event of a kind that was named at the beginning."""
        with self._lock:
            self._counts[kind] += 1

    def by_kind(self) -> Mapping[tuple[str, ...], float]:
        """Kind, as the only label value, → number of events."""
        return {(kind,): count for kind, count in self._counts.items()}

    def total(self) -> int:
        return sum(self._counts.values())


RETRIES: Final = Tally("grpc", "rpc")
"""Calls that a source made again, and streams that it began again, after they failed."""

FAILOVERS: Final = Tally("failover")
"""Times that another one of several equal sources was gone on with, or back to."""

CACHE_READS: Final = Tally("hit", "miss")
"""Ledgers looked up in a cache on disk."""
