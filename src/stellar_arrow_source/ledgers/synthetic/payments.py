"""Operations that move money: payments, accounts, claimable balances, clawbacks."""

from __future__ import annotations

from hashlib import sha256

from stellar_sdk.xdr import ClaimPredicateType, EnvelopeType, OperationType

from stellar_arrow_source.ledgers.synthetic.entries import Account, Asset, ClaimableBalance
from stellar_arrow_source.ledgers.synthetic.events import token_event
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_address,
    account_id,
    array,
    balance_address,
    i64,
    muxed_account,
    operation_body,
    operation_result,
    some,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Step
from stellar_arrow_source.ledgers.synthetic.world import MAX_STANDING, XLM

_DAY = 86_400  # seconds


def payment(step: Step) -> Applied:
    """Pays XLM, or an asset that both sides trust; sometimes to a multiplexed account."""
    world, source = step.world, step.source
    asset = step.rng.choice((world.native, *world.assets))
    receiver = step.pick_holder(asset)
    amount = step.some_of(world.spendable(source, asset)) if world.can_hold(source, asset) else 0
    if receiver is None or amount == 0:
        asset, receiver, amount = world.native, step.pick_user(), 1
    memo_id = step.rng.getrandbits(48) if step.rng.random() < 0.1 else None
    step.move(asset, source, receiver, amount, to_muxed_id=step.receiver_memo(memo_id))
    target = muxed_account(receiver.id, memo_id)
    return Applied(
        operation_body(OperationType.PAYMENT, target, asset.xdr, i64(amount)),
        operation_result(OperationType.PAYMENT),
    )


def path_payment_strict_send(step: Step) -> Applied | None:
    """Sends a fixed amount through the pool or one offer; the receiver gets what comes out."""
    world, receiver = step.world, step.pick_user()
    if step.rng.random() < 0.4:
        given, wanted = (world.pool.a, world.pool.b)
        if step.rng.random() < 0.5:
            given, wanted = wanted, given
        paid = step.some_of(world.spendable(step.source, given))
        if paid < 100:
            return None
        got, atom = step.swap(given, paid)
    else:
        offer = step.pick_offer()
        if offer is None:
            return None
        given, wanted = offer.wanted, offer.given
        lots = min(step.some_of(world.spendable(step.source, given)) // offer.n, offer.amount // offer.d)
        if lots == 0:
            return None
        got, paid, atom = step.trade(offer, lots)
    memo_id = step.rng.getrandbits(32) if step.rng.random() < 0.05 else None
    step.move(wanted, step.source, receiver, got, to_muxed_id=step.receiver_memo(memo_id))
    target = muxed_account(receiver.id, memo_id)
    body = given.xdr + i64(paid) + target + wanted.xdr + i64(got - got // 100) + VOID
    return Applied(
        operation_body(OperationType.PATH_PAYMENT_STRICT_SEND, body),
        operation_result(OperationType.PATH_PAYMENT_STRICT_SEND, 0, array([atom]), _last(receiver, wanted, got)),
    )


def path_payment_strict_receive(step: Step) -> Applied | None:
    """The receiver gets a fixed amount, taken from one offer, or from two by way of a third asset."""
    world, source, receiver = step.world, step.source, step.pick_user()
    offer = step.pick_offer()
    if offer is None:
        return None
    lots = min(step.some_of(world.spendable(source, offer.wanted)) // offer.n, offer.amount // offer.d)
    if lots == 0:
        return None
    given, path, atoms = offer.wanted, [], []
    first = step.pick_offer(given=offer.wanted)
    cost = lots * offer.n
    if (
        first is not None
        and first.wanted is not offer.given
        and first.d == 1
        and first.amount >= cost
        and world.spendable(source, first.wanted) >= cost * first.n
    ):
        _, paid, atom = step.trade(first, cost)
        given, path, atoms = first.wanted, [offer.wanted.xdr], [atom]
        got, _, atom = step.trade(offer, lots)
    else:
        got, paid, atom = step.trade(offer, lots)
    atoms.append(atom)
    step.move(offer.given, source, receiver, got, to_muxed_id=step.receiver_memo(None))
    body = given.xdr + i64(paid + paid // 50) + muxed_account(receiver.id) + offer.given.xdr + i64(got)
    return Applied(
        operation_body(OperationType.PATH_PAYMENT_STRICT_RECEIVE, body, array(path)),
        operation_result(OperationType.PATH_PAYMENT_STRICT_RECEIVE, 0, array(atoms), _last(receiver, offer.given, got)),
    )


def create_account(step: Step) -> Applied | None:
    """Funds a new account, which may be merged again later."""
    world = step.world
    amount = (5 + int(step.rng.random() * 50)) * XLM
    if len(world.passing) >= MAX_STANDING or world.spendable(step.source, world.native) < amount:
        return None
    new = Account(
        modified=step.world.sequence,
        id=sha256(step.source.id + i64(step.context.sequence) + u32(step.number)).digest(),
        balance=0,
        sequence=step.world.sequence << 32,
    )
    step.changes.create(new)
    step.changes.touch(step.source)
    step.source.balance -= amount
    new.balance = amount
    world.passing.append(new)
    step.record(
        world.native,
        account_address(step.source.id),
        account_address(new.id),
        amount,
        step.receiver_memo(None),
    )
    return Applied(
        operation_body(OperationType.CREATE_ACCOUNT, account_id(new.id), i64(amount)),
        operation_result(OperationType.CREATE_ACCOUNT),
    )


def account_merge(step: Step) -> Applied | None:
    """A passing account gives all it has to the transaction's source and is gone."""
    if not step.world.passing:
        return None
    target, gone = step.source, step.world.passing.pop(0)
    step.act_as(gone)
    amount = gone.balance
    step.changes.remove(gone)
    step.changes.touch(target)
    target.balance += amount
    step.record(
        step.world.native,
        account_address(gone.id),
        account_address(target.id),
        amount,
        step.receiver_memo(None),
    )
    return Applied(
        operation_body(OperationType.ACCOUNT_MERGE, muxed_account(target.id)),
        operation_result(OperationType.ACCOUNT_MERGE, 0, i64(amount)),
    )


def create_claimable_balance(step: Step) -> Applied | None:
    """Sets XLM or an asset aside for another user, who has a time to claim it."""
    world, source = step.world, step.source
    asset = world.native if step.rng.random() < 0.5 else world.assets[0]
    amount = step.some_of(world.spendable(source, asset))
    if amount == 0 or len(world.claimables) >= MAX_STANDING:
        return None
    claimant = step.pick_user()
    before = u32(ClaimPredicateType.CLAIM_PREDICATE_BEFORE_ABSOLUTE_TIME) + i64(step.context.close_time + 30 * _DAY)
    after = u32(ClaimPredicateType.CLAIM_PREDICATE_NOT) + some(before)
    claimants = (
        [VOID + account_id(claimant.id) + before, VOID + account_id(source.id) + after]
        if step.rng.random() < 0.7
        else [VOID + account_id(claimant.id) + VOID]  # CLAIM_PREDICATE_UNCONDITIONAL
    )
    preimage = account_id(step.context.source.id) + i64(step.context.sequence) + u32(step.number)
    balance = ClaimableBalance(
        modified=step.world.sequence,
        sponsor=source,
        id=sha256(u32(EnvelopeType.ENVELOPE_TYPE_OP_ID) + preimage).digest(),
        claimant=claimant,
        claimants=claimants,
        asset=asset,
        amount=amount,
        clawback=asset.issuer is not None,
    )
    step.changes.touch(source)
    source.sponsoring += len(claimants)  # one base reserve for each
    step.adjust(source, asset, -amount)
    step.changes.create(balance)
    world.claimables.append(balance)
    step.record(asset, account_address(source.id), balance_address(balance.id), amount)
    return Applied(
        operation_body(OperationType.CREATE_CLAIMABLE_BALANCE, asset.xdr, i64(amount), array(claimants)),
        operation_result(OperationType.CREATE_CLAIMABLE_BALANCE, 0, VOID, balance.id),
    )


def claim_claimable_balance(step: Step) -> Applied | None:
    """The claimant of the oldest claimable balance takes it."""
    if not step.world.claimables:
        return None
    balance = step.world.claimables[0]
    step.act_as(balance.claimant)
    _unset_aside(step, balance)
    step.adjust(step.source, balance.asset, balance.amount)
    step.record(
        balance.asset,
        balance_address(balance.id),
        account_address(step.source.id),
        balance.amount,
        step.receiver_memo(None),
    )
    return Applied(
        operation_body(OperationType.CLAIM_CLAIMABLE_BALANCE, VOID, balance.id),
        operation_result(OperationType.CLAIM_CLAIMABLE_BALANCE),
    )


def clawback(step: Step) -> Applied | None:
    """An issuer takes some of its asset back from a user."""
    asset = step.world.assets[int(step.rng.random() * len(step.world.assets))]
    victim = step.pick_holder(asset)
    if victim is None or asset.issuer is None:
        return None
    amount = step.some_of(step.world.spendable(victim, asset))
    if amount == 0:
        return None
    step.act_as(step.world.issuers[asset.issuer])
    step.adjust(victim, asset, -amount)
    _clawed_back(step, asset, account_address(victim.id), amount)
    return Applied(
        operation_body(OperationType.CLAWBACK, asset.xdr, muxed_account(victim.id), i64(amount)),
        operation_result(OperationType.CLAWBACK),
    )


def clawback_claimable_balance(step: Step) -> Applied | None:
    """An issuer takes back what was set aside of its asset."""
    balance = next((one for one in step.world.claimables if one.asset.issuer is not None), None)
    if balance is None or balance.asset.issuer is None:
        return None
    step.act_as(step.world.issuers[balance.asset.issuer])
    _unset_aside(step, balance)
    _clawed_back(step, balance.asset, balance_address(balance.id), balance.amount)
    return Applied(
        operation_body(OperationType.CLAWBACK_CLAIMABLE_BALANCE, VOID, balance.id),
        operation_result(OperationType.CLAWBACK_CLAIMABLE_BALANCE),
    )


def _last(receiver: Account, asset: Asset, amount: int) -> bytes:
    """``SimplePaymentResult``"""
    return account_id(receiver.id) + asset.xdr + i64(amount)


def _unset_aside(step: Step, balance: ClaimableBalance) -> None:
    """A claimable balance is gone, and its sponsor free of the reserves for it."""
    sponsor = balance.sponsor
    if sponsor is not None:
        step.changes.touch(sponsor)
        sponsor.sponsoring -= len(balance.claimants)
    step.changes.remove(balance)
    step.world.claimables.remove(balance)


def _clawed_back(step: Step, asset: Asset, victim: bytes, amount: int) -> None:
    step.events.append(token_event(asset.contract, b"clawback", [victim], amount, asset=asset.name))
