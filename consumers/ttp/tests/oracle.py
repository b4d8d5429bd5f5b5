"""The messages that clients must get, made from what other implementations say of the same ledgers."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.support.corpus import peer_rows

Event = dict[str, Any]
"""An event as grpc-js gives it: names as in the .proto files, 64-bit integers as text, bytes in Base64."""


def event_of(row: dict[str, Any]) -> Event:
    """A row of the Go SDK's processor as the message that it stands for."""
    meta: Event = {
        "ledger_sequence": row["ledger_sequence"],
        "closed_at": {"seconds": str(row["closed_at"])} if row["closed_at"] else {},
        "tx_hash": row["tx_hash"],
        "transaction_index": row["tx_index"],
        "contract_address": row["contract_address"],
    }
    if row["op_index"] is not None:
        meta["operation_index"] = row["op_index"]
    match row["to_muxed_info"]:
        case {"id": number}:
            meta["to_muxed_info"] = {"id": number}
        case {"text_b64": text}:
            meta["to_muxed_info"] = {"text": base64.b64decode(text).decode()}
        case {"hash": digest}:
            meta["to_muxed_info"] = {"hash": base64.b64encode(bytes.fromhex(digest)).decode()}
    body: Event = {"amount": row["amount"]}
    body |= {side: row[side] for side in ("from", "to") if row[side] is not None}
    if row["asset"] == "native":
        body["asset"] = {"native": True}
    elif row["asset"] is not None:
        code, issuer = row["asset"].split(":")
        body["asset"] = {"issued_asset": {"asset_code": code, "issuer": issuer}}
    return {"meta": meta, row["event_type"]: body}


def event_of_message(message: Message) -> Event:
    """A message of protobuf's own classes."""
    event: Event = MessageToDict(message, preserving_proto_field_name=True)
    seconds = message.meta.closed_at.seconds  # type: ignore[attr-defined]
    event["meta"]["closed_at"] = {"seconds": str(seconds)} if seconds else {}
    return event


def events_of_store(store: str) -> dict[int, tuple[list[Event], bool]]:
    """Ledger → its events, and whether their order is core's; in derived mode they turn round the legs of trades."""
    found: dict[int, tuple[list[Event], bool]] = {}
    for mode in ("derived", "unified"):  # unified where there is such
        by_ledger: dict[int, list[Event]] = defaultdict(list)
        for line in peer_rows(f"real/ttp_{mode}.jsonl.gz"):
            if line["store"] == store:
                by_ledger[line["ledger"]].append(event_of(line["row"]))
        found |= {ledger: (events, mode == "unified") for ledger, events in by_ledger.items()}
    return found


def counted(events: list[Event]) -> Counter[str]:
    return Counter(json.dumps(event, sort_keys=True) for event in events)


def check(got: list[Event], wanted: list[Event], in_order: bool) -> None:
    """The same events; in the same order, or at least with transactions in the same order."""
    if in_order:
        assert got == wanted
    else:
        assert counted(got) == counted(wanted)
        indices = [[event["meta"]["transaction_index"] for event in events] for events in (got, wanted)]
        assert indices[0] == indices[1]
