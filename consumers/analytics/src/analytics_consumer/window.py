"""The sliding window: which ledgers are in it, and what their rows add up to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import LEDGER, MAX_LEDGER

from .measures import Aggregation

_MAX_CHUNK_ROWS = 1 << 16  # a chunk leaves the window as a whole, so it must stay small beside the window


class Ledger(NamedTuple):
    """A ledger that is complete; ``closed`` is its close time in microseconds since 1970."""

    sequence: int
    closed: int


@dataclass(frozen=True, slots=True)
class Span:
    """What a window covers: ledgers with ``start`` < close time ≤ ``end``, in microseconds since 1970.

    Attributes:
        full: whether all of the window has been seen, that is a ledger has already left it.
    """

    first: Ledger
    last: Ledger
    ledgers: int
    start: int
    end: int
    full: bool


def between(table: pa.Table, first: int, last: int) -> pa.Table:
    """The rows of some ledgers, without a copy, of a table that is in ledger order."""
    begin, end = np.searchsorted(table[LEDGER].to_numpy(), np.array([first, last + 1]))
    return table.slice(begin, end - begin)


class Chunks:
    """Aggregates per ledger, oldest first, in few tables: small neighbours are joined as they come."""

    def __init__(self) -> None:
        self._tables: deque[pa.Table] = deque()
        self._empty: pa.Table | None = None

    def append(self, table: pa.Table) -> None:
        self._empty = table.schema.empty_table()
        if table.num_rows == 0:
            return
        while (
            self._tables
            and self._tables[-1].num_rows <= table.num_rows
            and self._tables[-1].num_rows + table.num_rows <= _MAX_CHUNK_ROWS
        ):
            table = pa.concat_tables([self._tables.pop(), table]).combine_chunks()
        self._tables.append(table)

    def drop_before(self, sequence: int) -> None:
        while self._tables and self._tables[0][LEDGER][-1].as_py() < sequence:
            self._tables.popleft()

    def since(self, sequence: int) -> pa.Table | None:
        """The aggregates of ledger ``sequence`` and all later ones; None before the first append."""
        if self._empty is None:
            return None
        tables = list(self._tables)
        if tables:
            tables[0] = between(tables[0], sequence, MAX_LEDGER)
        return pa.concat_tables([self._empty, *tables])


class SlidingWindow:
    """The ledgers whose close time lies in (T - ``length``, T], T being the close time of the newest.

    Only close times move the window, never the wall clock, so the same ledgers give the same result at any speed.
    Memory is bounded by ledgers in the window times different groups in each.
    """

    def __init__(self, aggregation: Aggregation, length: int) -> None:
        """``length`` is in microseconds."""
        self._aggregation = aggregation
        self._length = length
        self._ledgers: deque[Ledger] = deque()
        self._chunks = [Chunks() for _ in aggregation.groupings]
        self._full = False

    @property
    def newest(self) -> Ledger | None:
        return self._ledgers[-1] if self._ledgers else None

    @property
    def span(self) -> Span | None:
        """What the window covers now; None before the first ledger."""
        if not self._ledgers:
            return None
        first, last = self._ledgers[0], self._ledgers[-1]
        return Span(first, last, len(self._ledgers), last.closed - self._length, last.closed, self._full)

    def aggregate(self, rows: pa.Table) -> list[pa.Table]:
        """Aggregates per ledger of some rows, to be given to :meth:`add` whole or cut by ledger."""
        return [grouping.per_ledger(rows) for grouping in self._aggregation.groupings]

    def add(self, ledgers: Sequence[Ledger], aggregates: Sequence[pa.Table]) -> None:
        """Takes in complete ledgers, in order and each one once, and lets go of those that are now too old.

        Raises:
            IntegrityError: a ledger that does not follow, or closes before the one it follows.
        """
        for ledger in ledgers:
            newest = self.newest
            if newest is not None and ledger.sequence != newest.sequence + 1:
                raise IntegrityError(f"ledger {ledger.sequence} came after ledger {newest.sequence}")
            if newest is not None and ledger.closed < newest.closed:
                raise IntegrityError(
                    f"ledger {ledger.sequence} closes before ledger {newest.sequence}, which it follows"
                )
            self._ledgers.append(ledger)
        for chunks, table in zip(self._chunks, aggregates, strict=True):
            chunks.append(table)
        while self._ledgers and self._ledgers[0].closed <= self._ledgers[-1].closed - self._length:
            self._ledgers.popleft()
            self._full = True
        for chunks in self._chunks:
            chunks.drop_before(self._ledgers[0].sequence)

    def result(self) -> pa.Table | None:
        """Every group of the window with its measures (ratios excepted); None before the first ledger."""
        if not self._ledgers:
            return None
        oldest = self._ledgers[0].sequence
        tables = [table for chunks in self._chunks if (table := chunks.since(oldest)) is not None]
        return self._aggregation.result(tables)
