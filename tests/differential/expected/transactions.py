"""Expected rows of ``transactions``."""

from __future__ import annotations

import base64
from typing import Any

from stellar_sdk import xdr

from .join import Transaction
from .values import account, muxed_columns, plain, signer_key


def transaction_row(tx: Transaction) -> dict[str, Any]:
    outer, body, bump = tx.result.result, tx.body, tx.fee_bump
    inner = tx.inner_pair.result.result if tx.inner_pair is not None else None
    return {
        **tx.ledger.position_columns,
        "transaction_id": tx.id,
        "transaction_index": tx.index,
        "transaction_hash": tx.hash,
        **muxed_columns("source_account", tx.source),
        "account_sequence": plain(body.seq_num),
        **muxed_columns("fee_account", bump.fee_source if bump is not None else None),
        "inner_transaction_hash": plain(tx.inner_pair.transaction_hash) if inner is not None else None,
        "max_fee": plain(body.fee),
        "new_max_fee": plain(bump.fee) if bump is not None else None,
        "fee_charged": plain(tx.result.fee_charged),
        "successful": tx.successful,
        "result_code": int(outer.code),
        "transaction_result_code": outer.code.name,
        "inner_result_code": int(inner.code) if inner is not None else None,
        "inner_transaction_result_code": inner.code.name if inner is not None else None,
        "operation_count": len(body.operations),
        **memo_columns(body.memo),
        **precondition_columns(tx),
        "signature_count": len((tx.envelope.v0 or tx.envelope.v1 or tx.envelope.fee_bump).signatures),
        "transaction_envelope_type": tx.envelope.type.name,
        "protocol_version": plain(tx.ledger.header.ledger_version),
        "transaction_meta_version": tx.processed.tx_apply_processing.v,
        **soroban_columns(tx),
        "transaction_envelope_xdr": tx.envelope.to_xdr_bytes(),
        "transaction_result_xdr": tx.processed.result.to_xdr_bytes(),
        "transaction_meta_xdr": tx.processed.tx_apply_processing.to_xdr_bytes(),
        "transaction_fee_meta_xdr": tx.processed.fee_processing.to_xdr_bytes(),
    }


def memo_columns(memo: Any) -> dict[str, Any]:
    """``memo_type``, ``memo``, and ``memo_bytes`` for a text that is not UTF-8."""
    text: str | None = None
    raw: bytes | None = None
    match memo.type:
        case xdr.MemoType.MEMO_TEXT:
            try:
                text = memo.text.decode("utf-8")
            except UnicodeDecodeError:
                raw = memo.text
        case xdr.MemoType.MEMO_ID:
            text = str(plain(memo.id))
        case xdr.MemoType.MEMO_HASH:
            text = base64.b64encode(plain(memo.hash)).decode()
        case xdr.MemoType.MEMO_RETURN:
            text = base64.b64encode(plain(memo.ret_hash)).decode()
    return {"memo_type": memo.type.name, "memo": text, "memo_bytes": raw}


def precondition_columns(tx: Transaction) -> dict[str, Any]:
    """Time bounds of any transaction, and what PRECOND_V2 adds."""
    v2 = tx.body.cond.v2 if tx.envelope.v0 is None else None
    if tx.envelope.v0 is not None:
        times = tx.body.time_bounds
    else:
        times = v2.time_bounds if v2 is not None else tx.body.cond.time_bounds
    ledgers = v2.ledger_bounds if v2 is not None else None
    return {
        "time_bounds_min": plain(times.min_time) if times is not None else None,
        "time_bounds_max": plain(times.max_time) if times is not None else None,
        "ledger_bounds_min": plain(ledgers.min_ledger) if ledgers is not None else None,
        "ledger_bounds_max": plain(ledgers.max_ledger) if ledgers is not None else None,
        "min_account_sequence": plain(v2.min_seq_num) if v2 is not None else None,
        "min_account_sequence_age": plain(v2.min_seq_age) if v2 is not None else None,
        "min_account_sequence_ledger_gap": plain(v2.min_seq_ledger_gap) if v2 is not None else None,
        "extra_signers": [signer_key(key) for key in v2.extra_signers] if v2 is not None else None,
    }


DATA_COLUMNS = (
    "resource_fee",
    "soroban_resources_instructions",
    "soroban_resources_disk_read_bytes",
    "soroban_resources_write_bytes",
    "soroban_resources_archived_entries",
    "soroban_footprint_read_only_count",
    "soroban_footprint_read_write_count",
    "inclusion_fee_bid",
    "inclusion_fee_charged",
    "resource_fee_refund",
)


def soroban_columns(tx: Transaction) -> dict[str, Any]:
    """What SorobanTransactionData says and implies, null throughout without it; then the meta's own fees."""
    meta = tx.processed.tx_apply_processing
    details = meta.v3 or meta.v4
    soroban_meta = details.soroban_meta if details is not None else None
    fees = soroban_meta.ext.v1 if soroban_meta is not None else None
    return {
        **(data_columns(tx, details) if tx.soroban is not None else dict.fromkeys(DATA_COLUMNS)),
        "non_refundable_resource_fee_charged": (
            plain(fees.total_non_refundable_resource_fee_charged) if fees is not None else None
        ),
        "refundable_resource_fee_charged": (
            plain(fees.total_refundable_resource_fee_charged) if fees is not None else None
        ),
        "rent_fee_charged": plain(fees.rent_fee_charged) if fees is not None else None,
    }


def data_columns(tx: Transaction, details: Any) -> dict[str, Any]:
    """``details`` is the TransactionMetaV3 or V4, None for older metas."""
    data = tx.soroban
    resources, archived = data.resources, data.ext.resource_ext
    resource_fee = plain(data.resource_fee)
    charged = balance_decrease(tx.processed.fee_processing, tx.fee_account)
    refunds = list(details.tx_changes_after.ledger_entry_changes) if details is not None else []
    if tx.ledger.version == 2:
        refunds += tx.processed.post_tx_apply_fee_processing.ledger_entry_changes
    values = (
        resource_fee,
        plain(resources.instructions),
        plain(resources.disk_read_bytes),
        plain(resources.write_bytes),
        [plain(n) for n in archived.archived_soroban_entries] if archived is not None else None,
        len(resources.footprint.read_only),
        len(resources.footprint.read_write),
        tx.outer_fee - resource_fee,
        charged - resource_fee if charged is not None else None,
        balance_growth(refunds, tx.fee_account),
    )
    return dict(zip(DATA_COLUMNS, values, strict=True))


def balances(changes: list[Any], owner: str | None) -> list[tuple[Any, int]]:
    """(kind of change, balance) of each account entry of ``owner``, in order."""
    found = []
    for change in changes:
        entry = change.state or change.updated or change.created or change.restored
        holder = entry.data.account if entry is not None else None
        if holder is not None and account(holder.account_id) == owner:
            found.append((change.type, plain(holder.balance)))
    return found


def balance_decrease(fee_processing: Any, owner: str | None) -> int | None:
    """What was taken from the account at first: its STATE less its UPDATED balance; None where not stated."""
    found = balances(fee_processing.ledger_entry_changes, owner)
    before = [n for kind, n in found if kind == xdr.LedgerEntryChangeType.LEDGER_ENTRY_STATE]
    after = [n for kind, n in found if kind == xdr.LedgerEntryChangeType.LEDGER_ENTRY_UPDATED]
    return before[0] - after[-1] if before and after else None


def balance_growth(changes: list[Any], owner: str | None) -> int:
    """What was given back: the sum of each UPDATED balance less the STATE before it."""
    total, before = 0, None
    for kind, balance in balances(changes, owner):
        if kind == xdr.LedgerEntryChangeType.LEDGER_ENTRY_STATE:
            before = balance
        elif kind == xdr.LedgerEntryChangeType.LEDGER_ENTRY_UPDATED and before is not None:
            total, before = total + balance - before, None
    return total
