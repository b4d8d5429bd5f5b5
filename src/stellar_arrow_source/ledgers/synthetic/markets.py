"""Operations on the offer book, the pool and trust."""

from __future__ import annotations

from stellar_sdk.xdr import ManageOfferEffect, OperationType, TrustLineFlags

from stellar_arrow_source.ledgers.synthetic.entries import MAX_INT64, Account, Asset, TrustLine
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_address,
    account_id,
    array,
    i64,
    operation_body,
    operation_result,
    pool_address,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Step
from stellar_arrow_source.ledgers.synthetic.world import MAX_STANDING, XLM


def manage_sell_offer(step: Step) -> Applied | None:
    """Posts an offer, takes one of another, or changes or withdraws an own one."""
    choice = step.rng.random()
    if choice < 0.4:
        return _take(step, OperationType.MANAGE_SELL_OFFER)
    if choice < 0.6 or len(step.world.offers) >= MAX_STANDING:
        return _amend(step)
    return _post(step, OperationType.MANAGE_SELL_OFFER)


def manage_buy_offer(step: Step) -> Applied | None:
    """Takes an offer of another, named by what is bought, or posts one."""
    if step.rng.random() < 0.7 or len(step.world.offers) >= MAX_STANDING:
        return _take(step, OperationType.MANAGE_BUY_OFFER)
    return _post(step, OperationType.MANAGE_BUY_OFFER)


def create_passive_sell_offer(step: Step) -> Applied | None:
    """Posts an offer that does not take others of the same price."""
    if len(step.world.offers) >= MAX_STANDING:
        return None
    return _post(step, OperationType.CREATE_PASSIVE_SELL_OFFER)


def liquidity_pool_deposit(step: Step) -> Applied | None:
    """A holder of shares puts both assets into the pool, in the proportion it has."""
    world, pool = step.world, step.world.pool
    holder = _share_holder(step)
    amount_a = step.some_of(min(world.spendable(holder, pool.a), 1_000 * XLM))
    amount_b = -(-amount_a * pool.reserve_b // pool.reserve_a)
    shares = pool.shares * amount_a // pool.reserve_a
    if shares == 0 or amount_b > world.spendable(holder, pool.b):
        return None
    _in_pool(step, holder, amount_a, amount_b, shares)
    prices = u32(1) + u32(100) + u32(100) + u32(1)  # at least 1/100, at most 100/1
    return Applied(
        operation_body(OperationType.LIQUIDITY_POOL_DEPOSIT, pool.id(), i64(amount_a), i64(amount_b), prices),
        operation_result(OperationType.LIQUIDITY_POOL_DEPOSIT),
    )


def liquidity_pool_withdraw(step: Step) -> Applied | None:
    """A holder of shares takes its part out of the pool again."""
    world, pool = step.world, step.world.pool
    holder = _share_holder(step)
    shares = step.some_of(world.lines[holder.id, world.share_asset].balance)
    amount_a, amount_b = shares * pool.reserve_a // pool.shares, shares * pool.reserve_b // pool.shares
    if amount_a == 0 or amount_b == 0:
        return None
    _in_pool(step, holder, -amount_a, -amount_b, -shares)
    return Applied(
        operation_body(OperationType.LIQUIDITY_POOL_WITHDRAW, pool.id(), i64(shares), i64(amount_a), i64(amount_b)),
        operation_result(OperationType.LIQUIDITY_POOL_WITHDRAW),
    )


def change_trust(step: Step) -> Applied | None:
    """Trusts an asset, changes the limit, or gives up an empty line."""
    world, source = step.world, step.source
    asset = world.assets[2 + int(step.rng.random() * 2)]
    line = world.lines.get((source.id, asset.xdr))
    limit = MAX_INT64 if step.rng.random() < 0.5 else 1_000_000 * XLM
    if line is None:
        step.changes.touch(source)
        line = world.trust(source, asset.xdr)
        step.changes.create(line)
    elif line.balance == 0:
        limit = 0
        step.drop_line(line)
    else:
        step.changes.touch(line)
    line.limit = limit
    return Applied(
        operation_body(OperationType.CHANGE_TRUST, asset.xdr, i64(limit)),
        operation_result(OperationType.CHANGE_TRUST),
    )


def allow_trust(step: Step) -> Applied | None:
    """An issuer grants or takes away a user's right to hold its asset."""
    asset = step.world.assets[3]
    line = _line_of_user(step, asset)
    if line is None:
        return None
    authorize = _toggle_authorized(step, line)
    code = Asset.code_xdr(asset.code)
    return Applied(
        operation_body(OperationType.ALLOW_TRUST, account_id(line.holder.id), code, u32(authorize)),
        operation_result(OperationType.ALLOW_TRUST),
    )


def set_trust_line_flags(step: Step) -> Applied | None:
    """As :func:`allow_trust`, with the flags named one by one."""
    asset = step.world.assets[2]
    line = _line_of_user(step, asset)
    if line is None:
        return None
    flag = u32(TrustLineFlags.AUTHORIZED_FLAG)
    flags = VOID + flag if _toggle_authorized(step, line) else flag + VOID  # clearFlags, setFlags
    body = account_id(line.holder.id) + asset.xdr + flags
    return Applied(
        operation_body(OperationType.SET_TRUST_LINE_FLAGS, body),
        operation_result(OperationType.SET_TRUST_LINE_FLAGS),
    )


def _post(step: Step, kind: OperationType) -> Applied | None:
    """A new offer at the usual price, which crosses no standing one."""
    world = step.world
    pairs = world.pairs()
    given, wanted = pairs[int(step.rng.random() * len(pairs))]
    n, d = world.price(given, wanted)
    lots = step.some_of(world.spendable(step.source, given)) // d
    if lots == 0:
        return None
    passive = kind == OperationType.CREATE_PASSIVE_SELL_OFFER
    offer = step.post(given, wanted, lots * d, (n, d), passive=passive)
    if kind == OperationType.MANAGE_BUY_OFFER:
        amount, price = lots * n, u32(d) + u32(n)
    else:
        amount, price = lots * d, u32(n) + u32(d)
    offer_id = b"" if passive else i64(0)
    effect = u32(ManageOfferEffect.MANAGE_OFFER_CREATED) + offer.entry()
    return Applied(
        operation_body(kind, given.xdr, wanted.xdr, i64(amount), price, offer_id),
        operation_result(kind, 0, VOID, effect),
    )


def _take(step: Step, kind: OperationType) -> Applied | None:
    """An offer that is filled at once by a standing one, so that nothing of it remains."""
    offer = step.pick_offer()
    if offer is None:
        return None
    spendable = step.world.spendable(step.source, offer.wanted)
    lots = min(step.some_of(spendable) // offer.n, offer.amount // offer.d)
    if lots == 0:
        return None
    sold, bought = offer.wanted, offer.given
    n, d = offer.n, offer.d
    got, paid, atom = step.trade(offer, lots)
    if kind == OperationType.MANAGE_BUY_OFFER:
        amount, price = got, u32(n) + u32(d)
    else:
        amount, price = paid, u32(d) + u32(n)
    effect = u32(ManageOfferEffect.MANAGE_OFFER_DELETED)
    return Applied(
        operation_body(kind, sold.xdr, bought.xdr, i64(amount), price, i64(0)),
        operation_result(kind, 0, array([atom]), effect),
    )


def _amend(step: Step) -> Applied | None:
    """The seller of a standing offer doubles it, or withdraws it."""
    offer = step.pick_offer()
    if offer is None:
        return None
    step.act_as(offer.seller)
    enough = step.world.spendable(offer.seller, offer.given) > offer.amount
    if enough and len(step.world.offers) < MAX_STANDING // 2:
        step.rebook(offer, 2 * offer.amount)
        effect = u32(ManageOfferEffect.MANAGE_OFFER_UPDATED) + offer.entry()
    else:
        step.rebook(offer, 0)
        effect = u32(ManageOfferEffect.MANAGE_OFFER_DELETED)
    price = u32(offer.n) + u32(offer.d)
    body = offer.given.xdr + offer.wanted.xdr + i64(offer.amount) + price + i64(offer.id)
    return Applied(
        operation_body(OperationType.MANAGE_SELL_OFFER, body),
        operation_result(OperationType.MANAGE_SELL_OFFER, 0, VOID, effect),
    )


def _share_holder(step: Step) -> Account:
    """Lets one of the holders of pool shares be the source."""
    shares = step.world.share_asset
    holders = [line.holder for line in step.world.lines.values() if line.asset == shares]
    step.act_as(holders[int(step.rng.random() * len(holders))])
    return step.source


def _in_pool(step: Step, holder: Account, amount_a: int, amount_b: int, shares: int) -> None:
    """Move both assets from a holder into the pool for shares, or out where the amounts are negative."""
    pool, line = step.world.pool, step.world.lines[holder.id, step.world.share_asset]
    step.changes.touch(pool, line)
    pool.reserve_a += amount_a
    pool.reserve_b += amount_b
    pool.shares += shares
    line.balance += shares
    here, there = account_address(holder.id), pool_address(pool.id())
    for asset, amount in ((pool.a, amount_a), (pool.b, amount_b)):
        step.adjust(holder, asset, -amount)
        if amount > 0:
            step.record(asset, here, there, amount)
        else:
            step.record(asset, there, here, -amount, step.receiver_memo(None))


def _line_of_user(step: Step, asset: Asset) -> TrustLine | None:
    """A user's trust line, with its issuer as the source."""
    line = step.world.lines.get((step.pick_user().id, asset.xdr))
    if line is not None and asset.issuer is not None:
        step.act_as(step.world.issuers[asset.issuer])
    return line


def _toggle_authorized(step: Step, line: TrustLine) -> bool:
    step.changes.touch(line)
    line.flags ^= TrustLineFlags.AUTHORIZED_FLAG
    return bool(line.flags & TrustLineFlags.AUTHORIZED_FLAG)
