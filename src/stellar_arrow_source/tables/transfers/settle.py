"""Kernels that settle what hashes decide: ids of claimable balances and of assets' contracts.

Exports: stage_balances, settle_events, number_assets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers.layout import (
    ASSET,
    CLAIMED_ASSET,
    CONTRACT,
    FEE,
    NO_ASSET,
    NO_MUX,
    OF_ASSET,
    RECORD_WORDS,
    Fact,
    Reason,
)  # fmt: skip
from stellar_arrow_source.tables.transfers.record import asset_size, big_endian, copy_words, decide_issuer
from stellar_arrow_source.xdr.jit import Mask, Positions, Words, kernel

# A jitted function sees enum members as objects; plain numbers compile to constants.
_KIND, _TRANSACTION, _ORDINAL = int(Fact.KIND), int(Fact.TRANSACTION), int(Fact.ORDINAL)
_ASSET_STATE, _MUX_KIND, _DECIDE = int(Fact.ASSET_STATE), int(Fact.MUX_KIND), int(Fact.DECIDE)
_POOL, _POOL_ASSET = int(Fact.POOL), int(Fact.POOL_ASSET)
_WRONG_FEE = int(Reason.FEE)


@kernel
def stage_balances(
    words: Words, rows: Positions, facts: NDArray[np.int64], transaction_of: Positions, source_key_at: Positions,
    sequence_at: Positions, out: Words, end: Positions,
) -> None:  # fmt: skip
    """Write HashIDPreimage (ENVELOPE_TYPE_POOL_REVOKE_OP_ID, CAP-38) of the balances that events pay to.

    Args:
        rows: int64 (n,), events whose balance's id derives from the pool.
        out: uint32 (n * 48 + 1,), preimage i from word 48 i + 1 to end[i] (out).
    """
    for i in range(rows.shape[0]):
        row = rows[i]
        t = facts[row, _TRANSACTION]
        o = i * 48 + 1
        out[o] = big_endian(7)
        out[o + 1] = 0
        copy_words(words, source_key_at[t], 8, out, o + 2)
        copy_words(words, sequence_at[t], 2, out, o + 10)
        out[o + 12] = big_endian(facts[row, _ORDINAL])
        copy_words(words, facts[row, _POOL], 8, out, o + 13)
        asset = facts[row, _POOL_ASSET]
        size = asset_size(words, asset)
        copy_words(words, asset, size, out, o + 21)
        end[i] = o + 21 + size


@kernel
def settle_events(
    n: int, contracts: Words, contract_of: Positions, records: Words, facts: NDArray[np.int64],
    dropped: Mask, skipped: Positions,
) -> None:  # fmt: skip
    """Write the contract ids of assets, and prove the assets that contracts name.

    Args:
        contracts: uint32 (assets, 8), contract ids; ``contract_of`` int64 (n,) the asset of each event.
        dropped: bool (n,), fee events of another asset than the native one (out).
    """
    for row in range(n):
        base = (row + 1) * RECORD_WORDS
        state = facts[row, _ASSET_STATE]
        dropped[row] = False
        if state == NO_ASSET:
            continue
        proved = True
        for k in range(8):
            word = contracts[np.uint64(contract_of[row]), k]
            if state == OF_ASSET:
                records[np.uint64(base + CONTRACT + k)] = word
            elif records[np.uint64(base + CONTRACT + k)] != word:
                proved = False
        if state == CLAIMED_ASSET:
            facts[row, _ASSET_STATE] = OF_ASSET if proved else NO_ASSET
            if facts[row, _KIND] == FEE and not proved:
                dropped[row] = True
                skipped[_WRONG_FEE] += 1
            elif proved and facts[row, _DECIDE] == 1:
                facts[row, _MUX_KIND] = NO_MUX
                decide_issuer(row, records, facts)


@kernel
def number_assets(n: int, records: Words, facts: NDArray[np.int64], heads: Positions, asset_of: Positions) -> int:
    """Number the different assets of the events.

    Args:
        heads: int64, room of a power of two ≥ 2 n: scratch, all -1; on return heads[i] for i below the number of
            assets, after the table, is not defined.
        asset_of: int64 (n,), the first event that has the same asset; -1 for none (out).

    Returns:
        how many there are.
    """
    mask = heads.shape[0] - 1
    found = 0
    for row in range(n):
        asset_of[row] = -1
        if facts[row, _ASSET_STATE] == NO_ASSET:
            continue
        base = (row + 1) * RECORD_WORDS + ASSET
        size = asset_size(records, base)
        h = 0
        for k in range(size):
            h = ((h * 31) & 0xFFFFFFFF) ^ int(np.int64(records[np.uint64(base + k)]))
        h = (h ^ (h >> 15)) & mask
        while heads[h] >= 0:
            other = (heads[h] + 1) * RECORD_WORDS + ASSET
            same = True
            for k in range(size):
                if records[np.uint64(base + k)] != records[np.uint64(other + k)]:
                    same = False
                    break
            if same:
                break
            h = (h + 1) & mask
        if heads[h] < 0:
            heads[h] = row
            found += 1
        asset_of[row] = heads[h]
    return found
