"""What only the result of an operation tells: amounts moved, offers and balances created, inner result codes."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.expressions import At, ByOperation, Expression, Where, by_result
from stellar_arrow_source.tables.frame import OPERATION_RESULT, Frame, Integers, Mask
from stellar_arrow_source.tables.relations import CLAIM_ATOM, OP_RESULT
from stellar_arrow_source.xdr import Relation, readers
from stellar_arrow_source.xdr.positions import first_hop_amounts
from stellar_arrow_source.xdr.readers import EnumTable
from stellar_arrow_source.xdr.schema import Ref, SchemaError, Union, enum_names, load_schema

_ABSENT: Final = -(2**40)
_OFFER_CREATED: Final = 0  # MANAGE_OFFER_CREATED
_T: Final = OperationType


def _if_successful(where: Expression) -> Where:
    """A failed transaction's results may tell of effects that were rolled back."""
    return Where(where, lambda frame: frame.operation_successful, (OPERATION_RESULT,))


RECEIVED: Final = _if_successful(
    by_result(
        {
            _T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendResult.success.last.amount",
            _T.ACCOUNT_MERGE: "accountMergeResult.sourceAccountBalance",
        }
    )
)
"""What the destination of a strict-send payment or an account merge got."""

CREATED_BALANCE: Final = _if_successful(
    by_result({_T.CREATE_CLAIMABLE_BALANCE: "createClaimableBalanceResult.balanceID"})
)


def _offer_result(path: str) -> ByOperation:
    return by_result(
        {
            _T.MANAGE_SELL_OFFER: f"manageSellOfferResult.success.{path}",
            # stellar-core gives a passive offer the result of an ordinary one
            _T.CREATE_PASSIVE_SELL_OFFER: (
                f"manageSellOfferResult.success.{path}",
                f"createPassiveSellOfferResult.success.{path}",
            ),
            _T.MANAGE_BUY_OFFER: f"manageBuyOfferResult.success.{path}",
        }
    )


_OFFER_EFFECT = _offer_result("offer")
CREATED_OFFER: Final = Where(
    _if_successful(_offer_result("offer.offer.offerID")),
    lambda frame: frame.words(_OFFER_EFFECT) == _OFFER_CREATED,
    (_OFFER_EFFECT,),
)

# -- what a path payment took from its source

_SEND_AMOUNT = ByOperation({_T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendOp.sendAmount"})
_LAST_AMOUNT = _if_successful(
    by_result({_T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveResult.success.last.amount"})
)
_ATOM_ASSET = At(CLAIM_ATOM, "assetBought")
_ATOM_AMOUNT = At(CLAIM_ATOM, "amountBought")
SENT_READS: Final[tuple[Expression | Relation, ...]] = (
    _SEND_AMOUNT,
    _LAST_AMOUNT,
    _ATOM_ASSET,
    _ATOM_AMOUNT,
)


def source_amounts(frame: Frame) -> tuple[Integers, Mask]:
    """(rows,) each: stroops that path payments took from their sources, and whether that is known.

    Strict-send: as the operation says. Strict-receive: what its first hop took, by the claim atoms.

    Raises:
        DecodeError: the atoms' amounts are negative or overflow.
    """
    return frame.once(source_amounts, lambda: _source_amounts(frame))


def read_source_amount(frame: Frame) -> pa.Array:
    """The column of :func:`source_amounts`; null where not known."""
    if frame.has_types((_T.PATH_PAYMENT_STRICT_RECEIVE,)):
        return readers.from_numpy(source_amounts(frame)[0], pa.int64(), source_amounts(frame)[1])
    return readers.i64(frame.batch.words, frame.positions(_SEND_AMOUNT))


def _source_amounts(frame: Frame) -> tuple[Integers, Mask]:
    sent = frame.positions(_SEND_AMOUNT)
    if not frame.has_types((_T.PATH_PAYMENT_STRICT_RECEIVE,)):
        return frame.hypers(_SEND_AMOUNT), sent > 0
    received = frame.positions(_LAST_AMOUNT)
    rows = np.flatnonzero(received)
    first, counts = frame.batch.runs(CLAIM_ATOM, OP_RESULT)
    results = frame.rows[OP_RESULT.name][rows]
    total = np.empty(len(rows), np.int64)
    atoms = _atoms(frame)
    first_hop_amounts(
        frame.batch.words,
        first[results],
        counts[results],
        atoms.positions(_ATOM_ASSET),
        atoms.positions(_ATOM_AMOUNT),
        total,
    )
    if (total < 0).any():
        row = int(rows[np.flatnonzero(total < 0)[0]])
        position = int(frame.positions(OPERATION_RESULT)[row])
        raise frame.batch.error(
            "claim atoms whose amounts are negative or overflow",
            int(frame.ledger[row]),
            position,
            "ClaimAtom.amountBought",
        )
    values = frame.hypers(_SEND_AMOUNT).copy()
    # Without an atom nothing was exchanged: the destination's amount is the source's.
    values[rows] = np.where(counts[results] > 0, total, frame.hypers(_LAST_AMOUNT)[rows])
    return values, (sent > 0) | (received > 0)


def _atoms(frame: Frame) -> Frame:
    rows = np.arange(frame.batch.arena.count(CLAIM_ATOM.name), dtype=np.int64)
    return Frame(frame.batch, np.zeros(len(rows), np.int64), {CLAIM_ATOM.name: rows})


# -- inner result codes

_CODES_PER_TYPE: Final = 64


def _trace_names() -> dict[int, str]:
    """type * 64 - code → name of the inner result code, from the arms of OperationResultTr."""
    union = load_schema()["OperationResultTr"]
    if not isinstance(union, Union):
        raise SchemaError("OperationResultTr is not a union")
    names = {}
    for arm in union.arms:
        kind = arm.labels[0]
        if kind is None or not isinstance(arm.field.type, Ref):
            raise SchemaError("OperationResultTr has an arm without a type")
        for code, name in enum_names(arm.field.type.name + "Code").items():
            names[kind * _CODES_PER_TYPE - code] = name
    return names


TRACE_CODES: Final = EnumTable.from_mapping(_trace_names())


def trace_codes(frame: Frame) -> Integers:
    """int64 (rows,): keys of :data:`TRACE_CODES`."""
    inner, types, codes = frame.inner_results
    return np.where(inner, types * _CODES_PER_TYPE - codes, _ABSENT)
