"""What every operation tells, whatever its type: its ids, source, destination, asset and amount."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.columns import AssetParts, account, derived, enum_table, enumeration, muxed
from stellar_arrow_source.tables.common import TX_SOURCE_ID, TX_SOURCE_KEY
from stellar_arrow_source.tables.expressions import At, ByOperation, FirstOf, MuxedId, MuxedKey, Where
from stellar_arrow_source.tables.frame import OPERATION_BODY, Frame, Integers
from stellar_arrow_source.tables.relations import OPERATION
from stellar_arrow_source.tables.results import RECEIVED, SENT_READS, read_source_amount
from stellar_arrow_source.tables.soroban import CREATED_FROM_ASSET
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import readers

_T = OperationType
REVOKED_KEY: Final = "revokeSponsorshipOp.ledgerKey"
OPERATION_TYPE_NAMES: Final = enum_table("OperationType", str.lower)

# -- source account: the operation's own, else the transaction's

_OWN_SOURCE = At(OPERATION, "sourceAccount?")
_OWN_KEY = MuxedKey(_OWN_SOURCE)
SOURCE_KEY: Final = FirstOf(_OWN_KEY, TX_SOURCE_KEY)
SOURCE_ID = FirstOf(MuxedId(_OWN_SOURCE), Where(TX_SOURCE_ID, lambda f: f.positions(_OWN_KEY) == 0, (_OWN_SOURCE,)))

OPERATION_COLUMNS: Final[tuple[Column, ...]] = (
    derived(
        "operation_id",
        pa.int64(),
        lambda f: readers.from_numpy(operation_ids(f), pa.int64()),
        "id of the operation (SEP-35)",
    ),
    derived(
        "operation_index",
        pa.uint32(),
        lambda f: readers.from_numpy((_ordinal(f) + 1).astype(np.uint32), pa.uint32()),
        "position of the operation in its transaction, from 1",
    ),
)


def operation_ids(frame: Frame) -> Integers:
    """int64 (rows,): SEP-35 ids."""
    ids: Integers = frame.batch.transaction_ids[frame.rows["tx_result"]] + _ordinal(frame) + 1
    return ids


def _ordinal(frame: Frame) -> np.ndarray:
    return frame.once("ordinal", lambda: frame.absent)


SOURCE_COLUMNS: Final[tuple[Column, ...]] = (
    account("source_account", SOURCE_KEY, "source of the operation: its own, else the transaction's"),
    muxed("source_account_muxed", SOURCE_KEY, SOURCE_ID, "M address of source_account, where it is a muxed one"),
)

OPERATION_TYPE: Final = enumeration(
    "operation_type_string", OPERATION_TYPE_NAMES, OPERATION_BODY, "kind of operation, in snake case"
)

SUCCESSFUL: Final = derived(
    "successful",
    pa.bool_(),
    lambda frame: readers.from_bool(frame.operation_successful),
    "whether the transaction and this operation succeeded",
)

# An AccountID reads as a MuxedAccount: the key types share their discriminant.
DESTINATION: Final = ByOperation(
    {
        _T.CREATE_ACCOUNT: "createAccountOp.destination",
        _T.PAYMENT: "paymentOp.destination",
        _T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveOp.destination",
        _T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendOp.destination",
        _T.ACCOUNT_MERGE: "destination",
    }
)

# -- assets

_ALLOWED_CODE = ByOperation({_T.ALLOW_TRUST: "allowTrustOp.asset"})
ASSET: Final = FirstOf(
    ByOperation(
        {
            _T.PAYMENT: "paymentOp.asset",
            _T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveOp.destAsset",
            _T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendOp.destAsset",
            _T.CREATE_CLAIMABLE_BALANCE: "createClaimableBalanceOp.asset",
            _T.CLAWBACK: "clawbackOp.asset",
            _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.asset",
            _T.CHANGE_TRUST: "changeTrustOp.line",
            _T.REVOKE_SPONSORSHIP: f"{REVOKED_KEY}.trustLine.asset",
        }
    ),
    CREATED_FROM_ASSET,
)


_LUMENS: Final = (_T.CREATE_ACCOUNT, _T.ACCOUNT_MERGE)


def implied_assets(frame: Frame, parts: AssetParts) -> AssetParts:
    """Add the assets that an operation implies: lumens, and the source's own asset in AllowTrust."""
    types, code, issuer = parts
    if frame.has_types(_LUMENS):
        types = np.where(frame.of_types(_LUMENS), 0, types)
    if frame.has_types((_T.ALLOW_TRUST,)):
        allowed_types, allowed_code = readers.split_asset_code(frame.batch.words, frame.positions(_ALLOWED_CODE))
        allowed = allowed_types >= 0
        types, code = np.where(allowed, allowed_types, types), np.where(allowed, allowed_code, code)
        issuer = np.where(allowed, frame.positions(SOURCE_KEY), issuer)
    return types, code, issuer


IMPLIED_READS: Final = (_ALLOWED_CODE, SOURCE_KEY)
SOURCE_ASSET: Final = ByOperation(
    {
        _T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveOp.sendAsset",
        _T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendOp.sendAsset",
    }
)

AMOUNT: Final = FirstOf(
    ByOperation(
        {
            _T.CREATE_ACCOUNT: "createAccountOp.startingBalance",
            _T.PAYMENT: "paymentOp.amount",
            _T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveOp.destAmount",
            _T.MANAGE_SELL_OFFER: "manageSellOfferOp.amount",
            _T.CREATE_PASSIVE_SELL_OFFER: "createPassiveSellOfferOp.amount",
            _T.MANAGE_BUY_OFFER: "manageBuyOfferOp.buyAmount",
            _T.CREATE_CLAIMABLE_BALANCE: "createClaimableBalanceOp.amount",
            _T.CLAWBACK: "clawbackOp.amount",
        }
    ),
    RECEIVED,
)

SOURCE_AMOUNT: Final = derived(
    "source_amount",
    pa.int64(),
    read_source_amount,
    "what a path payment took from its source; of a failed strict-receive, null",
    *SENT_READS,
    nullable=True,
    unit="stroop",
)
