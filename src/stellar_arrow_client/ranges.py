"""A set of ledgers, kept as disjoint inclusive ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from stellar_arrow_client.request import MAX_LEDGER


class LedgerRanges:
    """Ledgers as ascending, disjoint, never adjoining ranges ``(first, last)``, both inclusive.

    Args:
        ranges: what it holds at first, in any order.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._firsts)

    @property
    def first(self) -> int | None:
        """The smallest ledger, None when empty."""
        return self._firsts[0] if self._firsts else None

    @property
    def last(self) -> int | None:
        """The greatest ledger, None when empty."""
        return self._lasts[-1] if self._lasts else None

    def count(self) -> int:
        """The number of ledgers."""
        return sum(last - first + 1 for first, last in self)

    def add(self, first: int, last: int) -> None:
        """Add a range, joining it with those it overlaps or adjoins."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def overlaps(self, first: int, last: int) -> bool:
        """Whether any ledger of the range is in the set."""
        at = bisect_left(self._lasts, first)
        return at < len(self._firsts) and self._firsts[at] <= last

    def missing(self, first: int, last: int | None) -> Iterator[tuple[int, int | None]]:
        """The sub-ranges of ``first`` to ``last`` (None: without end) that are not in the set, ascending."""
        end = MAX_LEDGER if last is None else last
        for at in range(bisect_left(self._lasts, first), len(self._firsts)):
            if self._firsts[at] > end:
                break
            if first < self._firsts[at]:
                yield first, self._firsts[at] - 1
            first = self._lasts[at] + 1
        if first <= end:
            yield first, last

    def gaps(self) -> list[tuple[int, int]]:
        """The ranges that are missing between the smallest and the greatest ledger."""
        return [(last + 1, first - 1) for last, first in zip(self._lasts, self._firsts[1:], strict=False)]
