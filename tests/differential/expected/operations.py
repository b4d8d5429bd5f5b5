"""Expected rows of ``operations``."""

from __future__ import annotations

from typing import Any

from stellar_sdk import xdr

from .bodies import BODIES
from .join import Operation
from .schema import SCHEMAS
from .values import digest, muxed_columns


def operation_row(op: Operation) -> dict[str, Any]:
    tx, result = op.transaction, op.result
    row: dict[str, Any] = {
        **dict.fromkeys(column.name for column in SCHEMAS["operations"]),
        **tx.ledger.position_columns,
        "transaction_id": tx.id,
        "transaction_index": tx.index,
        "operation_id": op.id,
        "operation_index": op.index,
        "transaction_hash": tx.hash,
        "operation_type": int(op.type),
        "operation_type_string": op.type.name.lower(),
        **muxed_columns("source_account", op.source),
        "transaction_successful": tx.successful,
        "successful": op.successful,
        "operation_result_code": result.code.name if result is not None else None,
        "operation_trace_code": op.inner.code.name if op.inner is not None else None,
        "operation_xdr": op.operation.to_xdr_bytes(),
        "operation_result_xdr": result.to_xdr_bytes() if result is not None else None,
    }
    body = {**BODIES[op.type](op), **footprint_columns(op)}
    assert body.keys() <= row.keys(), f"not columns of operations: {sorted(body.keys() - row.keys())}"
    return row | body


def footprint_columns(op: Operation) -> dict[str, Any]:
    """SHA-256 of each key, as TTL entries refer to them; only for operations that use the footprint."""
    uses = {
        xdr.OperationType.INVOKE_HOST_FUNCTION,
        xdr.OperationType.EXTEND_FOOTPRINT_TTL,
        xdr.OperationType.RESTORE_FOOTPRINT,
    }
    data = op.transaction.soroban
    if op.type not in uses or data is None:
        return {}
    footprint = data.resources.footprint
    return {
        "footprint_read_only": [digest(key) for key in footprint.read_only],
        "footprint_read_write": [digest(key) for key in footprint.read_write],
    }
