"""Writes the token-transfer events of ledgers, in their order: ``emit_events``.

Source: CAP-67 for what each operation gives; stellar-core for the order of a trade's legs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers import contract_events as parsing
from stellar_arrow_source.tables.transfers.layout import (
    ACCOUNT_ADDRESS,
    BALANCE_ADDRESS,
    CLAWBACK,
    FEE,
    FROM,
    MINT,
    POOL_ADDRESS,
    REMOVED,
    RESTORED,
    STATE,
    TO,
    Fact,
    Reason,
)  # fmt: skip
from stellar_arrow_source.tables.transfers.lumens import reconcile
from stellar_arrow_source.tables.transfers.pools import pool_change, put_pool_movement, put_revocation, reserve_moved
from stellar_arrow_source.tables.transfers.record import (
    asset_size,
    load_hyper,
    put_fee,
    put_lone,
    put_muxed,
    put_parsed,
    put_transfer,
    same_hash,
)
from stellar_arrow_source.xdr.jit import Mask, Positions, Words, helper, kernel, load32, load_int

# A jitted function sees enum members as objects; plain numbers compile to constants.
_REFUND = int(Fact.REFUND)
_LOST_BALANCE, _LOST_POOL = int(Reason.BALANCE), int(Reason.POOL)
_P_KIND, _P_REASON = parsing.KIND, parsing.REASON
# OperationType
_CREATE_ACCOUNT, _PAYMENT, _PATH_RECEIVE, _MANAGE_SELL, _PASSIVE_SELL = 0, 1, 2, 3, 4
_ALLOW_TRUST, _ACCOUNT_MERGE, _INFLATION, _MANAGE_BUY, _PATH_SEND = 7, 8, 9, 12, 13
_CREATE_BALANCE, _CLAIM_BALANCE, _CLAWBACK_OP, _CLAWBACK_BALANCE, _SET_FLAGS = 14, 15, 19, 20, 21
_DEPOSIT, _WITHDRAW, _INVOKE = 22, 23, 24
_BALANCE_ENTRY = 4  # LedgerEntryType
_RECONCILED_BEFORE = 8
_REFUNDS_LAST_FROM = 23


class Transactions(NamedTuple):
    """int64 (transactions,), in apply order; ``at`` fields are positions, ``first``/``count`` runs of rows."""

    unified: Mask
    successful: Mask
    fee_key_at: Positions
    source_key_at: Positions
    charge: Positions
    refund: Positions
    memo_at: Positions
    first_operation: Positions
    operations: Positions
    first_fee: Positions
    fees: Positions
    first_soroban: Positions
    sorobans: Positions


class Operations(NamedTuple):
    """int64 (operations,), in apply order."""

    type: Positions
    source_key_at: Positions
    source_id_at: Positions
    destination_at: Positions
    asset_at: Positions
    amount_at: Positions
    balance_at: Positions
    pool_at: Positions
    trustor_at: Positions
    payouts_at: Positions
    first_atom: Positions
    atoms: Positions
    first_change: Positions
    changes: Positions
    first_event: Positions
    events: Positions


@helper
def _trades(
    n: int, t: int, ordinal: int, words: Words, source_at: int, atom: Positions, first: int, count: int,
    records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """Two legs of each claim atom, in core's order: what the source gives, then what it gets."""
    for i in range(first, first + count):
        p = atom[i]
        kind = load_int(words, p)
        if kind == 2:
            other, address, sold = p + 1, POOL_ADDRESS, p + 9
        elif kind == 1:
            other, address, sold = p + 2, ACCOUNT_ADDRESS, p + 12
        else:
            other, address, sold = p + 1, ACCOUNT_ADDRESS, p + 11
        sold_amount = sold + asset_size(words, sold)
        bought = sold_amount + 2
        bought_amount = bought + asset_size(words, bought)
        put_transfer(
            n, t, ordinal, words, ACCOUNT_ADDRESS, source_at, address, other, bought,
            load_hyper(words, bought_amount), records, facts,
        )  # fmt: skip
        put_transfer(
            n + 1, t, ordinal, words, address, other, ACCOUNT_ADDRESS, source_at, sold,
            load_hyper(words, sold_amount), records, facts,
        )  # fmt: skip
        n += 2
    return n


@helper
def _claimed_asset(words: Words, change: Positions, claimed: Positions, first: int, count: int, balance_at: int) -> int:
    """Position of the asset of the claimable balance, before it was removed; 0 if the changes do not hold it."""
    found, removed = 0, False
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == REMOVED:
            removed = removed or (
                load_int(words, p + 1) == _BALANCE_ENTRY and same_hash(words, p + 3, words, balance_at + 1)
            )
        elif (
            (kind in (STATE, RESTORED))
            and load_int(words, p + 2) == _BALANCE_ENTRY
            and same_hash(words, p + 4, words, balance_at + 1)
        ):
            found = claimed[i]
    return found if removed else 0


@kernel
def emit_events(
    words: Words, ledger_first: Positions, ledger_version: Positions, transactions: Transactions,
    operations: Operations, atom: Positions, change: Positions, claimed: Positions,
    parsed: NDArray[np.int64], assets: Words, records: Words, facts: NDArray[np.int64],
    ends: Positions, skipped: Positions,
) -> int:  # fmt: skip
    """Write the events of all ledgers.

    Args:
        ledger_first, ledger_version: int64 (ledgers + 1,) first transactions, (ledgers,) versions of the headers.
        atom, change: int64, positions of all claim atoms and changes; ``claimed`` that of a claimable balance's asset.
        parsed, assets: what :func:`parse_events` gave of all contract events, assets as uint32 (n, ASSET_WORDS).
        records: uint32 (capacity + 2 times RECORD_WORDS,) (out); facts: int64 (capacity + 1, FACTS) (out).
        ends: int64 (ledgers,), number of events up to and with each ledger (out).
        skipped: int64 (reasons,), what gave no event (out).

    Returns:
        the number of events; if it exceeds the capacity, some are missing.
    """
    tx, op = transactions, operations
    n = 0
    for k in range(skipped.shape[0]):
        skipped[k] = 0
    for ledger in range(ledger_version.shape[0]):
        version = ledger_version[ledger]
        for t in range(ledger_first[ledger], ledger_first[ledger + 1]):
            if tx.unified[t]:
                for e in range(tx.first_fee[t], tx.first_fee[t] + tx.fees[t]):
                    if parsed[e, _P_KIND] == FEE and parsed[e, _P_REASON] == 0:
                        put_parsed(n, t, -1, words, parsed[e], assets[e], False, True, records, facts)
                        n += 1
                        break
                    if parsed[e, _P_KIND] >= 0:
                        skipped[parsed[e, _P_REASON]] += 1
            else:
                put_fee(n, t, words, tx.fee_key_at[t], tx.charge[t], records, facts)
                n += 1
        for late in range(2):
            for t in range(ledger_first[ledger], ledger_first[ledger + 1]):
                if late == 0 and tx.successful[t]:
                    for ordinal in range(tx.operations[t]):
                        o = tx.first_operation[t] + ordinal
                        kind, source, start = op.type[o], op.source_key_at[o], n
                        first_change, changes = op.first_change[o], op.changes[o]
                        amount_at, memo_at = op.amount_at[o], tx.memo_at[t]
                        amount = load_hyper(words, amount_at) if amount_at > 0 else 0
                        if tx.unified[t] or kind == _INVOKE:
                            first_event, events = op.first_event[o], op.events[o]
                            v3 = not tx.unified[t] and tx.sorobans[t] > 0
                            if v3:
                                first_event, events = tx.first_soroban[t], tx.sorobans[t]
                            for e in range(first_event, first_event + events):
                                if parsed[e, _P_KIND] < 0:
                                    continue
                                if parsed[e, _P_REASON] > 0:
                                    skipped[parsed[e, _P_REASON]] += 1
                                    continue
                                put_parsed(
                                    n, t, ordinal, words, parsed[e], assets[e], v3, tx.unified[t], records, facts
                                )
                                n += 1
                            if tx.unified[t]:
                                continue
                        elif kind in (_CREATE_ACCOUNT, _PAYMENT, _ACCOUNT_MERGE, _PATH_RECEIVE, _PATH_SEND):
                            if kind in (_PATH_RECEIVE, _PATH_SEND):
                                n = _trades(
                                    n, t, ordinal, words, source, atom, op.first_atom[o], op.atoms[o], records, facts
                                )
                            to = op.destination_at[o]
                            muxed = load32(words, to) != 0
                            if amount_at > 0:
                                row = put_transfer(
                                    n, t, ordinal, words, ACCOUNT_ADDRESS, source, ACCOUNT_ADDRESS,
                                    to + 3 if muxed else to + 1, op.asset_at[o], amount, records, facts,
                                )  # fmt: skip
                                put_muxed(row, words, to + 1 if muxed else 0, memo_at, records, facts)
                                n += 1
                        elif kind in (_MANAGE_SELL, _MANAGE_BUY, _PASSIVE_SELL):
                            n = _trades(
                                n, t, ordinal, words, source, atom, op.first_atom[o], op.atoms[o], records, facts
                            )
                        elif kind == _CREATE_BALANCE:
                            put_transfer(
                                n, t, ordinal, words, ACCOUNT_ADDRESS, source, BALANCE_ADDRESS,
                                op.balance_at[o] + 1, op.asset_at[o], amount, records, facts,
                            )  # fmt: skip
                            n += 1
                        elif kind in (_CLAIM_BALANCE, _CLAWBACK_BALANCE):
                            balance = op.balance_at[o]
                            asset = _claimed_asset(words, change, claimed, first_change, changes, balance)
                            if asset == 0:
                                skipped[_LOST_BALANCE] += 1
                                continue
                            amount = load_hyper(words, asset + asset_size(words, asset))
                            if kind == _CLAIM_BALANCE:
                                row = put_transfer(
                                    n, t, ordinal, words, BALANCE_ADDRESS, balance + 1, ACCOUNT_ADDRESS, source,
                                    asset, amount, records, facts,
                                )  # fmt: skip
                                put_muxed(row, words, op.source_id_at[o], memo_at, records, facts)
                            else:
                                put_lone(
                                    n, CLAWBACK, t, ordinal, words, FROM, BALANCE_ADDRESS, balance + 1, asset, amount,
                                    records, facts,
                                )  # fmt: skip
                            n += 1
                        elif kind == _CLAWBACK_OP:
                            holder = op.destination_at[o]
                            holder = holder + 3 if load32(words, holder) != 0 else holder + 1
                            put_lone(
                                n, CLAWBACK, t, ordinal, words, FROM, ACCOUNT_ADDRESS, holder, op.asset_at[o], amount,
                                records, facts,
                            )  # fmt: skip
                            n += 1
                        elif kind in (_DEPOSIT, _WITHDRAW):
                            before, after = pool_change(words, change, first_change, changes, op.pool_at[o])
                            lost = (before == 0 and after == 0) or min(
                                reserve_moved(words, before, after, 0), reserve_moved(words, before, after, 1)
                            ) < (1 if kind == _DEPOSIT else 0)
                            if lost:
                                skipped[_LOST_POOL] += 1
                                continue
                            n = put_pool_movement(
                                n, t, ordinal, words, kind == _DEPOSIT, source, op.pool_at[o], op.source_id_at[o],
                                memo_at, before, after, records, facts,
                            )  # fmt: skip
                        elif kind in (_ALLOW_TRUST, _SET_FLAGS):
                            n = put_revocation(
                                n, t, ordinal, o, words, op.trustor_at[o], change, first_change, changes, records,
                                facts, skipped,
                            )  # fmt: skip
                        elif kind == _INFLATION:
                            payouts = op.payouts_at[o]
                            for k in range(load_int(words, payouts) if payouts > 0 else 0):
                                p = payouts + 1 + 11 * k
                                put_lone(
                                    n, MINT, t, ordinal, words, TO, ACCOUNT_ADDRESS, p + 1, 0,
                                    load_hyper(words, p + 9), records, facts,
                                )  # fmt: skip
                                n += 1
                        else:
                            continue
                        if version < _RECONCILED_BEFORE:
                            n = reconcile(
                                start, n, t, ordinal, words, source, change, first_change, changes, records, facts,
                                skipped,
                            )  # fmt: skip
                if (late == 1) != (version >= _REFUNDS_LAST_FROM):
                    continue
                if tx.unified[t]:
                    charged = False
                    for e in range(tx.first_fee[t], tx.first_fee[t] + tx.fees[t]):
                        if parsed[e, _P_KIND] < 0:
                            continue
                        if parsed[e, _P_REASON] > 0:
                            skipped[parsed[e, _P_REASON]] += 1 if charged else 0
                        elif charged:
                            put_parsed(n, t, -1, words, parsed[e], assets[e], False, True, records, facts)
                            facts[min(n, facts.shape[0] - 1), _REFUND] = 1
                            n += 1
                        else:
                            charged = True
                elif tx.refund[t] != 0:
                    row = put_fee(n, t, words, tx.fee_key_at[t], -tx.refund[t], records, facts)
                    facts[row, _REFUND] = 1
                    n += 1
        ends[ledger] = n
    return n
