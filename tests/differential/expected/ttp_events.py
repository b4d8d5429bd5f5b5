"""Expected rows of ``ttp_events``: CAP-67's events, read from the meta or derived, one transaction at a time."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from stellar_sdk import Keypair, StrKey, xdr

from .join import Ledger, Operation, Transaction
from .values import account, arm, asset_columns, balance_id, digest, muxed, plain, pool_strkey, sc_address

Change = xdr.LedgerEntryChangeType
Entry = xdr.LedgerEntryType
Op = xdr.OperationType
PATHS = {Op.PATH_PAYMENT_STRICT_RECEIVE, Op.PATH_PAYMENT_STRICT_SEND}
OFFERS = {Op.MANAGE_SELL_OFFER, Op.MANAGE_BUY_OFFER, Op.CREATE_PASSIVE_SELL_OFFER}
NATIVE = xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
NO_MUX: tuple[str | None, Any] = (None, None)
SAFE = 1 << 61


@dataclass(frozen=True)
class Event:
    kind: str
    amount: int
    contract: str
    asset: Any = None
    giver: str | None = None
    taker: str | None = None
    mux: tuple[str | None, Any] = NO_MUX
    refund: bool = False
    administrator: bool = False


def ttp_rows(ledger: Ledger, mode: str = "auto") -> list[dict[str, Any]]:
    modes = {tx.index: mode if mode != "auto" else own_mode(tx) for tx in ledger.transactions}
    charges, middle, late = [], [], []
    for tx in ledger.transactions:
        first, *rest = [*fees(tx, modes[tx.index]), None, None][:8]
        charges += [(tx, 0, first)] if first is not None else []
        refunds = [(tx, 0, replace(event, refund=True)) for event in rest if event is not None]
        if tx.successful:
            for op in tx.operations:
                middle += [(tx, op.index, event) for event in operation_events(op, modes[tx.index])]
        if plain(ledger.header.ledger_version) < 23:
            middle += refunds
        else:
            late += refunds
    events = enumerate([*charges, *middle, *late])
    return [row(tx, op, event, index, modes[tx.index]) for index, (tx, op, event) in events]


def row(tx: Transaction, op: int, event: Event, index: int, mode: str) -> dict[str, Any]:
    kind, value = event.mux if event.kind in ("transfer", "mint") else NO_MUX
    text = decoded(value) if kind == "text" else None
    shown = {"text": text, "id": str(value), "hash": b64encode(value).decode() if kind == "hash" else None}
    return {
        **tx.ledger.position_columns,
        "transaction_id": tx.id,
        "transaction_index": tx.index,
        "operation_id": tx.id | op if op else None,
        "operation_index": op or None,
        "event_index": index,
        "transaction_hash": tx.hash,
        "successful": tx.successful,
        "event_type": event.kind,
        "from_address": event.giver,
        "to_address": event.taker,
        "to_muxed_kind": kind,
        "to_muxed_id": shown[kind] if kind else None,
        "to_muxed_bytes": value if kind == "text" and text is None else None,
        **asset_columns("asset", event.asset),
        "contract_id": event.contract,
        "amount": Decimal(event.amount) if abs(event.amount) < 10**38 else None,
        "amount_raw": str(event.amount),
        "is_native_asset": event.asset is not None and event.asset.type == xdr.AssetType.ASSET_TYPE_NATIVE,
        "is_fee": event.kind == "fee",
        "is_fee_refund": event.refund,
        "names_administrator": event.administrator and event.asset is None,
        "events_mode": mode,
    }


def decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def contract_of(tx: Transaction, asset: Any) -> str:
    preimage = xdr.HashIDPreimageContractID(
        xdr.Hash(tx.ledger.network_id),
        xdr.ContractIDPreimage(xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET, from_asset=asset),
    )
    whole = xdr.HashIDPreimage(xdr.EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID, contract_id=preimage)
    return StrKey.encode_contract(digest(whole))


# -- fees and meta


def meta(tx: Transaction) -> Any:
    return arm(tx.processed.tx_apply_processing)


def own_mode(tx: Transaction) -> str:
    return "unified" if any(topic_name(e.event) == "fee" for e in meta_events(tx)) else "derived"


def meta_events(tx: Transaction) -> list[Any]:
    return list(meta(tx).events) if tx.processed.tx_apply_processing.v == 4 else []


def fees(tx: Transaction, mode: str) -> Iterator[Event]:
    if mode == "unified":
        for holder in meta_events(tx):
            event = parse(tx, holder.event, 4) if topic_name(holder.event) == "fee" else None
            native = event is not None and event.contract == contract_of(tx, NATIVE)
            if event is not None and native and len(arm(holder.event.body).topics) == 2:
                yield replace(event, asset=NATIVE)
        return
    payer, contract = tx.fee_account, contract_of(tx, NATIVE)
    charge = plain(tx.result.fee_charged)
    refund = 0
    if tx.soroban is not None:
        seen = list(balances(payer, tx.processed.fee_processing))
        first = next((state for state, _ in seen if state is not None), 0)
        last = next((update for _, update in reversed(seen) if update is not None), 0)
        charge = first - last
        after = [*getattr(meta(tx), "tx_changes_after", xdr.LedgerEntryChanges([])).ledger_entry_changes]
        after += getattr(getattr(tx.processed, "post_tx_apply_fee_processing", None), "ledger_entry_changes", [])
        before = None
        for state, update in balances(payer, xdr.LedgerEntryChanges(after)):
            if update is not None and before is not None:
                refund += update - before
            before = state
    yield Event("fee", charge, contract, NATIVE, payer)
    if refund:
        yield Event("fee", -refund, contract, NATIVE, payer)


def balances(payer: str | None, changes: Any) -> Iterator[tuple[int | None, int | None]]:
    for change in changes.ledger_entry_changes:
        entry = arm(change)
        if change.type not in (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_UPDATED):
            continue
        if entry.data.account is not None and account(entry.data.account.account_id) == payer:
            balance = plain(entry.data.account.balance)
            yield (balance, None) if change.type == Change.LEDGER_ENTRY_STATE else (None, balance)


def operation_meta(op: Operation) -> Any:
    metas = meta(op.transaction)
    found = metas if isinstance(metas, list) else metas.operations
    return found[op.index - 1] if len(found) == len(op.transaction.operations) else None


def changes(op: Operation) -> list[Any]:
    of_operation = operation_meta(op)
    return [] if of_operation is None else of_operation.changes.ledger_entry_changes


# -- operations


def operation_events(op: Operation, mode: str) -> list[Event]:
    tx, version = op.transaction, op.transaction.processed.tx_apply_processing.v
    if mode != "unified" and not op.successful:
        return []
    if mode != "unified" and op.result.tr.type != op.type and op.type != Op.CREATE_PASSIVE_SELL_OFFER:
        raise ValueError(f"the result of a {op.type.name} is of type {op.result.tr.type.name}")
    if mode == "unified" or op.type == Op.INVOKE_HOST_FUNCTION:
        if version == 3 and mode != "unified":
            soroban = meta(tx).soroban_meta
            raw = soroban.events if soroban is not None else []
        else:
            raw = getattr(operation_meta(op), "events", []) if version == 4 else []
        found = [parse(tx, event, version) for event in raw if topic_name(event) in KINDS]
        events = [event for event in found if event is not None]
        if mode == "unified":
            return events
    else:
        derived = classic(op)
        if derived is None:
            return []
        events = derived
    if plain(tx.ledger.header.ledger_version) < 8:
        return reconciled(op, events)
    return events


def classic(op: Operation) -> list[Event] | None:
    """None for what moves nothing, or whose changes do not say what it moved."""
    body, source, effect = op.body, str(muxed(op.source)[0]), op.effect
    match op.type:
        case Op.CREATE_ACCOUNT:
            return [moved(op, NATIVE, body.starting_balance, source, account(body.destination), memo(op.transaction))]
        case Op.PAYMENT:
            return [paid(op, body.asset, body.amount, body.destination)]
        case Op.ACCOUNT_MERGE:
            return [paid(op, NATIVE, effect, body)]
        case Op.PATH_PAYMENT_STRICT_RECEIVE:
            return [*trades(op, effect.offers), paid(op, body.dest_asset, body.dest_amount, body.destination)]
        case Op.PATH_PAYMENT_STRICT_SEND:
            return [*trades(op, effect.offers), paid(op, body.dest_asset, effect.last.amount, body.destination)]
        case Op.MANAGE_SELL_OFFER | Op.MANAGE_BUY_OFFER | Op.CREATE_PASSIVE_SELL_OFFER:
            return list(trades(op, effect.offers_claimed))
        case Op.CREATE_CLAIMABLE_BALANCE:
            return [moved(op, body.asset, body.amount, source, balance_id(effect))]
        case Op.CLAIM_CLAIMABLE_BALANCE | Op.CLAWBACK_CLAIMABLE_BALANCE:
            entry = removed_balance(op)
            if entry is None:
                return None
            holder = balance_id(body.balance_id)
            if op.type == Op.CLAIM_CLAIMABLE_BALANCE:
                return [moved(op, entry.asset, entry.amount, holder, source, receiver(op, op.source))]
            return [lone(op, "clawback", entry.asset, entry.amount, giver=holder)]
        case Op.CLAWBACK:
            return [lone(op, "clawback", body.asset, body.amount, giver=muxed(body.from_)[0])]
        case Op.LIQUIDITY_POOL_DEPOSIT | Op.LIQUIDITY_POOL_WITHDRAW:
            return pool_movement(op)
        case Op.ALLOW_TRUST | Op.SET_TRUST_LINE_FLAGS:
            return list(revocation(op))
        case Op.INFLATION:
            return [lone(op, "mint", NATIVE, p.amount, taker=account(p.destination)) for p in effect]
    return None


def moved(
    op: Operation, asset: Any, amount: Any, giver: str | None, taker: str | None, mux: tuple[str | None, Any] = NO_MUX
) -> Event:
    """A transfer, or a mint or burn where one side is the issuer."""
    event = Event("transfer", plain(amount), contract_of(op.transaction, asset), asset, giver, taker, mux)
    return decided(event)


def decided(event: Event) -> Event:
    issuer = asset_columns("a", event.asset)["a_issuer"]
    if issuer is None or (event.giver == issuer) == (event.taker == issuer):
        return event
    if event.giver == issuer:
        return replace(event, kind="mint", giver=None)
    return replace(event, kind="burn", taker=None)


def lone(
    op: Operation, kind: str, asset: Any, amount: Any, giver: str | None = None, taker: str | None = None
) -> Event:
    return Event(kind, plain(amount), contract_of(op.transaction, asset), asset, giver, taker)


def paid(op: Operation, asset: Any, amount: Any, destination: Any) -> Event:
    return moved(op, asset, amount, muxed(op.source)[0], muxed(destination)[0], receiver(op, destination))


def receiver(op: Operation, address: Any) -> tuple[str | None, Any]:
    return memo(op.transaction) if address.med25519 is None else ("id", plain(address.med25519.id))


def memo(tx: Transaction) -> tuple[str | None, Any]:
    said = tx.body.memo
    if said.id is not None:
        return "id", plain(said.id)
    if said.text is not None:
        return "text", said.text
    given = said.hash if said.hash is not None else said.ret_hash
    return NO_MUX if given is None else ("hash", plain(given))


def trades(op: Operation, atoms: list[Any]) -> Iterator[Event]:
    source = muxed(op.source)[0]
    for atom in atoms:
        trade = arm(atom)
        if atom.liquidity_pool is not None:
            other = pool_strkey(plain(trade.liquidity_pool_id))
        elif atom.v0 is not None:
            other = StrKey.encode_ed25519_public_key(plain(trade.seller_ed25519))
        else:
            other = str(account(trade.seller_id))
        yield moved(op, trade.asset_bought, trade.amount_bought, source, other)
        yield moved(op, trade.asset_sold, trade.amount_sold, other, source)


def removed_balance(op: Operation) -> Any:
    wanted = op.body.balance_id.to_xdr_bytes()
    found, gone = None, False
    for change in changes(op):
        if change.type == Change.LEDGER_ENTRY_REMOVED:
            key = change.removed.claimable_balance
            gone |= key is not None and key.balance_id.to_xdr_bytes() == wanted
        elif change.type in (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_RESTORED):
            entry = arm(change).data.claimable_balance
            if entry is not None and entry.balance_id.to_xdr_bytes() == wanted:
                found = entry
    return found if gone else None


def pools(op: Operation) -> dict[bytes, list[Any]]:
    """Pool id → [entry before, entry after], of pools whose entry the changes hold, by id."""
    found: dict[bytes, list[Any]] = {}
    for change in changes(op):
        if change.type == Change.LEDGER_ENTRY_REMOVED:
            key = change.removed.liquidity_pool
            if key is not None:
                found.setdefault(plain(key.liquidity_pool_id), [None, None])[1] = None
            continue
        entry = arm(change).data.liquidity_pool
        if entry is None:
            continue
        pair = found.setdefault(plain(entry.liquidity_pool_id), [None, None])
        if change.type in (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_RESTORED):
            pair[0] = pair[0] or entry
        else:
            pair[1] = entry
    return {pool: pair for pool, pair in sorted(found.items()) if any(pair)}


def flows(pair: list[Any]) -> list[tuple[Any, int]]:
    """(asset, by how much its reserve changed) of a pool; -1 where a reserve is negative."""
    bodies = [entry.body.constant_product if entry is not None else None for entry in pair]
    params = (bodies[0] or bodies[1]).params
    reserves = [[plain(b.reserve_a), plain(b.reserve_b)] if b is not None else [0, 0] for b in bodies]
    differences = [abs(a - b) if a >= 0 and b >= 0 else -1 for a, b in zip(*reserves, strict=True)]
    return list(zip([params.asset_a, params.asset_b], differences, strict=True))


def pool_movement(op: Operation) -> list[Event] | None:
    pool, source = plain(op.body.liquidity_pool_id), muxed(op.source)[0]
    deposit = op.type == Op.LIQUIDITY_POOL_DEPOSIT
    pair = pools(op).get(pool)
    parts = flows(pair) if pair is not None else []
    if not parts or min(amount for _, amount in parts) < int(deposit):
        return None
    if deposit:
        return [moved(op, asset, amount, source, pool_strkey(pool)) for asset, amount in parts]
    mux = receiver(op, op.source)
    return [moved(op, asset, amount, pool_strkey(pool), source, mux) for asset, amount in parts]


def revocation(op: Operation) -> Iterator[Event]:
    tx = op.transaction
    for pool, pair in pools(op).items():
        for asset, amount in flows(pair):
            if amount <= 0:
                continue
            if asset_columns("a", asset)["a_issuer"] == account(op.body.trustor):
                yield lone(op, "burn", asset, amount, giver=pool_strkey(pool))
                continue
            preimage = xdr.HashIDPreimageRevokeID(
                Keypair.from_public_key(str(muxed(tx.source)[0])).xdr_account_id(),
                tx.body.seq_num,
                xdr.Uint32(op.index - 1),
                xdr.PoolID(xdr.Hash(pool)),
                asset,
            )
            kind = xdr.EnvelopeType.ENVELOPE_TYPE_POOL_REVOKE_OP_ID
            created = digest(xdr.HashIDPreimage(kind, revoke_id=preimage))
            taker = StrKey.encode_claimable_balance(b"\0" + created)
            contract = contract_of(tx, asset)
            yield Event("transfer", amount, contract, asset, pool_strkey(pool), taker)


def reconciled(op: Operation, events: list[Event]) -> list[Event]:
    """With what a bug before protocol 8 made or destroyed of the source's lumens."""
    source = muxed(op.source)[0]
    before, steps = 0, []
    for change in changes(op):
        if change.type == Change.LEDGER_ENTRY_REMOVED:
            key = change.removed.account
            if key is not None and account(key.account_id) == source:
                steps.append(-before)
                before = 0
            continue
        entry = arm(change).data.account
        if entry is None or account(entry.account_id) != source:
            continue
        balance = plain(entry.balance)
        if not 0 <= balance < SAFE:
            return events
        if change.type not in (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_RESTORED):
            steps.append(balance - before)
        before = balance
    flows_of_source = []
    for event in events:
        if event.asset is not None and event.asset.type == xdr.AssetType.ASSET_TYPE_NATIVE:
            flows_of_source += [-event.amount] if event.giver == source else []
            flows_of_source += [event.amount] if event.taker == source else []
    for values in (steps, flows_of_source):
        if any(abs(value) >= SAFE or abs(sum(values[: k + 1])) >= SAFE for k, value in enumerate(values)):
            return events
    surplus = sum(steps) - sum(flows_of_source)
    if surplus > 0:
        return [lone(op, "mint", NATIVE, surplus, taker=source), *events]
    return [*events, lone(op, "burn", NATIVE, -surplus, giver=source)] if surplus else events


# -- contract events

KINDS = ("transfer", "mint", "burn", "clawback")
Val = xdr.SCValType


def topic_name(event: Any) -> str | None:
    """The first topic of a contract's event, if it is a symbol."""
    if event.type != xdr.ContractEventType.CONTRACT:
        return None
    topics = arm(event.body).topics
    if not topics or topics[0].type != Val.SCV_SYMBOL:
        return None
    return topics[0].sym.sc_symbol.decode("latin-1")


def parse(tx: Transaction, event: Any, version: int) -> Event | None:
    """None where the event does not follow CAP-67."""
    kind, topics, data = str(topic_name(event)), arm(event.body).topics, arm(event.body).data
    with_admin = version == 3 and kind in ("mint", "clawback")
    needed = 2 if kind == "transfer" or with_admin else 1
    if event.contract_id is None or len(topics) < 1 + needed:
        return None
    named = topics[1 : 1 + needed]
    if any(topic.type != Val.SCV_ADDRESS for topic in named):
        return None
    content = amount_of(data, version)
    if content is None:
        return None
    amount, mux = content
    addresses = [unmuxed(topic.address) for topic in named]
    contract = StrKey.encode_contract(plain(event.contract_id))
    giver = addresses[0] if kind == "transfer" else addresses[-1] if kind != "mint" else None
    taker = addresses[-1] if kind in ("transfer", "mint") else None
    asset = None
    if len(topics) == 2 + needed and topics[-1].type == Val.SCV_STRING:
        asset = named_asset(plain(topics[-1].str))
    if asset is not None and contract_of(tx, asset) != contract:
        asset = None
    third_address = len(topics) >= 3 and topics[2].type == Val.SCV_ADDRESS
    administrator = kind in ("mint", "clawback") and version != 3 and third_address
    found = Event(kind, amount, contract, asset, giver, taker, mux, False, administrator)
    return decided(found) if asset is not None and version == 3 and kind == "transfer" else found


def unmuxed(address: Any) -> str:
    if address.muxed_account is not None:
        return StrKey.encode_ed25519_public_key(plain(address.muxed_account.ed25519))
    return sc_address(address)


def number(value: Any) -> int | None:
    return plain(value.i128.hi) << 64 | plain(value.i128.lo) if value.type == Val.SCV_I128 else None


def amount_of(data: Any, version: int) -> tuple[int, tuple[str | None, Any]] | None:
    amount, mux = number(data), NO_MUX
    if amount is not None:
        return amount, mux
    if version == 3 or data.type != Val.SCV_MAP or data.map is None:
        return None
    for entry in data.map.sc_map:
        if entry.key.type != Val.SCV_SYMBOL:
            return None
        match entry.key.sym.sc_symbol:
            case b"amount":
                amount = number(entry.val)
                if amount is None:
                    return None
            case b"to_muxed_id":
                given = muxed_value(entry.val)
                if given is None:
                    return None
                mux = given
    return None if amount is None else (amount, mux)


def muxed_value(value: Any) -> tuple[str | None, Any] | None:
    match value.type:
        case Val.SCV_U64:
            return "id", plain(value.u64)
        case Val.SCV_STRING:
            return "text", plain(value.str)
        case Val.SCV_BYTES if len(plain(value.bytes)) == 32:
            return "hash", plain(value.bytes)
        case Val.SCV_VOID:
            return NO_MUX
    return None


def named_asset(text: bytes) -> Any:
    """The Asset of a SEP-11 name, None if it is none."""
    if text == b"native":
        return NATIVE
    match = re.fullmatch(rb"([A-Za-z0-9]{1,12}):(G[A-Z2-7]{55})", text)
    if match is None or not StrKey.is_valid_ed25519_public_key(match[2].decode()):
        return None
    issuer = Keypair.from_public_key(match[2].decode()).xdr_account_id()
    if len(match[1]) <= 4:
        four = xdr.AlphaNum4(xdr.AssetCode4(match[1].ljust(4, b"\0")), issuer)
        return xdr.Asset(xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4, alpha_num4=four)
    twelve = xdr.AlphaNum12(xdr.AssetCode12(match[1].ljust(12, b"\0")), issuer)
    return xdr.Asset(xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12, alpha_num12=twelve)


__all__ = ["ttp_rows"]
