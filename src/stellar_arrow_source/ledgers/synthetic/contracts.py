"""Soroban operations: transfers by a token contract and by an asset's contract, and longer lives of data."""

from __future__ import annotations

from hashlib import sha256

from stellar_sdk.xdr import (
    ContractDataDurability,
    HostFunctionType,
    InvokeHostFunctionResultCode,
    LedgerEntryType,
    OperationType,
    SCValType,
    SorobanAuthorizedFunctionType,
    SorobanCredentialsType,
)

from stellar_arrow_source.ledgers.synthetic.entries import Account, Asset, TimeToLive, TokenBalance
from stellar_arrow_source.ledgers.synthetic.events import diagnostic_event, token_event
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_address,
    array,
    contract_address,
    ledger_key,
    opaque,
    operation_body,
    operation_result,
    scv_address,
    scv_i128,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Step

_SCV_VOID = u32(SCValType.SCV_VOID)
_LIFE = 2_073_600  # ledgers, about 120 days


def token_transfer(step: Step) -> Applied | None:
    """Moves the token, whose amounts exceed 64 bits; a receiver who has none yet gets an entry for it."""
    world, giver, receiver = step.world, step.source, step.pick_user()
    mine = world.token_balances.get(giver.id)
    if mine is None:
        return None
    amount = step.some_of(mine[0].amount)
    if amount == 0:
        return None
    step.changes.touch(mine[0])
    mine[0].amount -= amount
    theirs = world.token_balances.get(receiver.id)
    if theirs is None:
        balance = TokenBalance(modified=world.sequence, contract=world.token, holder=receiver, amount=0)
        life = TimeToLive(modified=world.sequence, of=balance, live_until=world.sequence + _LIFE)
        theirs = world.token_balances[receiver.id] = balance, life
        step.changes.create(balance)
        step.changes.create(life)
    else:
        step.changes.touch(theirs[0])
    theirs[0].amount += amount
    addresses = [account_address(giver.id), account_address(receiver.id)]
    step.events.append(token_event(world.token, b"transfer", addresses, amount))
    return _invoked(step, world.token, receiver, amount, [mine[0].key(), theirs[0].key()])


def asset_transfer(step: Step) -> Applied | None:
    """Moves XLM or USDC through the asset's contract."""
    world, giver = step.world, step.source
    asset = world.native if step.rng.random() < 0.6 else world.assets[0]
    receiver = step.pick_holder(asset)
    amount = step.some_of(world.spendable(giver, asset))
    if amount == 0 or receiver is None:
        return None
    return _asset_transfer(step, asset, receiver, amount)


def small_transfer(step: Step) -> Applied:
    """Moves one stroop of XLM, which everybody has."""
    return _asset_transfer(step, step.world.native, step.pick_user(), 1)


def extend_footprint_ttl(step: Step) -> Applied | None:
    """Lets an account's token balance live longer."""
    balances = list(step.world.token_balances.values())
    balance, life = balances[int(step.rng.random() * len(balances))]
    until = step.world.sequence + _LIFE
    if life.live_until >= until:
        return None
    step.changes.touch(life)
    life.live_until = until
    step.footprint[0].append(balance.key())
    return Applied(
        operation_body(OperationType.EXTEND_FOOTPRINT_TTL, VOID, u32(_LIFE)),
        operation_result(OperationType.EXTEND_FOOTPRINT_TTL),
    )


def trapped_transfer(step: Step) -> Applied:
    """A transfer of more than there is: the contract traps, nothing changes."""
    receiver = step.pick_user()
    body = _invoke(step, step.world.token, receiver, 1 << 100, [])
    code = InvokeHostFunctionResultCode.INVOKE_HOST_FUNCTION_TRAPPED
    step.diagnostics.append(diagnostic_event(step.world.token, b"balance is not sufficient to spend"))
    return Applied(body, operation_result(OperationType.INVOKE_HOST_FUNCTION, code))


def _asset_transfer(step: Step, asset: Asset, receiver: Account, amount: int) -> Applied:
    world, giver = step.world, step.source
    step.move(asset, giver, receiver, amount)
    holdings = (world.holding(account, asset) for account in (giver, receiver))
    written = [holding.key() for holding in holdings if holding is not None]
    return _invoked(step, asset.contract, receiver, amount, written)


def _invoked(step: Step, contract: bytes, receiver: Account, amount: int, written: list[bytes]) -> Applied:
    """A transfer that went well; its result is the hash of what it returned and emitted."""
    step.returned = _SCV_VOID
    digest = sha256(step.returned + array(step.events)).digest()
    return Applied(
        _invoke(step, contract, receiver, amount, written),
        operation_result(OperationType.INVOKE_HOST_FUNCTION, 0, digest),
    )


def _invoke(step: Step, contract: bytes, receiver: Account, amount: int, written: list[bytes]) -> bytes:
    """``InvokeHostFunctionOp`` of ``transfer(from, to, amount)``, authorised by its source."""
    arguments = [
        scv_address(account_address(step.source.id)),
        scv_address(account_address(receiver.id)),
        scv_i128(amount),
    ]
    call = contract_address(contract) + opaque(b"transfer") + array(arguments)
    function = u32(SorobanAuthorizedFunctionType.SOROBAN_AUTHORIZED_FUNCTION_TYPE_CONTRACT_FN) + call
    authorization = u32(SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT) + function + VOID
    instance = contract_address(contract) + u32(SCValType.SCV_LEDGER_KEY_CONTRACT_INSTANCE)
    persistent = u32(ContractDataDurability.PERSISTENT)
    step.footprint[0].append(ledger_key(LedgerEntryType.CONTRACT_DATA, instance, persistent))
    step.footprint[1].extend(written)
    host_function = u32(HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT) + call
    return operation_body(OperationType.INVOKE_HOST_FUNCTION, host_function, array([authorization]))
