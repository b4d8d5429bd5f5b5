"""One change of each key and ledger, from whatever keys a ledger holds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from stellar_arrow_source.tables.changes_kernels import longest_lives
from stellar_arrow_source.tables.states.common import Digests, Integers, last_rows

ROWS = 60_000


def alike_in_one_word(chance: np.random.Generator, rows: int) -> tuple[Digests, Integers]:
    """Keys ground until the first words of their hashes are the same."""
    digests = chance.integers(0, 2**32, (rows, 8), dtype=np.uint32)
    digests[:, 0] = 7
    return digests, np.zeros(rows, np.int64)


def one_key_in_every_ledger(chance: np.random.Generator, rows: int) -> tuple[Digests, Integers]:
    digests = np.repeat(chance.integers(0, 2**32, (1, 8), dtype=np.uint32), rows, axis=0)
    return digests, np.arange(rows, dtype=np.int64)


def one_key_in_one_ledger(chance: np.random.Generator, rows: int) -> tuple[Digests, Integers]:
    return one_key_in_every_ledger(chance, rows)[0], np.zeros(rows, np.int64)


def some_keys(chance: np.random.Generator, rows: int) -> tuple[Digests, Integers]:
    digests = chance.integers(0, 2**32, (rows // 5 + 1, 8), dtype=np.uint32)
    return digests[chance.integers(0, len(digests), rows)], np.sort(chance.integers(0, 9, rows))


Make = Callable[[np.random.Generator, int], tuple[Digests, Integers]]
KINDS: tuple[Make, ...] = (alike_in_one_word, one_key_in_every_ledger, one_key_in_one_ledger, some_keys)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("rows", [0, 1, 2, 37, 2000])
def test_the_last_row_of_each_key_and_ledger_is_found(make: Make, rows: int) -> None:
    digests, ledger = make(np.random.default_rng(rows), rows)
    names = [(digest.tobytes(), int(at)) for digest, at in zip(digests, ledger, strict=True)]
    expected = {name: row for row, name in enumerate(names)}
    assert last_rows(digests, ledger).tolist() == [expected[name] for name in names]


@pytest.mark.parametrize("make", KINDS[:3])
def test_no_choice_of_keys_takes_more_than_linear_time(make: Make) -> None:
    """Compared one with the other, so many rows would take seconds."""
    digests, ledger = make(np.random.default_rng(3), ROWS)
    last_rows(digests[:10], ledger[:10])
    began = time.perf_counter()
    last_rows(digests, ledger)
    assert time.perf_counter() - began < 0.5


LIVES = (
    # (removed, live until) of the changes of one entry → the one kept
    ([(False, 28)], 0),
    ([(False, 338), (False, 991), (False, 786)], 1),
    ([(False, 338), (False, 991), (False, 991)], 2),
    ([(False, 991), (True, 0)], 1),
    ([(False, 991), (True, 0), (False, 40), (False, 30)], 2),
    ([(False, 991), (True, 0), (False, 0)], 2),
    ([(True, 0), (True, 0)], 1),
    ([(False, 2**32 - 1), (False, 0)], 0),
)


@pytest.mark.parametrize(("lives", "expected"), LIVES)
def test_a_life_is_never_shortened_but_by_removal(lives: list[tuple[bool, int]], expected: int) -> None:
    removed, until = (np.array(values) for values in zip(*lives, strict=True))
    kept = np.empty(len(lives), np.int64)
    longest_lives(np.full(len(lives), len(lives) - 1), removed, until.astype(np.int64), kept)
    assert kept.tolist() == [-1] * (len(lives) - 1) + [expected]
