"""Effects of trades and of liquidity pools (CAP-38)."""

from __future__ import annotations

from stellar_arrow_source.tables.effects.balances import tell_balance
from stellar_arrow_source.tables.effects.entries import (
    CLAIMABLE_BALANCE,
    LIQUIDITY_POOL,
    Mark,
    after,
    before,
    data_at,
    find_pool,
    mark_at,
    moved_at,
    reserves_at,
)  # fmt: skip
from stellar_arrow_source.tables.effects.layout import UNKNOWN, EffectType, Fact, Given
from stellar_arrow_source.tables.effects.work import Work, asset_size, begin, begin_source, hyper_at, same_words
from stellar_arrow_source.xdr.jit import Positions, helper, load_int

_POOL_ATOM, _BOOK_ATOM = 2, 1  # ClaimAtomType


@helper
def trade(w: Work, o: int, n: int, atom: Positions, first: int, count: int) -> None:
    """The trades with offers, for both sides, and with pools."""
    for i in range(first, first + count):
        p = atom[i]
        kind = load_int(w.words, p)
        if kind == _POOL_ATOM:
            sold = p + 9
        else:
            seller = p + 2 if kind == _BOOK_ATOM else p + 1
            offer = seller + 8
            sold = offer + 2
        sold_amount = sold + asset_size(w.words, sold)
        bought = sold_amount + 2
        bought_amount = bought + asset_size(w.words, bought)
        if hyper_at(w.words, sold_amount) == 0 and hyper_at(w.words, bought_amount) == 0:
            continue
        if kind == _POOL_ATOM:
            row = begin_source(w, EffectType.LIQUIDITY_POOL_TRADE, o)
            w.facts[Fact.SOLD, row] = sold
            w.facts[Fact.BOUGHT, row] = bought
            w.facts[Fact.POOL_ID, row] = p + 1
            _put_pool(w, row, n, find_pool(w, n, 0, p + 1), 0)
            continue
        source, source_id = w.given[Given.SOURCE, o], w.given[Given.SOURCE_ID, o]
        row = begin(w, EffectType.TRADE, o, source, source_id)
        w.facts[Fact.SELLER, row] = seller
        w.facts[Fact.OFFER, row] = offer
        w.facts[Fact.SOLD, row] = bought  # what the source gave, the seller bought
        w.facts[Fact.BOUGHT, row] = sold
        row = begin(w, EffectType.TRADE, o, seller, 0)
        w.facts[Fact.SELLER, row] = source
        w.facts[Fact.SELLER_ID, row] = source_id
        w.facts[Fact.OFFER, row] = offer
        w.facts[Fact.SOLD, row] = sold
        w.facts[Fact.BOUGHT, row] = bought


@helper
def deposit_or_withdraw(w: Work, effect: int, o: int, n: int) -> None:
    row = begin_source(w, effect, o)
    pool = w.given[Given.POOL, o]
    w.facts[Fact.POOL_ID, row] = pool
    _put_pool(w, row, n, find_pool(w, n, 0, pool), 1 if effect == EffectType.LIQUIDITY_POOL_DEPOSITED else -1)


@helper
def _put_pool(w: Work, row: int, n: int, k: int, sign: int) -> None:
    """The pool as the k-th of n moves left it and, times ``sign``, by how much it moved; nothing if there is none."""
    if k == n:
        return
    w.facts[Fact.POOL, row] = moved_at(w, k)
    if sign == 0:
        return
    for number in range(3):
        a, b = _holding(w, before(w, k), number), _holding(w, after(w, k), number)
        w.facts[Fact.MOVED_A + number, row] = UNKNOWN if a < 0 or b < 0 else sign * (b - a)


@helper
def _holding(w: Work, change: int, number: int) -> int:
    """Reserve A, reserve B or total shares of a pool; 0 where there is no pool."""
    return hyper_at(w.words, reserves_at(w.words, data_at(w, change)) + 2 * number) if change >= 0 else 0


@helper
def change_pool(w: Work, o: int, k: int) -> None:
    """A pool that the k-th move created or removed."""
    if load_int(w.words, moved_at(w, k)) != LIQUIDITY_POOL:
        return
    if before(w, k) < 0:
        row = begin_source(w, EffectType.LIQUIDITY_POOL_CREATED, o)
        w.facts[Fact.POOL, row] = moved_at(w, k)
    elif after(w, k) < 0:
        row = begin_source(w, EffectType.LIQUIDITY_POOL_REMOVED, o)
    else:
        return
    w.facts[Fact.POOL_ID, row] = moved_at(w, k) + 1


@helper
def revoke_pools(w: Work, o: int, n: int) -> None:
    """What took away authorization took out of pools, into claimable balances.

    Horizon tells of the first pool only.
    """
    if find_pool(w, n, 0, 0) == n:
        return
    created = 0
    for k in range(n):
        if _is_created_balance(w, k):
            tell_balance(w, o, after(w, k), moved_at(w, k) + 1)
            created += 1
    if created == 0:
        return
    pool = find_pool(w, n, 0, 0)
    while pool < n:
        row = begin_source(w, EffectType.LIQUIDITY_POOL_REVOKED, o)
        w.facts[Fact.POOL_ID, row] = moved_at(w, pool) + 1
        _put_pool(w, row, n, pool, -1)
        asset = moved_at(w, pool) + 10
        for side in range(2):
            w.facts[Fact.BALANCE_A + side, row] = _balance_of(w, n, asset, w.facts[Fact.MOVED_A + side, row])
            asset += asset_size(w.words, asset)
        pool = find_pool(w, n, pool + 1, 0)


@helper
def _is_created_balance(w: Work, k: int) -> bool:
    return load_int(w.words, moved_at(w, k)) == CLAIMABLE_BALANCE and before(w, k) < 0


@helper
def _balance_of(w: Work, n: int, asset: int, amount: int) -> int:
    """Position of the id of the created balance that holds so much of the asset; 0 for none."""
    for k in range(n):
        if _is_created_balance(w, k):
            held = mark_at(w, after(w, k), Mark.ASSET)
            size = asset_size(w.words, asset)
            if same_words(w.words, held, asset, size) and hyper_at(w.words, held + size) == amount:
                return moved_at(w, k) + 1
    return 0
