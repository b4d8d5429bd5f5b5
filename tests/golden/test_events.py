"""Our events against those of the Go SDK's ingest reader and of stellar-extract."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from hashlib import sha256
from operator import itemgetter
from typing import Any

import pytest
from stellar_sdk import StrKey, xdr

from tests.golden.fields import Fields, Row, column, compare, hexadecimal, report, timestamp
from tests.golden.peers import paired
from tests.support.corpus import requires_corpus, requires_peers

pytestmark = [requires_corpus, requires_peers]

# -- the ingest reader: indices from 0, of an event within its operation or its transaction's list


def ingest_event(row: Row) -> dict[str, Any]:
    return {
        "contract_id": StrKey.decode_contract(row["contract_id"]).hex() if row["contract_id"] else None,
        "sha256": sha256(row["contract_event_xdr"]).hexdigest(),
        "topics": row["topic_count"],
        "type": row["event_type"],
    }


def ingest_contract_events(rows: list[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
    seen: Counter[tuple[int, int | None]] = Counter()
    found = {}
    for row in rows:
        operation = row["operation_index"] - 1 if row["operation_index"] is not None else None
        place = (row["transaction_index"], operation)
        stage = int(xdr.TransactionEventStage[row["stage"]]) if row["stage"] else None
        kind = "transaction" if operation is None else "operation"
        found[(*place, seen[place])] = {**ingest_event(row), "kind": kind, "stage": stage}
        seen[place] += 1
    return found


def ingest_diagnostic_events(rows: list[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {
        (row["transaction_index"], None, row["event_index"] - 1): {
            **ingest_event(row),
            "kind": "diagnostic",
            "stage": None,
            "in_successful_call": row["in_successful_contract_call"],
        }
        for row in rows
    }


@pytest.mark.parametrize(
    ("kind", "name", "stream", "translate", "count"),
    [
        ("real", "ingest_events", "contract_events", ingest_contract_events, 1413),
        ("core", "ingest_events", "contract_events", ingest_contract_events, 573),
        ("real", "ingest_diagnostics", "diagnostic_events", ingest_diagnostic_events, 1002),
        ("core", "ingest_diagnostics", "diagnostic_events", ingest_diagnostic_events, 15325),
    ],
)
def test_ingest_reader(kind: str, name: str, stream: str, translate: Callable[..., Any], count: int) -> None:
    """Every event is theirs and every one of theirs is ours, field by field."""
    compared, found = 0, []
    for ledger, theirs, ours in paired(kind, name, [stream]):
        expected = {}
        for row in theirs:
            place = (row.pop("tx_index"), row.pop("op_index"), row.pop("event_index"))
            assert place not in expected
            expected[place] = row
        given = translate(ours[stream])
        compared += len(expected)
        found += [
            f"{ledger} {place}: they say {expected.get(place)}, we {given.get(place)}"
            for place in expected.keys() | given.keys()
            if expected.get(place) != given.get(place)
        ]
    assert not found, report(found)
    assert compared == count


# -- stellar-extract: one table of all events


def base64(name: str) -> Callable[[Row], Any]:
    return lambda row: b64encode(row[name]).decode()


def topics_json(row: Row) -> str:
    return json.dumps([b64encode(topic).decode() for topic in row["topics_xdr"]], separators=(",", ":"))


def first_topic(row: Row) -> Any:
    """They give the text of strings as well as of symbols; ours is null then."""
    first = json.loads(row["topics"][0])
    if "string" in first:
        assert row["topic0"] is None
        return first["string"]
    return row["topic0"]


def in_successful_call(row: Row) -> bool:
    """They say false of every operation's event: the meta keeps only those of calls that succeeded (CAP-46-08)."""
    assert row["list"] != OF_OPERATION or row["in_successful_contract_call"]
    return row["list"] != OF_OPERATION and row["in_successful_contract_call"]


EXTRACT: Fields = {
    "ClosedAt": timestamp,
    "ContractEventXDR": base64("contract_event_xdr"),
    "ContractID": column("contract_id"),
    "DataXDR": base64("data_xdr"),
    # Diagnostic events are numbered in OperationIndex.
    "EventIndex": lambda row: row["number"] if row["list"] != DIAGNOSTIC else 0,
    # Everything in the list of diagnostic events is called so, copies of contract events too.
    "EventType": lambda row: row["event_type_string"].lower() if row["list"] != DIAGNOSTIC else "diagnostic",
    "InSuccessfulContractCall": in_successful_call,
    "LedgerSequence": column("ledger_sequence"),
    "OperationIndex": lambda row: (row.get("operation_index") or 1) - 1 if row["list"] != DIAGNOSTIC else row["number"],
    "Successful": column("successful"),
    "Topic0Decoded": first_topic,
    "TopicCount": column("topic_count"),
    "TopicsJSON": topics_json,
    "TransactionHash": hexadecimal("transaction_hash"),
}
EXTRACT_NOT_CARRIED = {
    "DataDecoded": "a JSON of their own; ours is SEP-51",
    "TopicsDecoded": "a JSON of their own; ours is SEP-51",
    "Topic1Decoded": "element 1 of topics, in a form of their own",
    "Topic2Decoded": "element 2 of topics, in a form of their own",
    "Topic3Decoded": "element 3 of topics, in a form of their own",
    "EventID": "hash and the two indices",
    "LedgerRange": "a partition of theirs",
}
DIAGNOSTIC, OF_OPERATION, OF_TRANSACTION = range(3)
"""The lists of a transaction's events, in their order."""


def in_their_order(rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Transaction hash → our events of both streams, with the list that each is of and its number there."""
    found: dict[str, list[Row]] = defaultdict(list)
    seen: Counter[tuple[bytes, int, int | None]] = Counter()
    for row in (*rows["contract_events"], *rows["diagnostic_events"]):
        operation = row.get("operation_index")
        kind = OF_OPERATION if operation else OF_TRANSACTION if "stage" in row else DIAGNOSTIC
        place = (row["transaction_hash"], kind, operation)
        found[row["transaction_hash"].hex()].append({**row, "list": kind, "number": seen[place]})
        seen[place] += 1
    return {transaction: sorted(events, key=itemgetter("list")) for transaction, events in found.items()}


@pytest.mark.parametrize(("kind", "count"), [("real", 2415), ("core", 15898)])
def test_stellar_extract(kind: str, count: int) -> None:
    compared, found = 0, []
    for ledger, theirs, rows in paired(kind, "extract_contract_events", ["contract_events", "diagnostic_events"]):
        ours = in_their_order(rows)
        expected: dict[str, list[Row]] = defaultdict(list)
        for row in theirs:
            expected[row["TransactionHash"]].append(row)
        assert ours.keys() == expected.keys(), ledger
        for transaction, events in expected.items():
            for number, (their_row, row) in enumerate(zip(events, ours[transaction], strict=True)):
                where = f"{ledger} {transaction} {number}"
                found += compare(where, their_row, row, EXTRACT, EXTRACT_NOT_CARRIED)
                compared += 1
    assert not found, report(found)
    assert compared == count
