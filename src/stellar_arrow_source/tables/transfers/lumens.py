"""Helper that writes the lumens that operations made or destroyed before protocol 8: ``reconcile``.

A bug could do so to the account that an operation is of; only the changes of its balance tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers.layout import (
    ACCOUNT_ADDRESS,
    AMOUNT,
    ASSET,
    BURN,
    FACTS,
    FROM,
    MINT,
    RECORD_WORDS,
    REMOVED,
    RESTORED,
    STATE,
    TO,
    Fact,
    Reason,
)  # fmt: skip
from stellar_arrow_source.tables.transfers.record import load_hyper, put_lone, same_hash
from stellar_arrow_source.xdr.jit import Positions, Words, helper, load_int

# A jitted function sees enum members as objects; plain numbers compile to constants.
_HAS_FROM, _HAS_TO = int(Fact.HAS_FROM), int(Fact.HAS_TO)
_LUMENS = int(Reason.LUMENS)
_ACCOUNT_ENTRY = 0  # LedgerEntryType
_MOST_LUMENS = 1 << 61
_OUT_OF_RANGE = -(1 << 62)


@helper
def _shift(first: int, n: int, records: Words, facts: NDArray[np.int64]) -> None:
    """Make room for an event before events first … n - 1."""
    last = min(n, facts.shape[0] - 1)
    for row in range(last, first, -1):
        for k in range(FACTS):
            facts[row, k] = facts[row - 1, k]
        for k in range(RECORD_WORDS):
            records[np.uint64((row + 1) * RECORD_WORDS + k)] = records[np.uint64(row * RECORD_WORDS + k)]


@helper
def _sum(total: int, step: int) -> int:
    """total + step, or _OUT_OF_RANGE once either is more than any lumens."""
    if total == _OUT_OF_RANGE or step <= -_MOST_LUMENS or step >= _MOST_LUMENS:
        return _OUT_OF_RANGE
    total += step
    return _OUT_OF_RANGE if total <= -_MOST_LUMENS or total >= _MOST_LUMENS else total


@helper
def _native_change(words: Words, change: Positions, first: int, count: int, key_at: int) -> int:
    """By how much an account's balance changed, or _OUT_OF_RANGE."""
    total, before = 0, 0
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == REMOVED:
            if load_int(words, p + 1) == _ACCOUNT_ENTRY and same_hash(words, p + 3, words, key_at):
                total = _sum(total, -before)
                before = 0
            continue
        d = p + 2
        if load_int(words, d) != _ACCOUNT_ENTRY or not same_hash(words, d + 2, words, key_at):
            continue
        balance = load_hyper(words, d + 10)
        if balance < 0 or balance >= _MOST_LUMENS:
            return _OUT_OF_RANGE
        if kind != STATE and kind != RESTORED:
            total = _sum(total, balance - before)
        before = balance
    return total


@helper
def _native_moved(first: int, last: int, words: Words, key_at: int, records: Words, facts: NDArray[np.int64]) -> int:
    """By how much events first … last - 1 change an account's balance, or _OUT_OF_RANGE."""
    total = 0
    for row in range(first, min(last, facts.shape[0] - 1)):
        base = (row + 1) * RECORD_WORDS
        if load_int(records, base + ASSET) != 0:
            continue
        amount = load_hyper(records, base + AMOUNT + 2)
        for side in range(2):
            at = base + (FROM if side == 0 else TO)
            if (
                facts[row, _HAS_FROM if side == 0 else _HAS_TO] == 1
                and load_int(records, at) == ACCOUNT_ADDRESS
                and same_hash(records, at + 2, words, key_at)
            ):
                if amount <= -_MOST_LUMENS or amount >= _MOST_LUMENS:
                    return _OUT_OF_RANGE
                total = _sum(total, -amount if side == 0 else amount)
    return total


@helper
def reconcile(
    start: int, n: int, t: int, ordinal: int, words: Words, source_at: int, change: Positions, first: int, count: int,
    records: Words, facts: NDArray[np.int64], skipped: Positions,
) -> int:  # fmt: skip
    """Add to events start … n - 1, of one operation, the lumens of its source that they do not explain."""
    changed = _native_change(words, change, first, count, source_at)
    moved = _native_moved(start, n, words, source_at, records, facts)
    surplus = changed - moved
    if changed == _OUT_OF_RANGE or moved == _OUT_OF_RANGE:
        skipped[_LUMENS] += 1
    elif surplus > 0:
        _shift(start, n, records, facts)
        put_lone(start, MINT, t, ordinal, words, TO, ACCOUNT_ADDRESS, source_at, 0, surplus, records, facts)
        n += 1
    elif surplus < 0:
        put_lone(n, BURN, t, ordinal, words, FROM, ACCOUNT_ADDRESS, source_at, 0, -surplus, records, facts)
        n += 1
    return n
