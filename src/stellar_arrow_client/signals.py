"""Signals of a long-running command: the first one drains, the second one kills."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

HANDLED = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Interruption:
    """Which signal came, if any."""

    signal: signal.Signals | None = None


@contextmanager
def draining(stop: threading.Event) -> Iterator[Interruption]:
    """Set ``stop`` on the first SIGINT or SIGTERM, and let a second one kill the process at once.

    Does nothing outside the main thread, which alone may handle signals.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def drain(number: int, _frame: FrameType | None) -> None:
        interruption.signal = signal.Signals(number)
        for handled in HANDLED:
            signal.signal(handled, signal.SIG_DFL)
        stop.set()

    before = {number: signal.signal(number, drain) for number in HANDLED}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
