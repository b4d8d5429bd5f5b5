"""Expected rows of ``ledgers``."""

from __future__ import annotations

from typing import Any

from stellar_sdk import xdr

from .join import Ledger
from .values import account, digest, plain


def ledger_row(ledger: Ledger) -> dict[str, Any]:
    header, body = ledger.header, ledger.body
    value = header.scp_value
    operations = [(len(tx.body.operations), tx.successful) for tx in ledger.transactions]
    signature = close_signature(value.ext)
    has_state = ledger.version > 0
    fees = body.ext.v1 if has_state else None
    return {
        **ledger.position_columns,
        "ledger_hash": plain(ledger.header_entry.hash),
        "previous_ledger_hash": plain(header.previous_ledger_hash),
        "transaction_count": len(operations),
        "operation_count": sum(count for count, successful in operations if successful),
        "tx_set_operation_count": sum(count for count, _ in operations),
        "successful_transaction_count": sum(successful for _, successful in operations),
        "failed_transaction_count": sum(not successful for _, successful in operations),
        "protocol_version": plain(header.ledger_version),
        "base_fee": plain(header.base_fee),
        "base_reserve": plain(header.base_reserve),
        "max_tx_set_size": plain(header.max_tx_set_size),
        "close_time_resolution": 1,
        "total_coins": plain(header.total_coins),
        "fee_pool": plain(header.fee_pool),
        "tx_set_hash": plain(value.tx_set_hash),
        "tx_set_result_hash": plain(header.tx_set_result_hash),
        "bucket_list_hash": plain(header.bucket_list_hash),
        "node_id": account_of_node(signature),
        "signature": plain(signature.signature) if signature is not None else None,
        "soroban_fee_write_1kb": plain(fees.soroban_fee_write1_kb) if fees is not None else None,
        "total_byte_size_of_live_soroban_state": (
            plain(body.total_byte_size_of_live_soroban_state) if has_state else None
        ),
        "evicted_ledger_keys_type": [key.type.name.lower() for key in body.evicted_keys] if has_state else None,
        "evicted_ledger_keys_hash": [digest(key) for key in body.evicted_keys] if has_state else None,
        "ledger_close_meta_version": ledger.version,
        "ledger_header_xdr": header.to_xdr_bytes(),
        "ledger_close_meta_xdr": ledger.meta.to_xdr_bytes(),
    }


def close_signature(ext: Any) -> Any:
    """The LedgerCloseValueSignature that a StellarValue carries, if any."""
    match ext.v:
        case xdr.StellarValueType.STELLAR_VALUE_BASIC:
            return None
        case xdr.StellarValueType.STELLAR_VALUE_SIGNED:
            return ext.lc_value_signature
        case xdr.StellarValueType.STELLAR_VALUE_EMPTY_TX_SET:
            return ext.proposed_value.lc_value_signature
    raise AssertionError(ext.v)


def account_of_node(signature: Any) -> str | None:
    """A NodeID is a public key as an AccountID is."""
    return account(xdr.AccountID(signature.node_id.node_id)) if signature is not None else None
