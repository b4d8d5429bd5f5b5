"""Expected rows of ``effects``: Horizon's effects, one operation at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stellar_sdk import StrKey, xdr

from .changes import key_of
from .join import Operation
from .schema import SCHEMAS
from .trades import seller as seller_of
from .ttp_events import amount_of, contract_of, named_asset, operation_meta, topic_name
from .values import (
    account,
    arm,
    asset_columns,
    balance_id,
    claimant_struct,
    muxed,
    muxed_strkey,
    plain,
    pool_strkey,
    sc_address,
    signer_key,
    text51,
)  # fmt: skip

Change = xdr.LedgerEntryChangeType
Entry = xdr.LedgerEntryType
Op = xdr.OperationType
NATIVE = xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
TYPES = {
    0: "account_created",
    1: "account_removed",
    2: "account_credited",
    3: "account_debited",
    4: "account_thresholds_updated",
    5: "account_home_domain_updated",
    6: "account_flags_updated",
    7: "account_inflation_destination_updated",
    10: "signer_created",
    11: "signer_removed",
    12: "signer_updated",
    20: "trustline_created",
    21: "trustline_removed",
    22: "trustline_updated",
    23: "trustline_authorized",
    24: "trustline_deauthorized",
    25: "trustline_authorized_to_maintain_liabilities",
    26: "trustline_flags_updated",
    33: "trade",
    40: "data_created",
    41: "data_removed",
    42: "data_updated",
    43: "sequence_bumped",
    50: "claimable_balance_created",
    51: "claimable_balance_claimant_created",
    52: "claimable_balance_claimed",
    80: "claimable_balance_clawed_back",
    90: "liquidity_pool_deposited",
    91: "liquidity_pool_withdrew",
    92: "liquidity_pool_trade",
    93: "liquidity_pool_created",
    94: "liquidity_pool_removed",
    95: "liquidity_pool_revoked",
    96: "contract_credited",
    97: "contract_debited",
    98: "extend_footprint_ttl",
    99: "restore_footprint",
    **{
        60 + 3 * i + j: f"{entry}_sponsorship_{step}"
        for i, entry in enumerate(("account", "trustline", "data", "claimable_balance", "signer"))
        for j, step in enumerate(("created", "updated", "removed"))
    },
}
CODES = {name: code for code, name in TYPES.items()}
NO_DETAILS = {column.name: None for column in SCHEMAS["effects"]}


@dataclass
class Effect:
    type: str
    who: Any
    """G address and M address or None."""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Move:
    """What a change made of an entry."""

    key: bytes
    before: Any
    after: Any

    @property
    def data(self) -> Any:
        return arm((self.after or self.before).data)

    @property
    def type(self) -> Any:
        return (self.after or self.before).data.type

    def step(self) -> str:
        return "created" if self.before is None else "removed" if self.after is None else "updated"


def effect_rows(op: Operation) -> list[dict[str, Any]]:
    tx = op.transaction
    if not op.successful:
        return []
    return [
        {
            **NO_DETAILS,
            **tx.ledger.position_columns,
            "transaction_id": tx.id,
            "transaction_index": tx.index,
            "operation_id": op.id,
            "operation_index": op.index,
            "transaction_hash": tx.hash,
            "effect_index": index,
            "effect_id": f"{op.id:019}-{index:010}",
            "effect_type": CODES[effect.type],
            "effect_type_string": effect.type,
            "address": effect.who[0],
            "address_muxed": effect.who[1],
            **effect.details,
        }
        for index, effect in enumerate(effects(op), start=1)
    ]


def effects(op: Operation) -> Iterator[Effect]:
    moves = sorted(moves_of(op), key=lambda move: move.key)
    yield from own_effects(op, moves)
    for move in moves:
        yield from entry_sponsorship(op, move)
        yield from signer_sponsorships(move)
    for move in moves:
        if move.type == Entry.LIQUIDITY_POOL and move.before is None:
            yield Effect("liquidity_pool_created", muxed(op.source), pool_state(move))
        elif move.type == Entry.LIQUIDITY_POOL and move.after is None:
            yield Effect("liquidity_pool_removed", muxed(op.source), pool_id(move.data.liquidity_pool_id))


def moves_of(op: Operation) -> Iterator[Move]:
    """Horizon's changes; without those whose state before the meta leaves out."""
    meta = operation_meta(op)
    items = meta.changes.ledger_entry_changes if meta is not None else []
    keys = [(item.removed if item.removed is not None else key_of(arm(item))).to_xdr_bytes() for item in items]
    states = (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_RESTORED)
    ends = (Change.LEDGER_ENTRY_UPDATED, Change.LEDGER_ENTRY_REMOVED)
    for i, (item, key) in enumerate(zip(items, keys, strict=True)):
        if item.type in ends:
            if i and items[i - 1].type in states and keys[i - 1] == key:
                yield Move(key, arm(items[i - 1]), item.updated)
        elif item.type == Change.LEDGER_ENTRY_CREATED:
            yield Move(key, None, item.created)
        elif item.type == Change.LEDGER_ENTRY_RESTORED:
            is_state = i + 1 < len(items) and items[i + 1].type in ends and keys[i + 1] == key
            if not is_state:
                yield Move(key, None, item.restored)


# -- what effects show


def amount(value: Any, asset: Any) -> dict[str, Any]:
    number = plain(value)
    return {
        "amount": Decimal(number) if abs(number) < 10**38 else None,
        "amount_raw": str(number),
        **asset_columns("asset", asset),
    }


def unmuxed(address: Any) -> tuple[str | None, None]:
    return account(address), None


def pool_id(identifier: Any) -> dict[str, Any]:
    return {"liquidity_pool_id": pool_strkey(plain(identifier))}


def line_asset(line: Any) -> dict[str, Any]:
    shares = line.asset.liquidity_pool_id
    return {**asset_columns("asset", line.asset), **(pool_id(shares) if shares is not None else {})}


def pool_state(move: Move) -> dict[str, Any]:
    body = move.data.body.constant_product
    return {
        **pool_id(move.data.liquidity_pool_id),
        "liquidity_pool_type": "constant_product",
        "liquidity_pool_fee": plain(body.params.fee),
        "trustline_count": plain(body.pool_shares_trust_line_count),
        "pool_share_count": plain(body.total_pool_shares),
        **{f"asset_a_{part}": value for part, value in parts(body.params.asset_a).items()},
        "asset_a_amount": plain(body.reserve_a),
        **{f"asset_b_{part}": value for part, value in parts(body.params.asset_b).items()},
        "asset_b_amount": plain(body.reserve_b),
    }


def parts(asset: Any) -> dict[str, Any]:
    return {name.removeprefix("asset_"): value for name, value in asset_columns("asset", asset).items()}


def holdings(move: Move) -> list[int | None]:
    """By how much reserve A, reserve B and the shares changed; None where they are not numbers that a pool can have."""
    bodies = [entry.data.liquidity_pool.body.constant_product if entry else None for entry in (move.before, move.after)]
    pairs = [
        [plain(getattr(body, name)) if body is not None else 0 for body in bodies]
        for name in ("reserve_a", "reserve_b", "total_pool_shares")
    ]
    return [None if min(pair) < 0 else pair[1] - pair[0] for pair in pairs]


# -- operations


def own_effects(op: Operation, moves: list[Move]) -> Iterator[Effect]:
    body, source = op.body, muxed(op.source)
    match op.type:
        case Op.CREATE_ACCOUNT:
            who = unmuxed(body.destination)
            yield Effect("account_created", who, {"starting_balance": plain(body.starting_balance)})
            yield Effect("account_debited", source, amount(body.starting_balance, NATIVE))
            yield Effect("signer_created", who, {"signer_key": who[0], "signer_weight": 1})
        case Op.PAYMENT:
            yield Effect("account_credited", muxed(body.destination), amount(body.amount, body.asset))
            yield Effect("account_debited", source, amount(body.amount, body.asset))
        case Op.PATH_PAYMENT_STRICT_RECEIVE | Op.PATH_PAYMENT_STRICT_SEND:
            yield from path_payment(op, moves)
        case Op.MANAGE_SELL_OFFER | Op.MANAGE_BUY_OFFER | Op.CREATE_PASSIVE_SELL_OFFER:
            yield from trades(op, op.effect.offers_claimed, moves)
        case Op.SET_OPTIONS:
            yield from set_options(op, moves)
        case Op.CHANGE_TRUST:
            lines = [m for m in moves if m.type == Entry.TRUSTLINE and m.data.asset.type == body.line.type]
            for move in lines[:1]:
                yield Effect(f"trustline_{move.step()}", source, {**line_asset(move.data), "limit": plain(body.limit)})
        case Op.ALLOW_TRUST | Op.SET_TRUST_LINE_FLAGS:
            yield from trust_flags(op)
            yield from revocation(op, moves)
        case Op.ACCOUNT_MERGE:
            yield Effect("account_debited", source, amount(op.effect, NATIVE))
            yield Effect("account_credited", muxed(body), amount(op.effect, NATIVE))
            yield Effect("account_removed", source)
        case Op.INFLATION:
            for payout in op.effect:
                yield Effect("account_credited", unmuxed(payout.destination), amount(payout.amount, NATIVE))
        case Op.MANAGE_DATA:
            for move in [m for m in moves if m.type == Entry.DATA][:1]:
                value = {"data_value": plain(move.data.data_value)} if move.after is not None else {}
                yield Effect(f"data_{move.step()}", source, {"data_name": text51(plain(body.data_name)), **value})
        case Op.BUMP_SEQUENCE:
            for move in [m for m in moves if m.type == Entry.ACCOUNT and m.before and m.after][:1]:
                number = plain(move.data.seq_num)
                if number != plain(move.before.data.account.seq_num):
                    yield Effect("sequence_bumped", source, {"new_seq": number})
        case Op.CREATE_CLAIMABLE_BALANCE:
            entry = balance_entry(op, op.effect)
            yield from balance_created(op, op.effect, body.amount, body.asset, body.claimants, entry)
            yield Effect("account_debited", source, amount(body.amount, body.asset))
        case Op.CLAIM_CLAIMABLE_BALANCE:
            entry = balance_entry(op, body.balance_id)
            held = amount(entry.amount, entry.asset) if entry is not None else {}
            shown = {"balance_id": balance_id(body.balance_id), **held, **clawback_flag(entry)}
            yield Effect("claimable_balance_claimed", source, shown)
            yield Effect("account_credited", source, held)
        case Op.CLAWBACK:
            yield Effect("account_credited", source, amount(body.amount, body.asset))
            yield Effect("account_debited", muxed(body.from_), amount(body.amount, body.asset))
        case Op.CLAWBACK_CLAIMABLE_BALANCE:
            entry = balance_entry(op, body.balance_id)
            yield Effect("claimable_balance_clawed_back", source, {"balance_id": balance_id(body.balance_id)})
            held = amount(entry.amount, entry.asset) if entry is not None else {}
            yield Effect("account_credited", source, held)
        case Op.LIQUIDITY_POOL_DEPOSIT | Op.LIQUIDITY_POOL_WITHDRAW:
            yield pool_movement(op, moves)
        case Op.INVOKE_HOST_FUNCTION:
            yield from invocation(op, moves)
        case Op.EXTEND_FOOTPRINT_TTL | Op.RESTORE_FOOTPRINT:
            entries = [plain(m.data.key_hash) for m in moves if m.type == Entry.TTL and m.after is not None]
            if op.type == Op.RESTORE_FOOTPRINT:
                yield Effect("restore_footprint", source, {"entries": entries})
            else:
                extend_to = plain(body.extend_to)
                yield Effect("extend_footprint_ttl", source, {"entries": entries, "extend_to": extend_to})


def path_payment(op: Operation, moves: list[Move]) -> Iterator[Effect]:
    body, effect = op.body, op.effect
    if op.type == Op.PATH_PAYMENT_STRICT_SEND:
        received, sent = plain(effect.last.amount), plain(body.send_amount)
    else:
        received, sent = plain(body.dest_amount), sent_for_strict_receive(effect)
    yield Effect("account_credited", muxed(body.destination), amount(received, body.dest_asset))
    yield Effect("account_debited", muxed(op.source), amount(sent, body.send_asset))
    yield from trades(op, effect.offers, moves)


def sent_for_strict_receive(effect: Any) -> int:
    """What the atoms of the first hop took; they are those that lead with one asset bought."""
    total, first = 0, None
    for atom in map(arm, effect.offers):
        asset = atom.asset_bought.to_xdr_bytes()
        first = first or asset
        if asset != first:
            break
        total += plain(atom.amount_bought)
    return total if effect.offers else int(plain(effect.last.amount))


def trades(op: Operation, atoms: Iterable[Any], moves: list[Move]) -> Iterator[Effect]:
    for atom in atoms:
        trade = arm(atom)
        pool_gave = (trade.asset_sold, plain(trade.amount_sold))
        pool_got = (trade.asset_bought, plain(trade.amount_bought))
        if pool_gave[1] == 0 and pool_got[1] == 0:
            continue
        if atom.liquidity_pool is not None:
            states = [m for m in moves if is_pool(m, trade.liquidity_pool_id)]
            state = pool_state(states[0]) if states else {}
            shown = {**swap(pool_gave, pool_got), **pool_id(trade.liquidity_pool_id), **state}
            yield Effect("liquidity_pool_trade", muxed(op.source), shown)
            continue
        offer, owner, buyer = plain(trade.offer_id), seller_of(atom), muxed(op.source)
        shown = {"offer_id": offer, "seller": owner, "seller_muxed": None, **swap(pool_got, pool_gave)}
        yield Effect("trade", buyer, shown)
        shown = {"offer_id": offer, "seller": buyer[0], "seller_muxed": buyer[1], **swap(pool_gave, pool_got)}
        yield Effect("trade", (owner, None), shown)


def swap(sold: tuple[Any, int], bought: tuple[Any, int]) -> dict[str, Any]:
    return {
        **asset_columns("sold_asset", sold[0]),
        "sold_amount": sold[1],
        **asset_columns("bought_asset", bought[0]),
        "bought_amount": bought[1],
    }


def is_pool(move: Move, identifier: Any) -> bool:
    return move.type == Entry.LIQUIDITY_POOL and bool(plain(move.data.liquidity_pool_id) == plain(identifier))


def pool_movement(op: Operation, moves: list[Move]) -> Effect:
    pool = op.body.liquidity_pool_id
    found = [m for m in moves if is_pool(m, pool)]
    is_deposit = op.type == Op.LIQUIDITY_POOL_DEPOSIT
    names = ("deposited", "deposited", "received") if is_deposit else ("received", "received", "redeemed")
    shown = pool_id(pool)
    if found:
        shown |= pool_state(found[0])
        columns = [f"reserve_a_{names[0]}", f"reserve_b_{names[1]}", f"shares_{names[2]}"]
        signed = [value if is_deposit or value is None else -value for value in holdings(found[0])]
        shown |= dict(zip(columns, signed, strict=True))
    return Effect("liquidity_pool_deposited" if is_deposit else "liquidity_pool_withdrew", muxed(op.source), shown)


# -- accounts and trust lines

ACCOUNT_FLAGS = {
    1: "auth_required_flag",
    2: "auth_revocable_flag",
    4: "auth_immutable_flag",
    8: "auth_clawback_enabled_flag",
}
LINE_FLAGS = {1: "authorized_flag", 2: "authorized_to_maintain_liabilities_flag", 4: "clawback_enabled_flag"}


def changed_flags(names: dict[int, str], flags: Any, cleared: Any) -> dict[str, bool]:
    given, taken = plain(flags) or 0, plain(cleared) or 0
    is_set = {name: True for bit, name in names.items() if given & bit}
    return is_set | {name: False for bit, name in names.items() if taken & bit}


def set_options(op: Operation, moves: list[Move]) -> Iterator[Effect]:
    body, source = op.body, muxed(op.source)
    if body.home_domain is not None:
        yield Effect("account_home_domain_updated", source, {"home_domain": text51(plain(body.home_domain))})
    thresholds = {name: plain(getattr(body, name)) for name in ("low_threshold", "med_threshold", "high_threshold")}
    if any(value is not None for value in thresholds.values()):
        yield Effect("account_thresholds_updated", source, thresholds)
    flags = changed_flags(ACCOUNT_FLAGS, body.set_flags, body.clear_flags)
    if flags:
        yield Effect("account_flags_updated", source, flags)
    if body.inflation_dest is not None:
        shown = {"inflation_destination": account(body.inflation_dest)}
        yield Effect("account_inflation_destination_updated", source, shown)
    for move in moves:
        if move.type == Entry.ACCOUNT and move.before is not None and move.after is not None:
            before, after = weights(move.before.data.account), weights(move.after.data.account)
            for key in sorted(before):
                if key not in after:
                    yield Effect("signer_removed", source, {"signer_key": key})
                elif after[key] != before[key]:
                    yield Effect("signer_updated", source, {"signer_key": key, "signer_weight": after[key]})
            for key in sorted(after.keys() - before.keys()):
                yield Effect("signer_created", source, {"signer_key": key, "signer_weight": after[key]})


def weights(entry: Any) -> dict[str, int]:
    master = plain(entry.thresholds)[0]
    found = {str(account(entry.account_id)): master} if master else {}
    for signer in entry.signers:
        found.setdefault(signer_key(signer.key), plain(signer.weight))
    return found


def trust_flags(op: Operation) -> Iterator[Effect]:
    body, source = op.body, muxed(op.source)
    if op.type == Op.SET_TRUST_LINE_FLAGS:
        line = {"trustor": account(body.trustor), **asset_columns("asset", body.asset)}
        flags = changed_flags(LINE_FLAGS, body.set_flags, body.clear_flags)
        yield Effect("trustline_flags_updated", source, line | flags)
        return
    code = arm(body.asset)
    kind = "credit_alphanum4" if body.asset.asset_code4 is not None else "credit_alphanum12"
    line = {
        "trustor": account(body.trustor),
        "asset_type": kind,
        "asset_code": text51(plain(code).rstrip(b"\0")),
        "asset_issuer": source[0],
    }
    granted = plain(body.authorize)
    if granted & 1:
        name, flags = "authorized", {"authorized_flag": True}
    elif granted & 2:
        name, flags = "authorized_to_maintain_liabilities", {"authorized_to_maintain_liabilities_flag": True}
    else:
        name, flags = "deauthorized", changed_flags(LINE_FLAGS, xdr.Uint32(0), xdr.Uint32(3))
    yield Effect(f"trustline_{name}", source, line)
    yield Effect("trustline_flags_updated", source, line | flags)


# -- claimable balances


def balance_entry(op: Operation, identifier: Any) -> Any:
    """The balance as the first of the operation's changes that hold it says."""
    meta = operation_meta(op)
    for item in meta.changes.ledger_entry_changes if meta is not None else []:
        entry = item.removed is None and arm(item).data.claimable_balance
        if entry and entry.balance_id.to_xdr_bytes() == identifier.to_xdr_bytes():
            return entry
    return None


def clawback_flag(entry: Any) -> dict[str, Any]:
    if entry is None:
        return {}
    flags = plain(entry.ext.v1.flags) if entry.ext.v1 is not None else 0
    return {"claimable_balance_clawback_enabled_flag": bool(flags & 1)}


def balance_created(
    op: Operation, identifier: Any, value: Any, asset: Any, claimants: list[Any], entry: Any
) -> Iterator[Effect]:
    shown = {"balance_id": balance_id(identifier), **amount(value, asset)}
    yield Effect("claimable_balance_created", muxed(op.source), shown | clawback_flag(entry))
    for claimant in claimants:
        predicate = claimant_struct(claimant)["predicate"]
        who = unmuxed(claimant.v0.destination)
        yield Effect("claimable_balance_claimant_created", who, shown | {"predicate": predicate})


def revocation(op: Operation, moves: list[Move]) -> Iterator[Effect]:
    pools = [m for m in moves if m.type == Entry.LIQUIDITY_POOL]
    balances = [m.data for m in moves if m.type == Entry.CLAIMABLE_BALANCE and m.before is None]
    if not pools or not balances:
        return
    for entry in balances:
        yield from balance_created(op, entry.balance_id, entry.amount, entry.asset, entry.claimants, entry)
    for move in pools:
        params = move.data.body.constant_product.params
        *reserves, shares = [None if value is None else -value for value in holdings(move)]
        shown = {**pool_state(move), "shares_revoked": shares}
        for letter, asset, gone in zip("ab", (params.asset_a, params.asset_b), reserves, strict=True):
            for entry in balances:
                if plain(entry.amount) == gone and entry.asset.to_xdr_bytes() == asset.to_xdr_bytes():
                    shown[f"reserve_{letter}_revoked"] = gone
                    shown[f"reserve_{letter}_balance_id"] = balance_id(entry.balance_id)
                    break
        yield Effect("liquidity_pool_revoked", muxed(op.source), shown)


# -- sponsorships

SPONSORED = {
    Entry.ACCOUNT: "account",
    Entry.TRUSTLINE: "trustline",
    Entry.DATA: "data",
    Entry.CLAIMABLE_BALANCE: "claimable_balance",
}


def sponsor_of(entry: Any) -> str | None:
    if entry is None or entry.ext.v1 is None:
        return None
    return account(entry.ext.v1.sponsoring_id.sponsorship_descriptor)


def sponsorship(before: str | None, after: str | None) -> tuple[str, dict[str, Any]] | None:
    if before == after:
        return None
    if before is None:
        return "created", {"sponsor": after}
    if after is None:
        return "removed", {"former_sponsor": before}
    return "updated", {"new_sponsor": after, "former_sponsor": before}


def entry_sponsorship(op: Operation, move: Move) -> Iterator[Effect]:
    found = sponsorship(sponsor_of(move.before), sponsor_of(move.after))
    if found is None or move.type not in SPONSORED:
        return
    step, shown = found
    who, data = muxed(op.source), move.data
    if move.type in (Entry.ACCOUNT, Entry.TRUSTLINE):
        who = unmuxed(data.account_id)
    if move.type == Entry.TRUSTLINE:
        shown |= line_asset(data)
    elif move.type == Entry.DATA:
        shown["data_name"] = text51(plain(data.data_name))
    elif move.type == Entry.CLAIMABLE_BALANCE:
        shown["balance_id"] = balance_id(data.balance_id)
    yield Effect(f"{SPONSORED[move.type]}_sponsorship_{step}", who, shown)


def signer_sponsorships(move: Move) -> Iterator[Effect]:
    if move.type != Entry.ACCOUNT:
        return
    before, after = sponsors(move.before), sponsors(move.after)
    for key in sorted(before.keys() | after.keys()):
        found = sponsorship(before.get(key), after.get(key))
        if found is not None:
            step, shown = found
            yield Effect(f"signer_sponsorship_{step}", unmuxed(move.data.account_id), {**shown, "signer_key": key})


def sponsors(entry: Any) -> dict[str, str]:
    """Signer → sponsor, of those that have one."""
    body = entry.data.account if entry is not None else None
    if body is None or body.ext.v1 is None or body.ext.v1.ext.v2 is None:
        return {}
    found: dict[str, str] = {}
    for signer, descriptor in zip(body.signers, body.ext.v1.ext.v2.signer_sponsoring_i_ds, strict=False):
        if descriptor.sponsorship_descriptor is not None:
            found.setdefault(signer_key(signer.key), str(account(descriptor.sponsorship_descriptor)))
    return found


# -- contracts


def invocation(op: Operation, moves: list[Move]) -> Iterator[Effect]:
    for event in contract_events(op):
        yield from event_effects(op, event)
    created = [m for m in moves if m.before is None and m.after is not None]
    for move in created:
        if move.type == Entry.TRUSTLINE:
            shown = {**line_asset(move.data), "limit": plain(move.data.limit)}
            yield Effect("trustline_created", unmuxed(move.data.account_id), shown)
    for move in created:
        if move.type == Entry.ACCOUNT:
            who = unmuxed(move.data.account_id)
            yield Effect("account_created", who, {"starting_balance": plain(move.data.balance)})
            yield Effect("signer_created", who, {"signer_key": who[0], "signer_weight": 1})


def contract_events(op: Operation) -> list[Any]:
    meta = op.transaction.processed.tx_apply_processing
    if meta.v3 is not None:
        return list(meta.v3.soroban_meta.events) if meta.v3.soroban_meta is not None else []
    found = operation_meta(op) if meta.v4 is not None else None
    return list(found.events) if found is not None else []


def event_effects(op: Operation, event: Any) -> Iterator[Effect]:
    """Of an event that the contract of a Stellar asset emitted."""
    version, kind = op.transaction.processed.tx_apply_processing.v, topic_name(event)
    addresses = {"transfer": 2, "mint": 1, "burn": 1, "clawback": 1}.get(str(kind))
    if addresses is None or event.contract_id is None:
        return
    if version == 3 and kind in ("mint", "clawback"):
        addresses += 1  # the administrator comes first
    topics = arm(event.body).topics
    if len(topics) != addresses + 2 or topics[-1].type != xdr.SCValType.SCV_STRING:
        return
    named, content = topics[1:-1], amount_of(arm(event.body).data, version)
    asset = named_asset(plain(topics[-1].str))
    if content is None or asset is None or any(topic.type != xdr.SCValType.SCV_ADDRESS for topic in named):
        return
    if contract_of(op.transaction, asset) != StrKey.encode_contract(plain(event.contract_id)):
        return
    value, (mux_kind, mux) = content
    shown = {**amount(value, asset), "contract_event_type": kind}
    if kind != "mint":
        giver = named[0] if kind == "transfer" else named[-1]
        yield holder_effect(op, "debited", giver.address, None, shown)
    if kind in ("transfer", "mint"):
        yield holder_effect(op, "credited", named[-1].address, mux if mux_kind == "id" else None, shown)


def holder_effect(op: Operation, step: str, address: Any, mux: int | None, shown: dict[str, Any]) -> Effect:
    if address.account_id is not None:
        key = plain(address.account_id.account_id.ed25519)
    elif address.muxed_account is not None:
        key = plain(address.muxed_account.ed25519)
        mux = plain(address.muxed_account.id) if mux is None else mux
    else:
        return Effect(f"contract_{step}", muxed(op.source), {**shown, "contract": sc_address(address)})
    who = StrKey.encode_ed25519_public_key(key), muxed_strkey(key, mux) if mux is not None else None
    return Effect(f"account_{step}", who, shown)
