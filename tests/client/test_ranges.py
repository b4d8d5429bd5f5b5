"""Sets of ledgers, against Python's own sets."""

from __future__ import annotations

import random
from itertools import pairwise

from stellar_arrow_client.ranges import LedgerRanges
from stellar_arrow_client.request import MAX_LEDGER


def expand(ranges: list[tuple[int, int]]) -> set[int]:
    return {ledger for first, last in ranges for ledger in range(first, last + 1)}


def test_ranges_are_a_set_of_ledgers() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        ranges, model = LedgerRanges(), set[int]()
        for _ in range(chance.randrange(12)):
            first = chance.randrange(1, 40)
            last = chance.randrange(first, min(first + 8, 41))
            assert ranges.overlaps(first, last) == bool(model & expand([(first, last)]))
            ranges.add(first, last)
            model |= expand([(first, last)])
        found = list(ranges)
        assert expand(found) == model
        assert ranges.count() == len(model)
        assert all(one[1] + 1 < other[0] for one, other in pairwise(found))
        assert (ranges.first, ranges.last) == (min(model, default=None), max(model, default=None))
        assert expand(ranges.gaps()) == (set(range(min(model), max(model))) - model if model else set())
        first = chance.randrange(1, 40)
        last = chance.randrange(first, 45)
        missing = [(low, high) for low, high in ranges.missing(first, last) if high is not None]
        assert expand(missing) == expand([(first, last)]) - model


def test_what_is_missing_without_end() -> None:
    ranges = LedgerRanges()
    ranges.add(10, 19)
    assert list(ranges.missing(5, None)) == [(5, 9), (20, None)]
    assert list(ranges.missing(12, None)) == [(20, None)]
    ranges.add(30, MAX_LEDGER)
    assert list(ranges.missing(12, None)) == [(20, 29)]
