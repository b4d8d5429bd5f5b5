"""How long to go on trying when a server cannot be reached, and how many to read from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PARALLEL: Final = 8
"""From how many servers a client reads one stream at a time, at most."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter.

    Attributes:
        retry_for: seconds without any news after which a stream that was flowing gives up; 0 never retries.
        first_tries: attempts to reach a server that has not answered yet; quick, since it is most likely
            not running.
        initial: seconds of the first wait.
        maximum: seconds of the longest wait.
        connect_timeout: seconds to wait for the first answer of one attempt.
        idle_timeout: seconds of silence (servers send a heartbeat about every second) that count as a break.
    """

    retry_for: float = 300.0
    first_tries: int = 4
    initial: float = 0.2
    maximum: float = 10.0
    connect_timeout: float = 10.0
    idle_timeout: float = 120.0

    def waits(self) -> Iterator[float]:
        """Seconds to wait after the first, second, … failure in a row; without end."""
        wait = self.initial
        while True:
            yield wait * random.uniform(0.5, 1.0)
            wait = min(wait * 2, self.maximum)
