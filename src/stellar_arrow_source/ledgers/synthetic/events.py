"""Contract events as CAP-67 defines them for assets, and as a token contract emits them."""

from __future__ import annotations

from stellar_sdk.xdr import ContractEventType, TransactionEventStage

from stellar_arrow_source.ledgers.synthetic.entries import Asset
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    array,
    scv_address,
    scv_i128,
    scv_map,
    scv_string,
    scv_symbol,
    some,
    u32,
)

_AMOUNT, _TO_MUXED_ID = scv_symbol(b"amount"), scv_symbol(b"to_muxed_id")
_HEAD = u32(ContractEventType.CONTRACT) + VOID  # type, body of version 0


def contract_event(contract: bytes, name: bytes, topics: list[bytes], data: bytes) -> bytes:
    """``ContractEvent``; ``topics`` and ``data`` are SCVal, ``name`` is the first topic."""
    return VOID + some(contract) + _HEAD + array([scv_symbol(name), *topics]) + data


def token_event(
    contract: bytes,
    name: bytes,
    addresses: list[bytes],
    amount: int,
    *,
    asset: bytes | None = None,
    to_muxed_id: bytes | None = None,
) -> bytes:
    """A transfer, mint, burn, clawback or fee.

    Args:
        addresses: SCAddress of the sides, from before to.
        asset: name of the asset, as the last topic; None for a fee and for a token without an asset.
        to_muxed_id: SCVal of the receiver's memo or multiplexed id.
    """
    topics = [scv_address(address) for address in addresses]
    if asset is not None:
        topics.append(scv_string(asset))
    data = scv_i128(amount)
    if to_muxed_id is not None:
        data = scv_map([(_AMOUNT, data), (_TO_MUXED_ID, to_muxed_id)])
    return contract_event(contract, name, topics, data)


def movement(
    asset: Asset,
    source: bytes,
    target: bytes,
    amount: int,
    *,
    to_muxed_id: bytes | None = None,
    issuer: bytes | None = None,
) -> bytes:
    """Asset moves from one SCAddress to another: a mint or a burn where one side is ``issuer``, its SCAddress."""
    mint, burn = source == issuer, target == issuer
    if mint and not burn:
        return token_event(asset.contract, b"mint", [target], amount, asset=asset.name, to_muxed_id=to_muxed_id)
    if burn and not mint:
        return token_event(asset.contract, b"burn", [source], amount, asset=asset.name)
    return token_event(asset.contract, b"transfer", [source, target], amount, asset=asset.name, to_muxed_id=to_muxed_id)


def fee_event(native: Asset, payer: bytes, amount: int, *, refund: bool = False) -> bytes:
    """``TransactionEvent`` of a fee; a refund is negative and comes after all transactions."""
    stage = (
        TransactionEventStage.TRANSACTION_EVENT_STAGE_AFTER_ALL_TXS
        if refund
        else TransactionEventStage.TRANSACTION_EVENT_STAGE_BEFORE_ALL_TXS
    )
    return u32(stage) + token_event(native.contract, b"fee", [payer], amount)


def diagnostic_event(contract: bytes, message: bytes) -> bytes:
    """``DiagnosticEvent`` of a call that failed."""
    event = VOID + some(contract) + u32(ContractEventType.DIAGNOSTIC) + VOID
    return VOID + event + array([scv_symbol(b"error")]) + scv_string(message)
