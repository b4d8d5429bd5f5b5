"""Helpers over the changes of entries that an operation made: pairs of before and after, in Horizon's order.

Horizon orders an operation's changes by the XDR of their LedgerKeys, as stellar-core lists them in none.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stellar_arrow_source.tables.effects.work import Work, after_opaque, asset_size, same_words
from stellar_arrow_source.xdr.jit import Words, helper, load32, load_int

CREATED, UPDATED, REMOVED, STATE, RESTORED = range(5)  # LedgerEntryChangeType
ACCOUNT, TRUSTLINE, OFFER, DATA, CLAIMABLE_BALANCE, LIQUIDITY_POOL = range(6)  # LedgerEntryType
TTL = 9
BEFORE, AFTER, ORDER, _SPARE = range(4)
"""Rows of the room for moves: rows of changes before and after, -1 for none; numbers of moves in Horizon's order."""

_ORDERED = np.array([kind in (ACCOUNT, TRUSTLINE, DATA, CLAIMABLE_BALANCE, LIQUIDITY_POOL, TTL) for kind in range(16)])
"""Types of entries, by LedgerEntryType, that effects tell of."""
_KEY_WORDS = np.array([10, 10, 0, 10, 10, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0], np.int64)
"""Words of their LedgerKeys, but for a trust line's asset and the name of data."""


class Mark(IntEnum):
    """What the program marks in a change's entry."""

    SPONSOR = 0  # AccountID
    THRESHOLDS = 1  # of an account; its signers follow
    SIGNER_SPONSORS = 2  # of an account
    ASSET = 3  # of a claimable balance; the amount follows
    FLAGS = 4  # of a claimable balance


@helper
def mark_at(w: Work, change: int, mark: int) -> int:
    """Where the entry's mark lies; 0 where there is none, or no entry."""
    if change < 0:
        return 0
    p = np.int64(w.changes[change, w.marks[0, mark]])
    return p + w.marks[1, mark] if p > 0 else 0


@helper
def _change_at(w: Work, change: int) -> int:
    return np.int64(w.changes[change, 0])  # type: ignore[return-value]  # int() costs a check


@helper
def change_type(w: Work, change: int) -> int:
    """``LedgerEntryChangeType``."""
    return load_int(w.words, _change_at(w, change))


@helper
def data_at(w: Work, change: int) -> int:
    """Where the LedgerEntryData lies, or the LedgerKey of an entry removed: with the type, then the key, first."""
    p = _change_at(w, change)
    return p + 1 if load_int(w.words, p) == REMOVED else p + 2


@helper
def _key_size(words: Words, p: int) -> int:
    """Words of the key at p, its type included."""
    kind = load_int(words, p)
    size: int = _KEY_WORDS[kind]
    if kind == TRUSTLINE:
        return size + asset_size(words, p + size)
    if kind == DATA:
        return after_opaque(words, p + size) - p
    return size


@helper
def _follows(words: Words, p: int, q: int) -> bool:
    """Whether the key at p sorts after the one at q."""
    for k in range(_key_size(words, p)):
        a, b = load32(words, p + k), load32(words, q + k)
        if a != b:
            return bool(a > b)
    return False


@helper
def _is_state_of(w: Work, state: int, change: int) -> bool:
    """Whether ``change``, UPDATED or REMOVED, starts from ``state``, the change before."""
    kind, before = change_type(w, change), change_type(w, state)
    if kind not in (UPDATED, REMOVED) or before not in (STATE, RESTORED):
        return False
    p, q = data_at(w, change), data_at(w, state)
    return load_int(w.words, p) == load_int(w.words, q) and same_words(w.words, p, q, _key_size(w.words, p))


@helper
def before(w: Work, k: int) -> int:
    """Row of the change with the entry before the k-th move; -1 if it was created."""
    change: int = w.moves[BEFORE, w.moves[ORDER, k]]
    return change


@helper
def after(w: Work, k: int) -> int:
    """Row of the change with the entry after the k-th move; -1 if it was removed."""
    change: int = w.moves[AFTER, w.moves[ORDER, k]]
    return change


@helper
def moved_at(w: Work, k: int) -> int:
    """Where the LedgerEntryData of the k-th move lies: after it, or before it if the entry was removed."""
    return data_at(w, max(before(w, k), after(w, k)))


@helper
def _key_of(w: Work, move: int) -> int:
    return data_at(w, max(w.moves[BEFORE, move], w.moves[AFTER, move]))


@helper
def find_moves(w: Work, first: int, count: int) -> int:
    """Find the pairs among changes first … first + count - 1; returns how many.

    What was updated or removed without its state before is left out: of it, nothing is known to have changed.
    """
    n = 0
    for change in range(first, first + count):
        kind = change_type(w, change)
        if kind == STATE or not _ORDERED[load_int(w.words, data_at(w, change))]:
            continue
        paired = change > first and _is_state_of(w, change - 1, change)
        if kind in (UPDATED, REMOVED) and not paired:
            continue
        if kind == RESTORED and change + 1 < first + count and _is_state_of(w, change, change + 1):
            continue
        w.moves[BEFORE, n] = change - 1 if paired else -1
        w.moves[AFTER, n] = change if kind != REMOVED else -1
        w.moves[ORDER, n] = n
        n += 1
    _sort(w, n)
    return n


@helper
def _sort(w: Work, n: int) -> None:
    """Order the moves by their keys: a stable merge sort, as hostile ledgers may list very many."""
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            i, j = start, middle
            for k in range(start, end):
                take_second = i == middle
                if i < middle and j < end:
                    left = _key_of(w, w.moves[ORDER, i])
                    take_second = _follows(w.words, left, _key_of(w, w.moves[ORDER, j]))
                if take_second:
                    w.moves[_SPARE, k] = w.moves[ORDER, j]
                    j += 1
                else:
                    w.moves[_SPARE, k] = w.moves[ORDER, i]
                    i += 1
        for k in range(n):
            w.moves[ORDER, k] = w.moves[_SPARE, k]
        width *= 2


@helper
def is_told(w: Work, first: int, count: int) -> bool:
    """Whether any of the changes may have an effect of its own, whatever the operation: sponsorships, pools."""
    for change in range(first, first + count):
        if mark_at(w, change, Mark.SPONSOR) > 0:
            return True
        sponsors = mark_at(w, change, Mark.SIGNER_SPONSORS)
        if sponsors > 0 and load_int(w.words, sponsors) > 0:
            return True
        kind = change_type(w, change)
        if kind not in (UPDATED, STATE) and load_int(w.words, data_at(w, change)) == LIQUIDITY_POOL:
            return True
    return False


@helper
def find_pool(w: Work, n: int, first: int, id_at: int) -> int:
    """The next of the n moves, in order from ``first`` on, of a pool, or of that pool; n for none."""
    for k in range(first, n):
        p = moved_at(w, k)
        if load_int(w.words, p) == LIQUIDITY_POOL and (id_at == 0 or same_words(w.words, p + 1, id_at, 8)):
            return k
    return n


@helper
def find_balance(w: Work, first: int, count: int, balance_at: int) -> int:
    """Row of the change that holds a claimable balance, before it is removed or after; -1 for none."""
    for change in range(first, first + count):
        p = data_at(w, change)
        if (
            load_int(w.words, p) == CLAIMABLE_BALANCE
            and change_type(w, change) != REMOVED
            and same_words(w.words, p + 1, balance_at, 9)
        ):
            return change
    return -1


@helper
def reserves_at(words: Words, d: int) -> int:
    """Where the reserves of the pool whose LedgerEntryData is at d stand: two of them, then shares, then trust lines.

    Before them stand the assets and the fee.
    """
    p = d + 10
    p += asset_size(words, p)
    return p + asset_size(words, p) + 1
