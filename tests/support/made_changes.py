"""Makes some of the changes of a random ledger's operations what such operations make of entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from stellar_sdk import xdr

from tests.differential.expected.changes import key_of
from tests.differential.expected.join import Ledger, Operation
from tests.differential.expected.values import arm
from tests.support.generate import Generator
from tests.support.made_transfers import make_lumens_move

Change = xdr.LedgerEntryChangeType
Entry = xdr.LedgerEntryType
Op = xdr.OperationType
STEPS = ("created", "updated", "updated", "updated", "removed", "removed", "restored", "restored_updated", "stateless")
BUDGET = 20_000
"""Enough that values need not end early; there are few operations."""
REVOCATIONS = (Op.ALLOW_TRUST, Op.SET_TRUST_LINE_FLAGS)
ARMS = {
    Entry.ACCOUNT: ("account", xdr.AccountEntry),
    Entry.TRUSTLINE: ("trust_line", xdr.TrustLineEntry),
    Entry.DATA: ("data", xdr.DataEntry),
    Entry.CLAIMABLE_BALANCE: ("claimable_balance", xdr.ClaimableBalanceEntry),
    Entry.LIQUIDITY_POOL: ("liquidity_pool", xdr.LiquidityPoolEntry),
    Entry.TTL: ("ttl", xdr.TTLEntry),
}


def make_changes_plausible(seed: int, ledger: Ledger) -> None:
    """Add changes that fit each operation to those of its meta, between others."""
    draw = Generator(seed, BUDGET)
    for tx in ledger.transactions:
        meta = tx.processed.tx_apply_processing
        metas = meta.operations if meta.v == 0 else arm(meta).operations
        if not metas and draw.chance.random() < 0.9:
            metas[:] = [made_meta(draw, meta.v) for _ in tx.operations]
        if len(metas) == len(tx.operations):
            metas[:] = map(deepcopy, metas)
            for op, of_operation in zip(tx.operations, metas, strict=True):
                add_changes(draw, op, of_operation)
                if op.type == Op.INVOKE_HOST_FUNCTION:
                    add_events(draw, meta, of_operation)


def made_meta(draw: Generator, version: int) -> Any:
    nothing = xdr.LedgerEntryChanges([])
    if version < 4:
        return xdr.OperationMeta(nothing)
    return draw.make(xdr.OperationMetaV2, changes=nothing, events=[])


def add_events(draw: Generator, meta: Any, of_operation: Any) -> None:
    """Events of the native asset's contract, after others."""
    soroban = meta.v3.soroban_meta if meta.v3 is not None else None
    events = soroban.events if soroban is not None else of_operation.events if meta.v4 is not None else []
    for _ in range(draw.chance.randint(1, 4)):
        event = draw.make(xdr.ContractEvent)
        make_lumens_move(draw.chance, event, meta.v)
        events.append(event)


def add_changes(draw: Generator, op: Operation, meta: Any) -> None:
    groups: list[list[Any]] = [[change] for change in meta.changes.ledger_entry_changes]
    groups += fitting(draw, op)
    groups += [
        steps(draw, entry(draw, draw.chance.choice(list(ARMS)))) for _ in range(draw.chance.choice((0, 0, 1, 2)))
    ]
    draw.chance.shuffle(groups)
    meta.changes.ledger_entry_changes = [change for group in groups for change in group]


def fitting(draw: Generator, op: Operation) -> Iterator[list[Any]]:
    """Changes of entries that this type of operation is about."""

    def some(kind: xdr.LedgerEntryType, **given: Any) -> list[Any]:
        return steps(draw, entry(draw, kind, **given))

    body = op.body
    match op.type:
        case Op.SET_OPTIONS | Op.BUMP_SEQUENCE:
            yield some(Entry.ACCOUNT)
        case Op.CHANGE_TRUST if body.line.type == xdr.AssetType.ASSET_TYPE_POOL_SHARE:
            pool = draw.make(xdr.PoolID)
            yield some(Entry.TRUSTLINE, asset=xdr.TrustLineAsset(body.line.type, liquidity_pool_id=pool))
        case Op.CHANGE_TRUST:
            yield some(Entry.TRUSTLINE, asset=draw.case(xdr.TrustLineAsset, body.line.type))
        case Op.MANAGE_DATA:
            yield some(Entry.DATA)
        case Op.CREATE_CLAIMABLE_BALANCE if op.effect is not None:
            yield some(Entry.CLAIMABLE_BALANCE, balance_id=op.effect)
        case Op.CLAIM_CLAIMABLE_BALANCE | Op.CLAWBACK_CLAIMABLE_BALANCE:
            yield some(Entry.CLAIMABLE_BALANCE, balance_id=body.balance_id)
        case Op.LIQUIDITY_POOL_DEPOSIT | Op.LIQUIDITY_POOL_WITHDRAW:
            yield some(Entry.LIQUIDITY_POOL, liquidity_pool_id=body.liquidity_pool_id)
        case Op.INVOKE_HOST_FUNCTION:
            yield some(Entry.ACCOUNT)
            yield some(Entry.TRUSTLINE)
        case Op.EXTEND_FOOTPRINT_TTL | Op.RESTORE_FOOTPRINT:
            yield some(Entry.TTL)
            yield some(Entry.TTL)
        case kind if kind in REVOCATIONS:
            yield from revocation(draw)
    for atom in getattr(op.effect, "offers", None) or getattr(op.effect, "offers_claimed", None) or []:
        if atom.liquidity_pool is not None and draw.chance.random() < 0.8:
            yield some(Entry.LIQUIDITY_POOL, liquidity_pool_id=atom.liquidity_pool.liquidity_pool_id)


def revocation(draw: Generator) -> Iterator[list[Any]]:
    """One or two pools, and what went out of them into balances, mostly."""
    for _ in range(draw.chance.choice((0, 1, 1, 2))):
        before = entry(draw, Entry.LIQUIDITY_POOL)
        after = changed(draw, before)
        yield pair("updated", before, after)
        old, new = (state.data.liquidity_pool.body.constant_product for state in (before, after))
        gone = {
            old.params.asset_a: old.reserve_a.int64 - new.reserve_a.int64,
            old.params.asset_b: old.reserve_b.int64 - new.reserve_b.int64,
        }
        for asset, amount in gone.items():
            if draw.chance.random() < 0.8:
                held = entry(draw, Entry.CLAIMABLE_BALANCE, asset=asset, amount=xdr.Int64(amount % 2**63))
                yield pair("created", held, held)


def entry(draw: Generator, kind: xdr.LedgerEntryType, **given: Any) -> Any:
    """A LedgerEntry that the changes of a ledger could hold."""
    name, cls = ARMS[kind]
    made = draw.make(cls, **given)
    if kind == Entry.ACCOUNT:
        keep_sponsors(draw, made)
    if kind == Entry.LIQUIDITY_POOL and draw.chance.random() < 0.8:
        fill(draw, made)
    found = draw.make(xdr.LedgerEntry, data=xdr.LedgerEntryData(kind, **{name: made}))
    found.ext = sponsorship(draw)
    return found


def keep_sponsors(draw: Generator, account: Any) -> None:
    """As many sponsors as signers, as stellar-core keeps them."""
    if account.ext.v1 is not None and account.ext.v1.ext.v2 is not None:
        account.ext.v1.ext.v2.signer_sponsoring_i_ds = [sponsor(draw) for _ in account.signers]


def fill(draw: Generator, pool: Any) -> None:
    """Amounts that a pool can hold."""
    body = pool.body.constant_product
    for name in ("reserve_a", "reserve_b", "total_pool_shares"):
        setattr(body, name, xdr.Int64(draw.chance.randint(0, 2**40)))


def sponsor(draw: Generator) -> Any:
    """One of few accounts, or none."""
    number = draw.chance.choice((None, 1, 2))
    key = None if number is None else xdr.Uint256(bytes([number]) * 32)
    kind = xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519
    return xdr.SponsorshipDescriptor(None if key is None else xdr.AccountID(xdr.PublicKey(kind, key)))


def sponsorship(draw: Generator) -> Any:
    if draw.chance.random() < 0.4:
        return xdr.LedgerEntryExt(0)
    extension = xdr.LedgerEntryExtensionV1(sponsor(draw), xdr.LedgerEntryExtensionV1Ext(0))
    return xdr.LedgerEntryExt(1, v1=extension)


def steps(draw: Generator, before: Any) -> list[Any]:
    return pair(draw.chance.choice(STEPS), before, changed(draw, before))


def changed(draw: Generator, before: Any) -> Any:
    """The same entry with another state."""
    after = deepcopy(before)
    after.ext = sponsorship(draw)
    account, pool, data = after.data.account, after.data.liquidity_pool, after.data.data
    if account is not None:
        account.seq_num = draw.make(xdr.SequenceNumber) if draw.chance.random() < 0.7 else account.seq_num
        if draw.chance.random() < 0.5:
            account.thresholds = draw.make(xdr.Thresholds)
        account.signers = [signer for signer in account.signers if draw.chance.random() < 0.7]
        for signer in account.signers:
            signer.weight = xdr.Uint32(draw.chance.choice((1, 2, signer.weight.uint32)))
        account.signers += [draw.make(xdr.Signer) for _ in range(draw.chance.choice((0, 1)))]
        draw.chance.shuffle(account.signers)
        keep_sponsors(draw, account)
    elif pool is not None and pool.body.constant_product.reserve_a.int64 >= 0:
        fill(draw, pool)
    elif data is not None:
        data.data_value = draw.make(xdr.DataValue)
    return after


def pair(step: str, before: Any, after: Any) -> list[Any]:
    """The changes that tell of a step."""
    told: dict[str, Callable[[], Any]] = {
        "created": lambda: xdr.LedgerEntryChange(Change.LEDGER_ENTRY_CREATED, created=after),
        "state": lambda: xdr.LedgerEntryChange(Change.LEDGER_ENTRY_STATE, state=before),
        "updated": lambda: xdr.LedgerEntryChange(Change.LEDGER_ENTRY_UPDATED, updated=after),
        "removed": lambda: xdr.LedgerEntryChange(Change.LEDGER_ENTRY_REMOVED, removed=key_of(before)),
        "restored": lambda: xdr.LedgerEntryChange(Change.LEDGER_ENTRY_RESTORED, restored=before),
    }
    names = {
        "created": ["created"],
        "updated": ["state", "updated"],
        "removed": ["state", "removed"],
        "restored": ["restored"],
        "restored_updated": ["restored", "updated"],
        "stateless": ["updated"],
    }
    return [told[name]() for name in names[step]]
