"""Expected rows of ``payments``: five operation types, with the transaction's memo."""

from __future__ import annotations

from typing import Any

from .join import Transaction
from .operations import operation_row
from .transactions import memo_columns

TYPES = (
    "create_account",
    "payment",
    "path_payment_strict_receive",
    "path_payment_strict_send",
    "account_merge",
)


def payment_rows(tx: Transaction) -> list[dict[str, Any]]:
    rows = map(operation_row, tx.operations)
    return [payment_row(tx, row) for row in rows if row["operation_type_string"] in TYPES]


def payment_row(tx: Transaction, operation: dict[str, Any]) -> dict[str, Any]:
    def same(*names: str) -> dict[str, Any]:
        return {name: operation[name] for name in names}

    return {
        **same("ledger_sequence", "ledger_close_time", "transaction_id", "transaction_index"),
        **same("operation_id", "operation_index", "transaction_hash"),
        "payment_type": operation["operation_type_string"],
        **same("operation_type_string", "source_account", "source_account_muxed"),
        **same("destination", "destination_muxed", "asset_type", "asset_code", "asset_issuer", "amount"),
        **same("source_asset_type", "source_asset_code", "source_asset_issuer", "source_amount"),
        **memo_columns(tx.body.memo),
        **same("successful", "transaction_successful"),
    }
