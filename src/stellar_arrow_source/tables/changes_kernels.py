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
def repeated_keys(words: Words, type: Positions, start: Positions, end: Positions, repeated: Mask) -> None:
    """Which keys are that of the row before.

    Args:
        type, start, end: int64 (n,), where the keys lie: a word, then the words from start to end.
        repeated: bool (n,) (out).
    """
    for i in range(start.shape[0]):
        length = end[i] - start[i]
        same = i > 0 and end[i - 1] - start[i - 1] == length
        if same:
            same = words[np.uint64(type[i])] == words[np.uint64(type[i - 1])]
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
) -> None:
    """Where, in an entry, the words of its LedgerKey lie that follow the key's type.

    Args:
        entry: int64 (n,), positions of LedgerEntry.data, or of the LedgerKey of an entry removed.
        removed_end: int64 (n,), the end of the LedgerKey of an entry removed, else 0.
        durability, code_hash: int64 (n,), positions of those fields of contract data and contract code, else 0.
        start, end: int64 (n,) (out).
    """
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


@kernel
def copy_keys(words: Words, type: Positions, start: Positions, end: Positions, keys: Words) -> None:
    """Write the LedgerKeys, that lie where ``repeated_keys`` says, to ``keys`` from word 1 on."""
    o = 1
    for i in range(type.shape[0]):
        keys[np.uint64(o)] = words[np.uint64(type[i])]
        o += 1
        for p in range(start[i], end[i]):
            keys[np.uint64(o)] = words[np.uint64(p)]
            o += 1


@kernel
def last_of_keys(
    digests: Digests, ledger: Positions, secret: np.uint64, heads: Positions, chain: Positions, last: Positions
) -> None:
    """The last row of the key and ledger of each row.

    Args:
        digests: uint32 (n, 8), hashes of the keys.
        ledger: int64 (n,), never falls.
        secret: an odd uint64 that nobody can know, so that keys cannot be made to fall into one slot.
        heads, chain: int64 scratch: a power of two, at least 2, and n.
        last: int64 (n,), row numbers (out).
    """
    heads[:] = -1
    shift = np.uint64(64)
    while np.uint64(1) << (np.uint64(64) - shift) < heads.shape[0]:
        shift -= np.uint64(1)
    for row in range(last.shape[0] - 1, -1, -1):
        mixed = (np.uint64(digests[row, 0]) | np.uint64(digests[row, 1]) << np.uint64(32)) + np.uint64(ledger[row])
        slot = (mixed * secret) >> shift
        later = heads[slot]
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
            chain[row] = heads[slot]
            heads[slot] = row


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
