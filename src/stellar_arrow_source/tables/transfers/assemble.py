"""Brings together what the kernels need, and settles what they leave open: ids of contracts and balances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from stellar_sdk.xdr import EnvelopeType, OperationType

from stellar_arrow_source.modes import TransferMode
from stellar_arrow_source.tables.common import TX_SOURCE_KEY
from stellar_arrow_source.tables.expressions import At, ByOperation, Expression, FirstOf, MuxedKey, Plus, by_result
from stellar_arrow_source.tables.frame import OPERATION_NEEDS, RESULT_PAIR, Batch, Frame, Integers
from stellar_arrow_source.tables.operation_facts import AMOUNT, ASSET, DESTINATION, SOURCE_ID, SOURCE_KEY
from stellar_arrow_source.tables.relations import (
    CHANGE,
    CLAIM_ATOM,
    CONTRACT_EVENT,
    ENVELOPE,
    LEDGER,
    OP_RESULT,
    OPERATION_META,
    TRANSACTION_EVENT,
    TX_RESULT,
)  # fmt: skip
from stellar_arrow_source.tables.results import CREATED_BALANCE
from stellar_arrow_source.tables.transfers import contract_events as parsing
from stellar_arrow_source.tables.transfers.emit import Operations, Transactions, emit_events
from stellar_arrow_source.tables.transfers.layout import ASSET as ASSET_WORD
from stellar_arrow_source.tables.transfers.layout import FACTS, FEE, REASONS, RECORD_WORDS, TO, Fact
from stellar_arrow_source.tables.transfers.settle import number_assets, settle_events, stage_balances
from stellar_arrow_source.xdr import Relation
from stellar_arrow_source.xdr.positions import fee_account_changes, hypers_at
from stellar_arrow_source.xdr.sha256 import hash_spans

_T: Final = OperationType

_VERSION = At(LEDGER, "ledgerHeader.header.ledgerVersion")
_META = At(TX_RESULT, "txApplyProcessing")
_META_V3: Final = 3
_FEE_KEY = FirstOf(MuxedKey(At(ENVELOPE, "feeBump.tx.feeSource")), TX_SOURCE_KEY)
_MEMO = At(ENVELOPE, "memo")
_ACCOUNT_SEQUENCE = At(ENVELOPE, "seqNum")
_RESOURCE_FEE = At(ENVELOPE, "ext.sorobanData.resourceFee")
_FEE_CHARGED = Plus(RESULT_PAIR, 8)
_BALANCE = FirstOf(
    ByOperation(
        {
            _T.CLAIM_CLAIMABLE_BALANCE: "claimClaimableBalanceOp.balanceID",
            _T.CLAWBACK_CLAIMABLE_BALANCE: "clawbackClaimableBalanceOp.balanceID",
        }
    ),
    CREATED_BALANCE,
)
_POOL = ByOperation(
    {
        _T.LIQUIDITY_POOL_DEPOSIT: "liquidityPoolDepositOp.liquidityPoolID",
        _T.LIQUIDITY_POOL_WITHDRAW: "liquidityPoolWithdrawOp.liquidityPoolID",
    }
)
_HOLDER = FirstOf(DESTINATION, ByOperation({_T.CLAWBACK: "clawbackOp.from_"}))
_TRUSTOR = Plus(
    ByOperation({_T.ALLOW_TRUST: "allowTrustOp.trustor", _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.trustor"}), 1
)
_PAYOUTS = by_result({_T.INFLATION: "inflationResult.payouts"})
_ATOM = At(CLAIM_ATOM)
_CHANGE = At(CHANGE)
_BALANCE_ASSET = At(CHANGE, "data.claimableBalance.asset")
_EVENT = At(CONTRACT_EVENT)
_TOPICS = At(CONTRACT_EVENT, "body.v0.topics")
_DATA = At(CONTRACT_EVENT, "body.v0.data")

READS: Final[tuple[Expression | Relation, ...]] = (
    *OPERATION_NEEDS, _VERSION, _META, _FEE_KEY, _MEMO, _ACCOUNT_SEQUENCE, _RESOURCE_FEE, _FEE_CHARGED, _BALANCE, _POOL,
    _HOLDER, _TRUSTOR, _PAYOUTS, _ATOM, _CHANGE, _BALANCE_ASSET, _EVENT, _TOPICS, _DATA, SOURCE_KEY, SOURCE_ID, AMOUNT,
    ASSET, TX_SOURCE_KEY, OPERATION_META, TRANSACTION_EVENT,
)  # fmt: skip

_META_CHANGES: Final = "txChangesAfter"
_FEES_BEFORE: Final = "feeProcessing"
_FEES_AFTER: Final = "postTxApplyFeeProcessing"
_STAGED: Final = 48


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Token-transfer events in order.

    Attributes:
        records: uint32, of :data:`RECORD_WORDS` each from word RECORD_WORDS on, XDR in memory order.
        facts: int64 (n, FACTS).
        index: int64 (n,), position in the ledger.
        ledger: int64 (n,).
        skipped: reason → number of what gave no event.
    """

    records: NDArray[np.uint32]
    facts: NDArray[np.int64]
    index: Integers
    ledger: Integers
    skipped: dict[str, int]

    def fact(self, fact: Fact) -> Integers:
        """One fact of all events."""
        return self.facts[:, fact]

    def positions(self, word: int, present: NDArray[np.bool_]) -> Integers:
        """Where a word of each record lies in :attr:`records`, 0 where not present."""
        return np.where(present, np.arange(1, len(self.facts) + 1, dtype=np.int64) * RECORD_WORDS + word, 0)


def _all(batch: Batch, relation: Relation) -> Frame:
    count = batch.arena.count(relation.name)
    return Frame(batch, np.zeros(count, np.int64), {relation.name: np.arange(count, dtype=np.int64)})


def _runs(parents: NDArray[Any], chosen: NDArray[np.bool_], count: int) -> tuple[Integers, Integers]:
    """(first, number) of the chosen rows below each of ``count`` parents; they stand side by side."""
    rows = np.flatnonzero(chosen)
    below = parents[rows]
    first, number = np.zeros(count, np.int64), np.bincount(below, minlength=count).astype(np.int64)
    first[below[::-1]] = rows[::-1]
    return first, number


def _sites(batch: Batch, relation: Relation, matches: Any) -> NDArray[np.bool_]:
    """Which rows of a relation stand at sites that ``matches(parent, path)``."""
    program = batch.arena.program
    sites = program.sites[program.index[relation.name]]
    table = np.array([matches(parent, path) for parent, path in sites], np.bool_)
    return table[batch.arena.rows(relation.name)[:, 2]]


def make_events(batch: Batch, mode: TransferMode = "auto") -> Events:
    """The token-transfer events of all ledgers, in the order of CAP-67: fees first, then operations, then refunds.

    Raises:
        DecodeError: a fee account's balances differ by more than an int64 holds.
    """
    words, arena = batch.words, batch.arena
    results, txs, ops = batch.results, batch.transactions, batch.operations
    changes, events, atoms = _all(batch, CHANGE), _all(batch, CONTRACT_EVENT), _all(batch, CLAIM_ATOM)
    event_parents, change_parents = arena.rows(CONTRACT_EVENT.name)[:, 1], arena.rows(CHANGE.name)[:, 1]
    in_transaction = _sites(batch, CONTRACT_EVENT, lambda parent, _: parent == TRANSACTION_EVENT.name)
    of_operation = _sites(batch, CONTRACT_EVENT, lambda parent, _: parent == OPERATION_META.name)
    of_soroban = _sites(
        batch, CONTRACT_EVENT, lambda parent, path: parent == TX_RESULT.name and path.endswith(".v3.sorobanMeta.events")
    )

    parsed = np.empty((events.length, parsing.PARSED), np.int64)
    assets = np.zeros((events.length, 4 * parsing.ASSET_WORDS), np.uint8)
    parsing.parse_events(
        words, events.positions(_EVENT), events.positions(_TOPICS), events.positions(_DATA), of_soroban,
        in_transaction, parsed, assets,
    )  # fmt: skip

    first_fee, fees, unified = _transaction_events(batch, in_transaction, parsed)
    if mode != "auto":
        unified = np.full(results.length, mode == "unified")
    first_soroban, sorobans = _runs(event_parents, of_soroban, results.length)
    charge, refund = _fees(batch, txs, changes, change_parents)
    counts = batch.operation_counts
    transactions = Transactions(
        unified, batch.successful, txs.positions(_FEE_KEY), txs.positions(TX_SOURCE_KEY), charge, refund,
        txs.positions(_MEMO), np.cumsum(counts) - counts, counts, first_fee, fees, first_soroban, sorobans,
    )  # fmt: skip

    meta_first, meta_counts = batch.runs(OPERATION_META, TX_RESULT)
    transaction = ops.rows[TX_RESULT.name]
    ordinal = ops.once("ordinal", lambda: ops.absent)
    has_meta = (meta_counts == counts)[transaction]
    metas = np.where(has_meta, meta_first[transaction] + ordinal, arena.count(OPERATION_META.name))

    def below_metas(parents: NDArray[Any], chosen: NDArray[np.bool_]) -> tuple[Integers, Integers]:
        first, number = _runs(parents, chosen, arena.count(OPERATION_META.name) + 1)
        return first[metas], number[metas]

    of_meta = _sites(batch, CHANGE, lambda parent, _: parent == OPERATION_META.name)
    first_atom, atom_counts = batch.runs(CLAIM_ATOM, OP_RESULT)
    op_results = ops.rows[OP_RESULT.name]
    has_atoms = op_results >= 0
    if not len(atom_counts):
        first_atom = atom_counts = np.zeros(1, np.int64)
    # what did not succeed moves nothing, also where a transaction's result contradicts its operations'
    types = np.where(ops.operation_successful, ops.operation_types, -1)
    operations = Operations(
        types, ops.positions(SOURCE_KEY), ops.positions(SOURCE_ID), ops.positions(_HOLDER),
        ops.positions(ASSET), ops.positions(AMOUNT), ops.positions(_BALANCE), ops.positions(_POOL),
        ops.positions(_TRUSTOR), ops.positions(_PAYOUTS), first_atom[op_results],
        np.where(has_atoms, atom_counts[op_results], 0), *below_metas(change_parents, of_meta),
        *below_metas(event_parents, of_operation),
    )  # fmt: skip

    skipped = np.zeros(max(REASONS) + 1, np.int64)
    ends = np.zeros(len(batch.bounds), np.int64)
    capacity = 2 * (results.length + ops.length + atoms.length) + events.length
    while True:
        records = np.empty((capacity + 2) * RECORD_WORDS, np.uint32)
        facts = np.empty((capacity + 1, FACTS), np.int64)
        n = emit_events(
            words, arena.ledger_rows(TX_RESULT.name), batch.ledgers.words(_VERSION), transactions, operations,
            atoms.positions(_ATOM), changes.positions(_CHANGE), changes.positions(_BALANCE_ASSET), parsed,
            assets.view(np.uint32), records, facts, ends, skipped,
        )  # fmt: skip
        if n <= capacity:
            break
        capacity = n
    facts = facts[:n]
    dropped = _settle(batch, txs, records, facts, skipped)
    begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    ledger = np.repeat(np.arange(len(ends), dtype=np.int64), ends - begins)
    index = np.arange(n, dtype=np.int64) - begins[ledger]
    if dropped.any():
        kept = ~dropped
        records = np.concatenate(
            [records[:RECORD_WORDS], records[RECORD_WORDS : (n + 1) * RECORD_WORDS].reshape(n, -1)[kept].reshape(-1)]
        )
        facts, ledger = facts[kept], ledger[kept]
        index = np.arange(len(ledger), dtype=np.int64) - np.searchsorted(ledger, ledger)
    found = {REASONS[reason]: int(skipped[reason]) for reason in REASONS if skipped[reason]}
    return Events(records, facts, index, ledger, found)


def _transaction_events(
    batch: Batch, in_transaction: NDArray[np.bool_], parsed: NDArray[np.int64]
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """(first, number) of the events of each transaction itself, and whether one of them is a fee."""
    first, number = np.zeros(len(batch.ledger_of_result), np.int64), np.zeros(len(batch.ledger_of_result), np.int64)
    rows = np.flatnonzero(in_transaction)
    holders = batch.arena.rows(CONTRACT_EVENT.name)[rows, 1]
    transactions = batch.arena.rows(TRANSACTION_EVENT.name)[holders, 1]
    first[transactions[::-1]] = rows[::-1]
    np.add.at(number, transactions, 1)
    unified = np.zeros(len(number), np.bool_)
    unified[transactions[parsed[rows, parsing.KIND] == FEE]] = True
    return first, number, unified


def _fees(batch: Batch, txs: Frame, changes: Frame, parents: NDArray[Any]) -> tuple[Integers, Integers]:
    """(charge, refund) of each transaction, stroops; a classic one is refunded nothing."""
    soroban = txs.positions(_RESOURCE_FEE) > 0
    charge = txs.hypers(_FEE_CHARGED).copy()
    refund = np.zeros(txs.length, np.int64)
    if not soroban.any():
        return charge, refund
    at_start = _sites(batch, CHANGE, lambda parent, path: parent == TX_RESULT.name and path == _FEES_BEFORE)
    at_end = _sites(
        batch, CHANGE,
        lambda parent, path: parent == TX_RESULT.name and (path.endswith(_META_CHANGES) or path == _FEES_AFTER),
    )  # fmt: skip
    chosen = np.flatnonzero(at_start | at_end)
    start, end = np.zeros(txs.length, np.int64), np.zeros(txs.length, np.int64)
    at = changes.positions(_CHANGE)[chosen]
    overflow = fee_account_changes(
        batch.words, at, at + 2, parents[chosen], at_start[chosen],
        np.where(soroban, txs.positions(_FEE_KEY), 0), start, end, refund,
    )  # fmt: skip
    before, after = np.empty(txs.length, np.int64), np.empty(txs.length, np.int64)
    hypers_at(batch.words, start, before)
    hypers_at(batch.words, end, after)
    difference = before - after
    bad = ((before ^ after) & (before ^ difference)) < 0
    if overflow >= 0 or bad.any():
        row = overflow if overflow >= 0 else int(np.flatnonzero(bad)[0])
        where = int(txs.positions(_RESOURCE_FEE)[row])
        raise batch.error("a fee charged or refunded is out of range", int(txs.ledger[row]), where, "feeProcessing")
    return np.where(soroban, difference, charge), refund


def _settle(
    batch: Batch, txs: Frame, records: NDArray[np.uint32], facts: NDArray[np.int64], skipped: Integers
) -> NDArray[np.bool_]:
    """Derive the ids of contracts and of balances from revocations; gives the fee events that are none."""
    n = len(facts)
    pools = np.flatnonzero(facts[:, Fact.POOL])
    if len(pools):
        staged = np.zeros(len(pools) * _STAGED + 1, np.uint32)
        ends = np.empty(len(pools), np.int64)
        stage_balances(
            batch.words, pools, facts, txs.ledger, txs.positions(TX_SOURCE_KEY), txs.positions(_ACCOUNT_SEQUENCE),
            staged, ends,
        )  # fmt: skip
        digests = hash_spans(staged, np.arange(len(pools), dtype=np.int64) * _STAGED + 1, ends)
        places = (pools[:, None] + 1) * RECORD_WORDS + TO + 2 + np.arange(8)
        records[places] = digests
    heads = np.full(1 << max(4, (2 * n).bit_length()), -1, np.int64)
    asset_of = np.empty(n, np.int64)
    number_assets(n, records, facts, heads, asset_of)
    firsts = np.unique(asset_of[asset_of >= 0])
    at = (firsts + 1) * RECORD_WORDS + ASSET_WORD
    tag = int(EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID).to_bytes(4, "big")
    from_asset = (1).to_bytes(4, "big")  # CONTRACT_ID_PREIMAGE_FROM_ASSET
    prefix = np.frombuffer(tag + batch.network_id + from_asset, np.uint32)
    sizes = np.array([1, 11, 13], np.int64)[np.minimum(records[at].byteswap(), 2)]
    contracts = np.empty((len(firsts) + 1, 8), np.uint32)
    if len(firsts):
        contracts[:-1] = hash_spans(records, at, at + sizes, prefix)
    dropped = np.zeros(n, np.bool_)
    settle_events(n, contracts, np.searchsorted(firsts, asset_of), records, facts, dropped, skipped)
    return dropped


def event_frame(mode: TransferMode = "auto") -> Any:
    """The frame of the stream: its rows are events."""

    def frame(batch: Batch) -> Frame:
        events = make_events(batch, mode) if len(batch.ledger_of_result) else _none()
        transaction = events.fact(Fact.TRANSACTION)
        rows = Frame(
            batch, events.ledger, {TX_RESULT.name: transaction, ENVELOPE.name: batch.envelope_of_result[transaction]}
        )
        rows.once("token transfers", lambda: events)
        for reason, number in events.skipped.items():
            key = f"ttp_events: {reason}"
            batch.skipped[key] = batch.skipped.get(key, 0) + number
        return rows

    return frame


def _none() -> Events:
    empty = np.zeros(0, np.int64)
    return Events(np.zeros(RECORD_WORDS, np.uint32), np.zeros((0, FACTS), np.int64), empty, empty, {})


def events_of(frame: Frame) -> Events:
    """The events that a frame's rows are."""
    events: Events = frame.once("token transfers", _none)
    return events
