"""Trades against the events that stellar-core emits of the same operations (CAP-67): what pools get and give."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.support.corpus import PASSPHRASES, ledgers, requires_corpus
from tests.support.decoding import decode_rows

Movement = tuple[int, str, str, int]
"""Operation, pool, ``in`` or ``out``, amount."""

PARTIES = {"transfer": ("out", "in"), "mint": ("in",), "burn": ("out",)}
"""Event → what its addresses, from topic 1 on, have done with the amount."""


def traded(row: dict[str, Any]) -> list[Movement]:
    place = (row["operation_id"], row["liquidity_pool_id"])
    return [(*place, "in", row["bought_amount"]), (*place, "out", row["sold_amount"])]


def emitted(row: dict[str, Any]) -> list[Movement]:
    topics = [json.loads(topic) for topic in row["topics"]]
    parties = zip(topics[1:], PARTIES[row["topic0"]], strict=False)
    moved = [(topic["address"], way) for topic, way in parties if topic["address"].startswith("L")]
    return [(row["operation_id"], pool, way, amount(json.loads(row["data"]))) for pool, way in moved]


def amount(data: Any) -> int:
    """The i128 itself, or the one under ``amount`` where the event also names a memo."""
    if "map" in data:
        (data,) = (entry["val"] for entry in data["map"] if entry["key"] == {"symbol": "amount"})
    return int(data["i128"])


@requires_corpus
def test_pools_trade_what_core_says() -> None:
    rows = decode_rows(
        [ledger.xdr for ledger in ledgers("pubnet")], PASSPHRASES["pubnet"], ["trades", "contract_events"]
    )
    told = {row["ledger_sequence"] for row in rows["contract_events"]}
    pools = [row for row in rows["trades"] if row["trade_type"] == "liquidity_pool"]
    trades = [row for row in pools if row["ledger_sequence"] in told]
    operations = {row["operation_id"] for row in trades}
    events = [row for row in rows["contract_events"] if row["operation_id"] in operations]
    assert Counter(m for row in trades for m in traded(row)) == Counter(m for row in events for m in emitted(row))
    assert len(trades) > 20
