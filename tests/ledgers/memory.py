"""A source in memory that does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stellar_arrow_client.errors import GapError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from tests.ledgers.stores import NEVER, made

LEDGERS = made(100, 199)
"""The ledgers 100 to 199, one after the other."""
OTHER_LEDGERS = made(100, 199, 3)
"""Those of another history."""


class Memory:
    """Ledgers that may grow; it fails when it comes to one of ``fails_at``, once each."""

    network_passphrase: str | None = None

    def __init__(
        self,
        name: str,
        first: int,
        last: int,
        *,
        fails_at: tuple[int, ...] = (),
        ledgers: tuple[bytes, ...] = LEDGERS,
    ) -> None:
        self.endpoint, self.first, self.last = name, first, last
        self.all = ledgers
        self.fails_at = set(fails_at)
        self.closed = False
        self.given: list[int] = []

    def bounds(self) -> Bounds:
        return Bounds(self.first, self.last)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        if start < self.first:
            raise GapError(f"{self.endpoint} begins with {self.first}")
        while not stop.is_set() and (end is None or start <= end):
            if start in self.fails_at:
                self.fails_at.remove(start)
                raise SourceUnavailableError(f"{self.endpoint} is away")
            if start > self.last:
                stop.wait(0.01)
                continue
            self.given.append(start)
            yield RawLedger(start, self.all[start - 100])
            start += 1

    def close(self) -> None:
        self.closed = True


def sequences(source: LedgerSource, start: int, end: int) -> list[int]:
    return [ledger.sequence for ledger in source.ledgers(start, end, NEVER)]
