"""The decoder equals the oracle on random ledgers, which hold what real ones seldom do.

Every operation type with any result, muxed accounts everywhere, memos and names that are not UTF-8, all kinds
of SCVal, predicates, signers and footprints, every meta version.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.differential.expected import expected_rows
from tests.differential.expected.schema import SCHEMAS
from tests.support.corpus import PUBNET
from tests.support.decoding import (
    STREAMS,
    assert_true_nullability,
    differences,
    full_decoder,
    rows_by_ledger,
)
from tests.support.made_ledgers import made_ledger

CHUNK = 25


@pytest.mark.parametrize("start", range(0, 400, CHUNK))
def test_rows_equal_the_oracle(start: int) -> None:
    seeds = range(start, start + CHUNK)
    data = [made_ledger(seed, PUBNET) for seed in seeds]
    decoded = full_decoder(PUBNET).decode(data)
    actual = {stream: rows_by_ledger(decoded, stream) for stream in STREAMS}
    found: list[str] = []
    for seed, ledger in zip(seeds, data, strict=True):
        expected = expected_rows(ledger, PUBNET)
        for stream in STREAMS:
            found += differences(f"seed {seed} {stream}", expected[stream], next(actual[stream]))
    for batch in decoded.batches.values():
        assert_true_nullability(batch)
    assert not found, "\n".join(found[:20])


def test_made_ledgers_fill_every_column() -> None:
    """Each nullable column is seen both with and without a value, so that nothing goes untested."""
    filled: Counter[tuple[str, str]] = Counter()
    empty: Counter[tuple[str, str]] = Counter()
    for seed in range(250):
        for stream, rows in expected_rows(made_ledger(seed, PUBNET), PUBNET).items():
            for row in rows:
                for name, value in row.items():
                    (empty if value is None else filled)[stream, name] += 1
    for stream in STREAMS:
        for column in SCHEMAS[stream]:
            assert filled[stream, column.name], f"{stream}.{column.name} never has a value"
            assert bool(empty[stream, column.name]) == column.nullable, f"{stream}.{column.name} never is null"
