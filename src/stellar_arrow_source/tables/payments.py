"""The stream ``payments``: operations that move value to a destination, one row each, in apply order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.columns import amount, asset, muxed_pair
from stellar_arrow_source.tables.common import (
    LEDGER_COLUMNS,
    MEMO_COLUMNS,
    TRANSACTION_COLUMNS,
    TRANSACTION_HASH,
    TX_SUCCESSFUL,
)  # fmt: skip
from stellar_arrow_source.tables.frame import OPERATION_NEEDS, Batch, Frame
from stellar_arrow_source.tables.operation_facts import (
    AMOUNT,
    ASSET,
    DESTINATION,
    IMPLIED_READS,
    OPERATION_COLUMNS,
    OPERATION_TYPE,
    SOURCE_AMOUNT,
    SOURCE_ASSET,
    SOURCE_COLUMNS,
    SUCCESSFUL,
    implied_assets,
)  # fmt: skip
from stellar_arrow_source.tables.spec import Stream

PAYMENT_TYPES: Final = (
    OperationType.CREATE_ACCOUNT,
    OperationType.PAYMENT,
    OperationType.PATH_PAYMENT_STRICT_RECEIVE,
    OperationType.PATH_PAYMENT_STRICT_SEND,
    OperationType.ACCOUNT_MERGE,
)


def _frame(batch: Batch) -> Frame:
    operations = batch.operations
    return batch.subset(operations, operations.of_types(PAYMENT_TYPES))


PAYMENTS: Final = Stream(
    name="payments",
    description="one row per operation that pays: create_account, payment, path payments, account_merge",
    frame=_frame,
    reads=OPERATION_NEEDS,
    columns=(
        *LEDGER_COLUMNS,
        *TRANSACTION_COLUMNS,
        *OPERATION_COLUMNS,
        TRANSACTION_HASH,
        replace(OPERATION_TYPE, name="payment_type", description="kind of payment: the operation's type"),
        OPERATION_TYPE,
        *SOURCE_COLUMNS,
        *muxed_pair("destination", DESTINATION, "account that receives"),
        *asset(ASSET, "the asset received", nullable=False, adjust=implied_assets, also=IMPLIED_READS),
        amount(
            "amount", AMOUNT, "what the destination gets; null where a failed operation does not say", nullable=True
        ),
        *asset(SOURCE_ASSET, "the asset that a path payment sends", "source_"),
        SOURCE_AMOUNT,
        *MEMO_COLUMNS,
        SUCCESSFUL,
        TX_SUCCESSFUL,
    ),
)
