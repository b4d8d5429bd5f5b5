"""Kernels over changes of ledger entries: their order, the keys of the entries, last states.

Exports: order_changes, repeated_keys, key_bounds, copy_keys, last_of_keys, longest_lives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr.jit import Mask, Positions, Words, kernel, load32

Digests = NDArray[np.uint32]

_ACCOUNT, _TRUSTLINE, _OFFER, _DATA, _CLAIMABLE_BALANCE = 0, 1, 2, 3, 4  # LedgerEntryType
_CONTRACT_DATA, _CONTRACT_CODE, _CONFIG_SETTING = 6, 7, 8
_ACCOUNT_WORDS = 9  # AccountID: the key's type, then 32 bytes
_HASH_WORDS = 8


@kernel
def order_changes(ledger_rows: Positions, phases: Positions, number: int, order: Positions) -> None:
    """Stable order of the rows of each ledger by phase.

    Args:
        ledger_rows: int64 (ledgers + 1,), row at which each ledger begins.
        phases: int64 (rows,), below ``number``.
        order: int64 (rows,), the rows in order (out).
    """
    ends = np.zeros(number, np.int64)
    for ledger in range(ledger_rows.shape[0] - 1):
        first, end = ledger_rows[ledger], ledger_rows[ledger + 1]
        ends[:] = 0
        for row in range(first, end):
            ends[phases[row]] += 1
        at = first
        for phase in range(number):
            count = ends[phase]
            ends[phase] = at
            at += count
        for row in range(first, end):
            order[ends[phases[row]]] = row
            ends[phases[row]] += 1


@kernel
def repeated_keys(words: Words, start: Positions, end: Positions, repeated: Mask) -> None:
    """Which keys are that of the row before.

    Args:
        words, start, end: (n,) the keys' words.
        repeated: bool (n,) (out).
    """
    for i in range(start.shape[0]):
        length = end[i] - start[i]
        same = i > 0 and end[i - 1] - start[i - 1] == length
        k = 0
        while same and k < length:
            same = words[np.uint64(start[i] + k)] == words[np.uint64(start[i - 1] + k)]
            k += 1
        repeated[i] = same


@kernel
def key_bounds(
    words: Words,
    entry: Positions,
    removed_end: Positions,
    durability: Positions,
    code_hash: Positions,
    start: Positions,
    end: Positions,
) -> int:
    """Where, in an entry, the words of its LedgerKey lie that follow the key's type.

    Args:
        entry: int64 (n,), positions of LedgerEntry.data, or of the LedgerKey of an entry removed.
        removed_end: int64 (n,), the end of the LedgerKey of an entry removed, else 0.
        durability, code_hash: int64 (n,), positions of those fields of contract data and contract code, else 0.
        start, end: int64 (n,) (out).

    Returns:
        the words of all keys, their types included.
    """
    total = 0
    for i in range(entry.shape[0]):
        p = entry[i]
        first = p + 1
        kind = load32(words, p)
        if removed_end[i] > 0:
            last = removed_end[i]
        elif kind in (_ACCOUNT, _CLAIMABLE_BALANCE):
            last = first + _ACCOUNT_WORDS  # a ClaimableBalanceID is as long: its type, then 32 bytes
        elif kind == _TRUSTLINE:
            asset = first + _ACCOUNT_WORDS
            asset_type = load32(words, asset)
            size = 0
            if asset_type == 1 or asset_type == 2:
                size = (1 if asset_type == 1 else 3) + _ACCOUNT_WORDS
            elif asset_type == 3:
                size = _HASH_WORDS
            last = asset + 1 + size
        elif kind == _OFFER:
            last = first + _ACCOUNT_WORDS + 2
        elif kind == _DATA:
            name = first + _ACCOUNT_WORDS
            last = name + 1 + (np.int64(load32(words, name)) + 3) // 4
        elif kind == _CONTRACT_DATA:
            first = p + 2  # the entry's extension is no part of the key
            last = durability[i] + 1
        elif kind == _CONTRACT_CODE:
            first = code_hash[i]
            last = first + _HASH_WORDS
        elif kind == _CONFIG_SETTING:
            last = first + 1
        else:
            last = first + _HASH_WORDS  # the id of a liquidity pool, the keyHash of a TTL
        start[i], end[i] = first, last
        total += 1 + last - first
    return total


@kernel
def copy_keys(words: Words, entry: Positions, start: Positions, end: Positions, keys: Words) -> None:
    """Write the LedgerKeys to ``keys`` from word 1 on; ``start`` and ``end`` become their bounds there."""
    o = 1
    for i in range(entry.shape[0]):
        first = o
        keys[o] = words[np.uint64(entry[i])]
        o += 1
        for p in range(start[i], end[i]):
            keys[np.uint64(o)] = words[np.uint64(p)]
            o += 1
        start[i], end[i] = first, o


@kernel
def last_of_keys(
    digests: Digests, ledger: Positions, slots: Positions, heads: Positions, chain: Positions, last: Positions
) -> None:
    """The last row of the key and ledger of each row.

    Args:
        digests: uint32 (n, 8), hashes of the keys.
        ledger: int64 (n,), never falls.
        slots: int64 (n,), below the length of ``heads``; alike for one key and ledger, and spread over all others.
        heads, chain: int64 scratch, of any length and n.
        last: int64 (n,), row numbers (out).
    """
    heads[:] = -1
    for row in range(last.shape[0] - 1, -1, -1):
        later = heads[slots[row]]
        while later >= 0:
            same = ledger[later] == ledger[row]
            for k in range(_HASH_WORDS):
                if digests[later, k] != digests[row, k]:
                    same = False
                    break
            if same:
                break
            later = chain[later]
        if later >= 0:
            last[row] = later
        else:
            last[row] = row
            chain[row] = heads[slots[row]]
            heads[slots[row]] = row


@kernel
def longest_lives(last: Positions, removed: Mask, live_until: Positions, kept: Positions) -> None:
    """The change of each TTL entry that says what a ledger left: by CAP-63 a life is never shortened but by removal.

    Args:
        last: int64 (n,), the last row of each row's key and ledger, as ``last_of_keys`` tells.
        removed: bool (n,).
        live_until: int64 (n,).
        kept: int64 (n,): at the last row of each key and ledger, that row if the entry is removed there, else the last
            of the rows since its last removal that have the greatest ``live_until``; -1 in all other rows (out).
    """
    kept[:] = -1
    for row in range(last.shape[0]):
        best = kept[last[row]]
        if best < 0 or removed[row] or removed[best] or live_until[row] >= live_until[best]:
            kept[last[row]] = row
