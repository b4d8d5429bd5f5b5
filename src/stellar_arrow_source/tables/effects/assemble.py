"""Brings together what the kernels need to make effects, and proves the assets that contracts name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from stellar_sdk.xdr import EnvelopeType, OperationType

from stellar_arrow_source.tables.effects.contracts import Events
from stellar_arrow_source.tables.effects.emit import Runs, emit_effects
from stellar_arrow_source.tables.effects.entries import Mark
from stellar_arrow_source.tables.effects.joins import find_runs, number_assets, prove_assets
from stellar_arrow_source.tables.effects.layout import AMOUNT_WORDS, ASSET_WORDS, FACTS, Fact, Given
from stellar_arrow_source.tables.effects.recipes import TABLE
from stellar_arrow_source.tables.effects.signers import signer_room
from stellar_arrow_source.tables.effects.work import FIRST_STAGED, Work
from stellar_arrow_source.tables.expressions import (
    At,
    ByOperation,
    Expression,
    FirstOf,
    MuxedId,
    MuxedKey,
    Plus,
    by_result,
)
from stellar_arrow_source.tables.frame import OPERATION_NEEDS, Batch, Frame, Integers, Mask
from stellar_arrow_source.tables.operation_facts import AMOUNT, ASSET, DESTINATION, SOURCE_ASSET, SOURCE_ID, SOURCE_KEY
from stellar_arrow_source.tables.relations import (
    CHANGE,
    CLAIM_ATOM,
    CONTRACT_EVENT,
    OP_RESULT,
    OPERATION_META,
    TX_RESULT,
)  # fmt: skip
from stellar_arrow_source.tables.results import CREATED_BALANCE, SENT_READS, source_amounts
from stellar_arrow_source.tables.transfers import contract_events as parsing
from stellar_arrow_source.tables.transfers.layout import MUX_ID
from stellar_arrow_source.xdr import Program, Relation
from stellar_arrow_source.xdr.jit import Words
from stellar_arrow_source.xdr.positions import expand_runs
from stellar_arrow_source.xdr.sha256 import hash_spans

_T: Final = OperationType
_OTHER = FirstOf(DESTINATION, ByOperation({_T.CLAWBACK: "clawbackOp.from_"}))


def _of_options(field: str) -> ByOperation:
    return ByOperation({_T.SET_OPTIONS: f"setOptionsOp.{field}"})


def _of_flags(field: str) -> ByOperation:
    return ByOperation(
        {_T.SET_OPTIONS: f"setOptionsOp.{field}?", _T.SET_TRUST_LINE_FLAGS: f"setTrustLineFlagsOp.{field}"}
    )


_GIVEN: Final[Mapping[Given, Expression]] = {
    Given.SOURCE: SOURCE_KEY,
    Given.SOURCE_ID: SOURCE_ID,
    Given.OTHER_ACCOUNT: _OTHER,
    Given.OTHER: MuxedKey(_OTHER),
    Given.OTHER_ID: MuxedId(_OTHER),
    Given.ASSET: ASSET,
    Given.AMOUNT: AMOUNT,
    Given.SENT_ASSET: SOURCE_ASSET,
    Given.HOME_DOMAIN: _of_options("homeDomain?"),
    Given.LOW_THRESHOLD: _of_options("lowThreshold?"),
    Given.MED_THRESHOLD: _of_options("medThreshold?"),
    Given.HIGH_THRESHOLD: _of_options("highThreshold?"),
    Given.INFLATION_DESTINATION: Plus(_of_options("inflationDest?"), 1),
    Given.SET_FLAGS: _of_flags("setFlags"),
    Given.CLEAR_FLAGS: _of_flags("clearFlags"),
    Given.TRUSTOR: Plus(
        ByOperation({_T.ALLOW_TRUST: "allowTrustOp.trustor", _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.trustor"}), 1
    ),
    Given.ALLOWED_CODE: ByOperation({_T.ALLOW_TRUST: "allowTrustOp.asset"}),
    Given.AUTHORIZE: ByOperation({_T.ALLOW_TRUST: "allowTrustOp.authorize"}),
    Given.LIMIT: ByOperation({_T.CHANGE_TRUST: "changeTrustOp.limit"}),
    Given.DATA_NAME: ByOperation({_T.MANAGE_DATA: "manageDataOp.dataName"}),
    Given.BALANCE: FirstOf(
        ByOperation(
            {
                _T.CLAIM_CLAIMABLE_BALANCE: "claimClaimableBalanceOp.balanceID",
                _T.CLAWBACK_CLAIMABLE_BALANCE: "clawbackClaimableBalanceOp.balanceID",
            }
        ),
        CREATED_BALANCE,
    ),
    Given.CLAIMANTS: ByOperation({_T.CREATE_CLAIMABLE_BALANCE: "createClaimableBalanceOp.claimants"}),
    Given.POOL: ByOperation(
        {
            _T.LIQUIDITY_POOL_DEPOSIT: "liquidityPoolDepositOp.liquidityPoolID",
            _T.LIQUIDITY_POOL_WITHDRAW: "liquidityPoolWithdrawOp.liquidityPoolID",
        }
    ),
    Given.PAYOUTS: by_result({_T.INFLATION: "inflationResult.payouts"}),
    Given.EXTEND_TO: ByOperation({_T.EXTEND_FOOTPRINT_TTL: "extendFootprintTTLOp.extendTo"}),
}
_MARKS: Final = {
    Mark.SPONSOR: "ext.v1.sponsoringID?",
    Mark.THRESHOLDS: "data.account.thresholds",
    Mark.SIGNER_SPONSORS: "data.account.ext.v1.ext.v2.signerSponsoringIDs",
    Mark.ASSET: "data.claimableBalance.asset",
    Mark.FLAGS: "data.claimableBalance.ext.v1.flags",
}
_ATOM = At(CLAIM_ATOM)
_EVENT = At(CONTRACT_EVENT)
_TOPICS = At(CONTRACT_EVENT, "body.v0.topics")
_DATA = At(CONTRACT_EVENT, "body.v0.data")

READS: Final[tuple[Expression | Relation, ...]] = (
    *OPERATION_NEEDS, *_GIVEN.values(), *SENT_READS, *(At(CHANGE, path) for path in _MARKS.values()), OPERATION_META,
    _ATOM, _EVENT, _TOPICS, _DATA,
)  # fmt: skip

_SIGNS: Final = np.array([0, 0, 0xFFFFFFFF, 0xFFFFFFFF], np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """Effects in order.

    Attributes:
        facts: int64 (FACTS, n); see :class:`Fact`.
        staged: uint32, assets and amounts that facts refer to.
        entries: int64, positions of the hashes that footprint effects list, one effect's after another's.
    """

    facts: NDArray[np.int64]
    staged: Words
    entries: Integers

    def __getitem__(self, fact: Fact) -> Integers:
        """One fact of all effects."""
        values: Integers = self.facts[fact]
        return values


@lru_cache(maxsize=256)
def _marks(program: Program) -> NDArray[np.int64]:
    locations = program.locations[program.index[CHANGE.name]]
    places = [locations[_MARKS[mark]] for mark in Mark]
    return np.array([[place.slot for place in places], [place.offset for place in places]], np.int64)


def _sites(program: Program, relation: Relation, matches: Callable[[str, str], bool]) -> Mask:
    """Which sites of the relation ``matches(parent, path)``."""
    return np.array([matches(parent, path) for parent, path in program.sites[program.index[relation.name]]], np.bool_)


def _is_meta(parent: str, path: str) -> bool:
    return parent == OPERATION_META.name


def _is_soroban(parent: str, path: str) -> bool:
    return parent == TX_RESULT.name and path.endswith(".v3.sorobanMeta.events")


def _runs(batch: Batch, relation: Relation, parent: Relation, matches: Callable[[str, str], bool]) -> Integers:
    """int64 (2, parents + 1): first row and number of rows below each parent; of the last, which is none, 0."""
    out = np.zeros((2, batch.arena.count(parent.name) + 1), np.int64)
    find_runs(batch.arena.rows(relation.name), _sites(batch.arena.program, relation, matches), out[0], out[1])
    return out


def _metas(batch: Batch) -> Integers:
    """The OPERATION_META row of each operation; the number of rows where a transaction's meta has none."""
    ops = batch.operations
    first, counts = batch.runs(OPERATION_META, TX_RESULT)
    transaction = ops.rows[TX_RESULT.name]
    ordinal = ops.once("ordinal", lambda: ops.absent)
    has_meta = (counts == batch.operation_counts)[transaction]
    return np.where(has_meta, first[transaction] + ordinal, batch.arena.count(OPERATION_META.name))


def _atoms(batch: Batch) -> Integers:
    """int64 (2, operations): first claim atom and number of claim atoms of each operation."""
    first, counts = batch.runs(CLAIM_ATOM, OP_RESULT)
    out = np.zeros((2, batch.operations.length), np.int64)
    results = batch.operations.rows[OP_RESULT.name]
    known = np.flatnonzero(results >= 0)
    out[0, known], out[1, known] = first[results[known]], counts[results[known]]
    return out


def _events(batch: Batch, types: Integers, metas: Integers) -> tuple[Integers, Events]:
    """First event and number of events of each operation, int64 (2, operations), and those events."""
    runs = np.zeros((2, len(types)), np.int64)
    chosen = np.flatnonzero(types == _T.INVOKE_HOST_FUNCTION)
    of_soroban = _runs(batch, CONTRACT_EVENT, TX_RESULT, _is_soroban)[:, batch.operations.rows[TX_RESULT.name][chosen]]
    of_meta = _runs(batch, CONTRACT_EVENT, OPERATION_META, _is_meta)[:, metas[chosen]]
    v3 = of_soroban[1] > 0
    first, counts = np.where(v3, of_soroban, of_meta)
    ends = np.cumsum(counts)
    runs[0, chosen], runs[1, chosen] = ends - counts, counts
    rows = np.empty(int(counts.sum()), np.int64)
    expand_runs(first, ends, rows)
    frame = Frame(batch, np.zeros(len(rows), np.int64), {CONTRACT_EVENT.name: rows})
    parsed = np.empty((len(rows), parsing.PARSED), np.int64)
    assets = np.zeros((1 + len(rows), 4 * ASSET_WORDS), np.uint8)  # word 0 is never data
    parsing.parse_events(
        batch.words, frame.positions(_EVENT), frame.positions(_TOPICS), frame.positions(_DATA), np.repeat(v3, counts),
        np.zeros(len(rows), np.bool_), parsed, assets[1:],
    )  # fmt: skip
    (kind, reason, giver, taker, amount, mux_kind, mux, contract, has_asset, _) = np.ascontiguousarray(parsed.T)
    asset_words = assets.view(np.uint32).reshape(-1)
    proved = _prove(batch, contract, asset_words, (kind >= 0) & (reason == 0) & (has_asset == 1))
    muxed_id = np.where(mux_kind == MUX_ID, mux, 0)
    return runs, Events(np.where(proved, kind + 1, 0), giver, taker, muxed_id, amount, asset_words)


def _prove(batch: Batch, contract: Integers, assets: Words, named: Mask) -> Mask:
    """Which events come from the contract of the asset that they name: its id is a hash of the asset (CAP-46-02)."""
    n = len(named)
    asset_of, proved = np.empty(n, np.int64), np.empty(n, np.bool_)
    number_assets(assets, named, np.full(1 << max(4, (2 * n).bit_length()), -1, np.int64), asset_of)
    firsts = np.unique(asset_of[asset_of >= 0])
    tag = int(EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID).to_bytes(4, "big")
    from_asset = (1).to_bytes(4, "big")  # CONTRACT_ID_PREIMAGE_FROM_ASSET
    prefix = np.frombuffer(tag + batch.network_id + from_asset, np.uint32)
    at = (1 + firsts) * ASSET_WORDS
    sizes = np.array([1, 11, 13], np.int64)[assets[at].byteswap()]
    ids = hash_spans(assets, at, at + sizes, prefix) if len(at) else np.empty((0, 8), np.uint32)
    numbered = np.where(asset_of >= 0, np.searchsorted(firsts, asset_of), -1)
    prove_assets(batch.words, contract, ids, numbered, proved)
    return proved


def make_effects(batch: Batch) -> Effects:
    """The effects of all successful operations, in Horizon's order.

    Raises:
        DecodeError: claim atoms of a path payment whose amounts are negative or overflow.
    """
    ops, arena = batch.operations, batch.arena
    # what did not succeed has no effect, also where a transaction's result contradicts its operations'
    types = np.where(ops.operation_successful, ops.operation_types, -1)
    given = np.zeros((len(Given), ops.length), np.int64)
    for which, expression in _GIVEN.items():
        positions = ops.positions(expression)
        if positions is not ops.absent:
            given[which] = positions
    metas = _metas(batch)
    changes = _runs(batch, CHANGE, OPERATION_META, _is_meta)
    atoms = _atoms(batch)
    event_runs, events = _events(batch, types, metas)
    runs = Runs(*changes[:, metas], *atoms, *event_runs)
    sent = np.zeros(1 + 2 * ops.length, np.uint32)
    sent[1:] = source_amounts(ops)[0].byteswap().view(np.uint32)
    rows = np.arange(arena.count(CLAIM_ATOM.name), dtype=np.int64)
    atom = Frame(batch, np.zeros(len(rows), np.int64), {CLAIM_ATOM.name: rows}).positions(_ATOM)
    capacity = 8 * ops.length + 2 * len(rows) + 2 * len(events.kind)
    while True:
        used = np.array([0, FIRST_STAGED, 0], np.int64)
        work = Work(
            batch.words,
            batch.words.view(np.uint8),
            given,
            arena.rows(CHANGE.name),
            _marks(arena.program),
            np.empty((4, int(changes[1].max(initial=0)) + 1), np.int64),
            np.zeros((FACTS, capacity + 1), np.int64),
            _staged(capacity),
            _SIGNS,
            used,
            np.empty(int(changes[1].sum()), np.int64),
            *signer_room(),
        )
        emit_effects(work, types, sent, runs, atom, events, TABLE)
        n = int(used[0])
        if n <= capacity:
            return Effects(work.facts[:, :n], work.staged, work.entries[: used[2]])
        capacity = n


def _staged(capacity: int) -> Words:
    staged = np.empty(FIRST_STAGED + (capacity + 1) * (ASSET_WORDS + AMOUNT_WORDS), np.uint32)
    staged[:FIRST_STAGED] = 0
    return staged


def effect_frame(batch: Batch) -> Frame:
    """The frame of the stream: its rows are effects."""
    effects = make_effects(batch)
    frame = batch.take(batch.operations, effects[Fact.OPERATION])
    frame.once(Effects, lambda: effects)
    return frame


def effects_of(frame: Frame) -> Effects:
    """The effects that a frame's rows are."""
    effects: Effects = frame.once(Effects, lambda: make_effects(frame.batch))
    return effects
