"""Helpers that write what operations move into and out of liquidity pools, which only the entries' changes tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers.layout import (
    ACCOUNT_ADDRESS,
    BALANCE_ADDRESS,
    BURN,
    POOL_ADDRESS,
    REMOVED,
    RESTORED,
    STATE,
    Fact,
    Reason,
)  # fmt: skip
from stellar_arrow_source.tables.transfers.record import asset_size, load_hyper, put_muxed, put_transfer, same_hash
from stellar_arrow_source.xdr.jit import Positions, Words, helper, load32, load_int

# A jitted function sees enum members as objects; plain numbers compile to constants.
_KIND, _HAS_TO, _OPERATION, _POOL = int(Fact.KIND), int(Fact.HAS_TO), int(Fact.OPERATION), int(Fact.POOL)
_POOL_ASSET = int(Fact.POOL_ASSET)
_LOST_POOL = int(Reason.POOL)
_POOL_ENTRY = 5  # LedgerEntryType


@helper
def _less(words: Words, p: int, q: int) -> bool:
    """Whether the 32 bytes at p sort before those at q."""
    for k in range(8):
        a, b = load32(words, p + k), load32(words, q + k)
        if a != b:
            return bool(a < b)
    return False


@helper
def _reserves_at(words: Words, d: int) -> int:
    """Where the reserves of the LiquidityPoolEntry whose LedgerEntryData is at d stand."""
    p = d + 10
    p += asset_size(words, p)
    return p + asset_size(words, p) + 1


@helper
def _next_pool(words: Words, change: Positions, first: int, count: int, last_at: int) -> int:
    """Position of the id of the first changed pool, by id, after the one at last_at (0: of all); 0 if none is left."""
    found = 0
    for i in range(first, first + count):
        kind = load_int(words, change[i])
        if kind == REMOVED:
            continue
        d = change[i] + 2
        if load_int(words, d) != _POOL_ENTRY:
            continue
        if (last_at == 0 or _less(words, last_at, d + 1)) and (found == 0 or _less(words, d + 1, found)):
            found = d + 1
    return found


@helper
def pool_change(words: Words, change: Positions, first: int, count: int, pool_at: int) -> tuple[int, int]:
    """Positions of the LedgerEntryData of a pool before and after an operation; 0 where there is none."""
    before, after = 0, 0
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == REMOVED:
            if load_int(words, p + 1) == _POOL_ENTRY and same_hash(words, p + 2, words, pool_at):
                after = 0
        elif load_int(words, p + 2) == _POOL_ENTRY and same_hash(words, p + 3, words, pool_at):
            if kind in (STATE, RESTORED):
                before = p + 2 if before == 0 else before
            else:
                after = p + 2
    return before, after


@helper
def _reserve(words: Words, d: int, k: int) -> int:
    """Reserve k of a pool's entry, 0 where there is no entry."""
    return load_hyper(words, _reserves_at(words, d) + 2 * k) if d > 0 else 0


@helper
def reserve_moved(words: Words, before: int, after: int, k: int) -> int:
    """By how much reserve k changed; -1 if the entry holds what no reserve can be."""
    a, b = _reserve(words, before, k), _reserve(words, after, k)
    return -1 if a < 0 or b < 0 else max(a - b, b - a)


@helper
def put_pool_movement(
    n: int, t: int, ordinal: int, words: Words, deposit: bool, source_at: int, pool_at: int, id_at: int, memo_at: int,
    before: int, after: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    d = before if before > 0 else after
    asset = d + 10
    for k in range(2):
        amount = reserve_moved(words, before, after, k)
        if deposit:
            put_transfer(
                n, t, ordinal, words, ACCOUNT_ADDRESS, source_at, POOL_ADDRESS, pool_at, asset, amount, records, facts
            )
        else:
            row = put_transfer(
                n, t, ordinal, words, POOL_ADDRESS, pool_at, ACCOUNT_ADDRESS, source_at, asset, amount, records, facts
            )
            put_muxed(row, words, id_at, memo_at, records, facts)
        n += 1
        asset += asset_size(words, asset)
    return n


@helper
def put_revocation(
    n: int, t: int, ordinal: int, operation: int, words: Words, trustor_at: int, change: Positions,
    first: int, count: int, records: Words, facts: NDArray[np.int64], skipped: Positions,
) -> int:  # fmt: skip
    """What redeems pool shares into claimable balances (CAP-38): per pool by id, per asset A, then B."""
    pool = _next_pool(words, change, first, count, 0)
    while pool > 0:
        before, after = pool_change(words, change, first, count, pool)
        d = before if before > 0 else after
        asset = d + 10
        for k in range(2):
            amount = reserve_moved(words, before, after, k)
            if amount > 0:
                row = put_transfer(
                    n, t, ordinal, words, POOL_ADDRESS, pool, BALANCE_ADDRESS, 0, asset, amount, records, facts
                )
                kind = load_int(words, asset)
                if kind > 0 and same_hash(words, asset + (3 if kind == 1 else 5), words, trustor_at):
                    facts[row, _KIND] = BURN
                    facts[row, _HAS_TO] = 0
                else:
                    facts[row, _OPERATION] = operation
                    facts[row, _POOL] = pool
                    facts[row, _POOL_ASSET] = asset
                n += 1
            elif amount < 0:
                skipped[_LOST_POOL] += 1
            asset += asset_size(words, asset)
        pool = _next_pool(words, change, first, count, pool)
    return n
