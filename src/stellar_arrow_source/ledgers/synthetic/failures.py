"""Operations that fail: they change nothing, and fail their whole transaction."""

from __future__ import annotations

from stellar_sdk.xdr import (
    ChangeTrustResultCode,
    ClaimClaimableBalanceResultCode,
    CreateAccountResultCode,
    InflationResultCode,
    ManageSellOfferResultCode,
    OperationResultCode,
    OperationType,
    PathPaymentStrictSendResultCode,
    PaymentResultCode,
)

from stellar_arrow_source.ledgers.synthetic.entries import MAX_INT64
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_id,
    i32,
    i64,
    muxed_account,
    operation_body,
    operation_result,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Operation, Step
from stellar_arrow_source.ledgers.synthetic.world import XLM


def idle(step: Step) -> Applied:
    """SetOptions that sets nothing: it succeeds, in a transaction that fails later."""
    return Applied(operation_body(OperationType.SET_OPTIONS, VOID * 9), operation_result(OperationType.SET_OPTIONS))


def payment_underfunded(step: Step) -> Applied:
    """Pays more than there is."""
    target = muxed_account(step.pick_user().id)
    amount = step.source.balance + XLM
    return Applied(
        operation_body(OperationType.PAYMENT, target, step.world.native.xdr, i64(amount)),
        operation_result(OperationType.PAYMENT, PaymentResultCode.PAYMENT_UNDERFUNDED),
    )


def payment_no_destination(step: Step) -> Applied:
    """Pays an account that does not exist."""
    target = muxed_account(step.rng.randbytes(32))
    return Applied(
        operation_body(OperationType.PAYMENT, target, step.world.native.xdr, i64(XLM)),
        operation_result(OperationType.PAYMENT, PaymentResultCode.PAYMENT_NO_DESTINATION),
    )


def account_already_exists(step: Step) -> Applied:
    """Creates an account that is there."""
    return Applied(
        operation_body(OperationType.CREATE_ACCOUNT, account_id(step.pick_user().id), i64(5 * XLM)),
        operation_result(OperationType.CREATE_ACCOUNT, CreateAccountResultCode.CREATE_ACCOUNT_ALREADY_EXIST),
    )


def offer_underfunded(step: Step) -> Applied:
    """Offers more than there is."""
    usdc = step.world.assets[0]
    price = u32(1) + u32(1)
    body = usdc.xdr + step.world.native.xdr + i64(MAX_INT64 // 2) + price + i64(0)
    return Applied(
        operation_body(OperationType.MANAGE_SELL_OFFER, body),
        operation_result(OperationType.MANAGE_SELL_OFFER, ManageSellOfferResultCode.MANAGE_SELL_OFFER_UNDERFUNDED),
    )


def path_too_dear(step: Step) -> Applied:
    """Asks for more of the destination's asset than the offers give."""
    native, usdc = step.world.native, step.world.assets[0]
    target = muxed_account(step.pick_user().id)
    body = native.xdr + i64(XLM) + target + usdc.xdr + i64(1_000 * XLM) + VOID
    return Applied(
        operation_body(OperationType.PATH_PAYMENT_STRICT_SEND, body),
        operation_result(
            OperationType.PATH_PAYMENT_STRICT_SEND,
            PathPaymentStrictSendResultCode.PATH_PAYMENT_STRICT_SEND_UNDER_DESTMIN,
        ),
    )


def limit_too_low(step: Step) -> Applied:
    """Sets a limit below the balance."""
    return Applied(
        operation_body(OperationType.CHANGE_TRUST, step.world.assets[0].xdr, i64(1)),
        operation_result(OperationType.CHANGE_TRUST, ChangeTrustResultCode.CHANGE_TRUST_INVALID_LIMIT),
    )


def claim_nothing(step: Step) -> Applied:
    """Claims a balance that does not exist."""
    return Applied(
        operation_body(OperationType.CLAIM_CLAIMABLE_BALANCE, VOID, step.rng.randbytes(32)),
        operation_result(
            OperationType.CLAIM_CLAIMABLE_BALANCE,
            ClaimClaimableBalanceResultCode.CLAIM_CLAIMABLE_BALANCE_DOES_NOT_EXIST,
        ),
    )


def inflation(step: Step) -> Applied:
    """Inflation, which protocol 12 ended."""
    return Applied(
        operation_body(OperationType.INFLATION),
        operation_result(OperationType.INFLATION, InflationResultCode.INFLATION_NOT_TIME),
    )


def not_authorized(step: Step) -> Applied:
    """Acts for an account that has not signed."""
    body = operation_body(OperationType.BUMP_SEQUENCE, i64(0))
    step.act_as(step.pick_user())
    return Applied(body, i32(OperationResultCode.opBAD_AUTH))


FAILURES: tuple[Operation, ...] = (
    payment_underfunded,
    payment_underfunded,
    payment_no_destination,
    account_already_exists,
    offer_underfunded,
    offer_underfunded,
    path_too_dear,
    path_too_dear,
    path_too_dear,
    limit_too_low,
    claim_nothing,
    inflation,
    not_authorized,
)
"""The failures of classic transactions; one that is listed more often is more frequent."""
