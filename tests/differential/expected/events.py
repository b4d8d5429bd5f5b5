"""Expected rows of ``contract_events`` and ``diagnostic_events``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stellar_sdk import StrKey, xdr

from .join import Transaction
from .values import arm, compact_json, plain, text51

Stage = xdr.TransactionEventStage


def contract_event_rows(tx: Transaction) -> list[dict[str, Any]]:
    rows = []
    for index, (operation, stage, event) in enumerate(happenings(tx), start=1):
        rows.append(
            {
                **transaction_columns(tx),
                "operation_id": tx.id + operation if operation is not None else None,
                "operation_index": operation,
                "event_index": index,
                "stage": stage.name if stage is not None else None,
                "in_successful_contract_call": tx.successful or operation is None,
                **event_columns(event),
            }
        )
    return rows


def happenings(tx: Transaction) -> Iterator[tuple[int | None, Any, Any]]:
    """(operation, stage, event) as they happen."""
    meta = tx.processed.tx_apply_processing
    if meta.v3 is not None and meta.v3.soroban_meta is not None:
        yield from ((1, None, event) for event in meta.v3.soroban_meta.events)
    if meta.v4 is not None:

        def at(stage: Stage) -> Iterator[tuple[None, Any, Any]]:
            return ((None, stage, found.event) for found in meta.v4.events if found.stage == stage)

        yield from at(Stage.TRANSACTION_EVENT_STAGE_BEFORE_ALL_TXS)
        for number, operation in enumerate(meta.v4.operations, start=1):
            yield from ((number, None, event) for event in operation.events)
        yield from at(Stage.TRANSACTION_EVENT_STAGE_AFTER_TX)
        yield from at(Stage.TRANSACTION_EVENT_STAGE_AFTER_ALL_TXS)


def diagnostic_event_rows(tx: Transaction) -> list[dict[str, Any]]:
    meta = tx.processed.tx_apply_processing
    if meta.v3 is not None and meta.v3.soroban_meta is not None:
        found = meta.v3.soroban_meta.diagnostic_events
    else:
        found = meta.v4.diagnostic_events if meta.v4 is not None else []
    return [
        {
            **transaction_columns(tx),
            "event_index": index,
            "in_successful_contract_call": diagnostic.in_successful_contract_call,
            **event_columns(diagnostic.event),
        }
        for index, diagnostic in enumerate(found, start=1)
    ]


def transaction_columns(tx: Transaction) -> dict[str, Any]:
    return {
        **tx.ledger.position_columns,
        "transaction_id": tx.id,
        "transaction_index": tx.index,
        "transaction_hash": tx.hash,
        "successful": tx.successful,
    }


def event_columns(event: Any) -> dict[str, Any]:
    body = arm(event.body)
    contract = event.contract_id
    first = body.topics[0] if body.topics else None
    return {
        "event_type": int(event.type),
        "event_type_string": event.type.name,
        "contract_id": StrKey.encode_contract(plain(contract)) if contract is not None else None,
        "topics": [compact_json(topic) for topic in body.topics],
        "data": compact_json(body.data),
        "topic_count": len(body.topics),
        "topic0": text51(plain(first.sym)) if first is not None and first.sym is not None else None,
        "topics_xdr": [topic.to_xdr_bytes() for topic in body.topics],
        "data_xdr": body.data.to_xdr_bytes(),
        "contract_event_xdr": event.to_xdr_bytes(),
    }
