"""Kernels over positions: from rows to positions, from positions to plain numbers, from parents to children.

Exports: gather, gather_by_key, words_at, signed_words_at, hypers_at, expand_runs, join_operations,
first_hop_amounts,
fee_account_changes, match_hashes. Position 0 stands for "absent" everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr.jit import Mask, Positions, Words, kernel, load32, load64

_GREATEST = np.int64(0x7FFFFFFFFFFFFFFF)
Rows = NDArray[np.int32]
"""(rows, words of a row): a relation."""


@kernel
def gather(table: Rows, slot: int, offset: int, rows: Positions, out: Positions) -> int:
    """out[i] = position in column ``slot`` of row rows[i], plus ``offset``; 0 where the row is -1 or the mark 0.

    Returns how many are present.
    """
    found = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        position = np.int64(0)
        if row >= 0:
            position = np.int64(table[row, slot])
            if position > 0:
                position += offset
                found += 1
        out[i] = position
    return found


@kernel
def gather_by_key(
    table: Rows, slots: Positions, offsets: Positions, keys: Positions, rows: Positions, out: Positions
) -> int:
    """As gather, with slot and offset chosen by keys[i]; slot -1 means absent."""
    found = 0
    for i in range(rows.shape[0]):
        key = keys[i]
        slot = slots[key]
        row = rows[i]
        position = np.int64(0)
        if slot >= 0 and row >= 0:
            position = np.int64(table[row, slot])
            if position > 0:
                position += offsets[key]
                found += 1
        out[i] = position
    return found


@kernel
def words_at(words: Words, positions: Positions, out: Positions) -> None:
    """out[i] int64 = the unsigned word at positions[i], 0 where absent."""
    for i in range(positions.shape[0]):
        p = positions[i]
        out[i] = np.int64(load32(words, p)) if p > 0 else 0


@kernel
def signed_words_at(words: Words, positions: Positions, out: Positions) -> None:
    """out[i] int64 = the signed word at positions[i], 0 where absent."""
    for i in range(positions.shape[0]):
        p = positions[i]
        out[i] = np.int64(np.int32(load32(words, p))) if p > 0 else 0


@kernel
def hypers_at(words: Words, positions: Positions, out: Positions) -> None:
    """out[i] int64 = the hyper at positions[i], 0 where absent."""
    for i in range(positions.shape[0]):
        p = positions[i]
        out[i] = np.int64(load64(words, p)) if p > 0 else 0


@kernel
def expand_runs(first: Positions, ends: Positions, out: Positions) -> None:
    """Write the numbers first[i], first[i] + 1, … so that run i ends at out[ends[i]]."""
    o = 0
    for i in range(first.shape[0]):
        child = first[i]
        while o < ends[i]:
            out[o] = child
            child += 1
            o += 1


@kernel
def join_operations(
    counts: Positions,
    first: Positions,
    result_first: Positions,
    has_results: Mask,
    transaction: Positions,
    operation: Positions,
    result: Positions,
    ordinal: Positions,
) -> None:
    """The operations of transactions, one after the other.

    Args:
        counts, first: int64 (transactions,), the run of operation rows of each.
        result_first, has_results: (transactions,), where its run of result rows begins, if it has one.
        transaction, operation, result, ordinal: int64 (operations,): the transaction, operation row and result row (-1
            where there is none) of each operation, and its number in the transaction from 0 (out).
    """
    o = 0
    for t in range(counts.shape[0]):
        for k in range(counts[t]):
            transaction[o] = t
            operation[o] = first[t] + k
            result[o] = result_first[t] + k if has_results[t] else -1
            ordinal[o] = k
            o += 1


@kernel
def first_hop_amounts(
    words: Words, first: Positions, counts: Positions, asset: Positions, amount: Positions, out: Positions
) -> None:
    """Sum, per operation, amounts of its leading claim atoms that share the first atom's asset.

    Args:
        first, counts: int64 (n,), the run of atoms of each operation.
        asset, amount: int64 (atoms,), positions of the asset and the amount that the offer's owner bought.
        out: int64 (n,). An int64 cannot overflow here in a valid ledger; -1 marks one that does.
    """
    for i in range(first.shape[0]):
        total = np.int64(0)
        for atom in range(first[i], first[i] + counts[i]):
            a = asset[first[i]]
            b = asset[atom]
            kind = load32(words, a)
            size = 1 if kind == 0 else 11 if kind == 1 else 13
            same = True
            for k in range(size):
                if words[np.uint64(a + k)] != words[np.uint64(b + k)]:
                    same = False
                    break
            if not same:
                break
            step = np.int64(load64(words, amount[atom]))
            if step < 0 or total > _GREATEST - step:
                total = np.int64(-1)
                break
            total += step
        out[i] = total


@kernel
def fee_account_changes(
    words: Words,
    change: Positions,
    data: Positions,
    parent: NDArray[np.int32],
    charged_at_start: Mask,
    key: Positions,
    start: Positions,
    end: Positions,
    refund: Positions,
) -> int:
    """What the fee account of each Soroban transaction paid at first, and got back.

    Args:
        change, data, parent: int64 (changes,): position of the LedgerEntryChange, of its entry's data union, and the
            transaction; in document order.
        charged_at_start: bool (changes,), whether the change is of feeProcessing.
        key: int64 (transactions,), position of the fee account's key; 0 leaves the transaction out.
        start, end: int64 (transactions,): position of the balance at the first STATE and at the last UPDATED of
            feeProcessing (out; 0 where there is none).
        refund: int64 (transactions,), stroops: sum of the later changes of the balance (out).

    Returns:
        the first transaction whose refund no int64 holds, -1 if there is none.
    """
    before = np.int64(0)
    stated = -1  # the transaction whose STATE `before` is of, until its UPDATED
    for i in range(change.shape[0]):
        transaction = parent[i]
        k = key[transaction]
        kind = load32(words, change[i])
        d = data[i]
        # LEDGER_ENTRY_REMOVED (2) has a key and no entry; only ACCOUNT (0) entries hold the balance
        if k == 0 or kind == 2 or load32(words, d) != 0:
            continue
        same = True
        for w in range(8):
            if words[np.uint64(d + 2 + w)] != words[np.uint64(k + w)]:
                same = False
                break
        if not same:
            continue
        balance = d + 10
        if charged_at_start[i]:
            if kind == 3 and start[transaction] == 0:
                start[transaction] = balance
            elif kind == 1:
                end[transaction] = balance
        elif kind == 3:
            before = np.int64(load64(words, balance))
            stated = transaction
        elif kind == 1 and stated == transaction:
            stated = -1
            after = np.int64(load64(words, balance))
            total = refund[transaction]
            step = after - before  # fits: neither is negative
            if (
                before < 0
                or after < 0
                or (step > 0 and total > _GREATEST - step)
                or (step < 0 and total < -_GREATEST - step)
            ):
                return int(transaction)
            refund[transaction] = total + step
    return -1


@kernel
def match_hashes(
    words: Words,
    hashes: NDArray[np.uint32],
    envelope_rows: Positions,
    result_rows: Positions,
    hash_at: Positions,
    matched: Positions,
    heads: Positions,
    chain: Positions,
) -> int:
    """Find, ledger by ledger, the envelope whose hash each result names.

    Args:
        hashes: uint32 (envelopes, 8), as the words of the ledger are loaded.
        envelope_rows, result_rows: int64 (ledgers + 1,), rows at which each ledger begins.
        hash_at: int64 (results,), position of the hash that the result names.
        matched: int64 (results,), the envelope of each result, -1 where there is none left (out).
        heads, chain: int64 scratch, at least a power of two ≥ 2n, and n, for the largest ledger's n envelopes.

    Returns:
        how many results found no envelope.
    """
    missing = 0
    for ledger in range(envelope_rows.shape[0] - 1):
        first = envelope_rows[ledger]
        count = envelope_rows[ledger + 1] - first
        size = 16
        while size < 2 * count:
            size *= 2
        for i in range(size):
            heads[i] = -1
        mask = np.uint32(size - 1)
        for i in range(count - 1, -1, -1):
            h = np.int64(hashes[first + i, 0] & mask)
            chain[i] = heads[h]
            heads[h] = i
        for r in range(result_rows[ledger], result_rows[ledger + 1]):
            p = hash_at[r]
            h = np.int64(words[np.uint64(p)] & mask)
            matched[r] = -1
            previous = np.int64(-1)
            i = heads[h]
            while i >= 0:
                same = True
                for k in range(8):
                    if hashes[first + i, k] != words[np.uint64(p + k)]:
                        same = False
                        break
                if same:
                    # an envelope serves one result only: take it out of the chain
                    if previous < 0:
                        heads[h] = chain[i]
                    else:
                        chain[previous] = chain[i]
                    matched[r] = first + i
                    break
                previous = i
                i = chain[i]
            if matched[r] < 0:
                missing += 1
    return missing
