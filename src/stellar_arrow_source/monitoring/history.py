"""What the server did in the last minutes, for people who look at it now."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SAMPLE_SECONDS = 5.0
KEPT_SECONDS = 600.0

Point = dict[str, float | None]


class History:
    """Samples rates and levels from a thread.

    Args:
        totals: name → what gives a total that only grows; its rate a second is kept.
        levels: name → what gives a value that is kept as it is, None while there is none.
    """

    def __init__(
        self,
        totals: Mapping[str, Callable[[], float]],
        levels: Mapping[str, Callable[[], float | None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._totals, self._levels, self._clock = totals, levels, clock
        self._points: deque[Point] = deque(maxlen=int(KEPT_SECONDS / SAMPLE_SECONDS))
        self._last = self._read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sample(self) -> None:
        """Take one more point."""
        before_at, before = self._last
        at, now = self._last = self._read()
        seconds = max(at - before_at, 1e-3)
        point: Point = {name: (now[name] - before[name]) / seconds for name in self._totals}
        self._points.append(point | {name: read() for name, read in self._levels.items()})

    def report(self) -> dict[str, Any]:
        """``{"seconds": between points, "points": [{name: value}, …]}``, the newest last."""
        return {"seconds": SAMPLE_SECONDS, "points": list(self._points)}

    def _read(self) -> tuple[float, dict[str, float]]:
        return self._clock(), {name: read() for name, read in self._totals.items()}

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()


def summed(histories: Sequence[Sequence[Point]], names: Sequence[str]) -> list[Point]:
    """The points of several servers as one: the values of ``names`` are summed, others are those of the first."""
    own, *others = (list(reversed(points)) for points in histories)
    return [
        point | {name: sum(group[at].get(name) or 0 for group in (own, *others) if at < len(group)) for name in names}
        for at, point in enumerate(own)
    ][::-1]
