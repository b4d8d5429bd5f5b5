"""Messages made from columns are those that protobuf's own classes would make, byte for byte."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from ttp_processor.columns import COLUMNS
from ttp_processor.json_lines import lines
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent
from ttp_processor.wire import encode, frame

from consumers.ttp.tests.made import SCHEMA, TYPES, made_table
from consumers.ttp.tests.oracle import event_of, event_of_message
from stellar_arrow_source.tables import LedgerDecoder
from tests.support.corpus import PASSPHRASES, files, peer_rows, read, requires_corpus, requires_peers


def built(row: dict[str, Any]) -> TokenTransferEvent:
    """The message of a row, set field by field."""
    event = TokenTransferEvent()
    meta = event.meta
    meta.ledger_sequence = row["ledger_sequence"]
    meta.closed_at.seconds = int(row["ledger_close_time"].timestamp())
    meta.tx_hash = row["transaction_hash"].hex()
    meta.transaction_index = row["transaction_index"]
    if row["operation_index"] is not None:
        meta.operation_index = row["operation_index"]
    meta.contract_address = row["contract_id"]
    match row["to_muxed_kind"]:
        case "id":
            meta.to_muxed_info.id = int(row["to_muxed_id"])
        case "text":
            raw = row["to_muxed_bytes"]
            meta.to_muxed_info.text = row["to_muxed_id"] if raw is None else raw.decode(errors="replace")
        case "hash":
            meta.to_muxed_info.hash = base64.b64decode(row["to_muxed_id"])
    body = getattr(event, row["event_type"])
    for side in ("from", "to"):
        if row[f"{side}_address"] is not None:
            setattr(body, side, row[f"{side}_address"])
    if row["asset_type"] == "native":
        body.asset.native = True
    elif row["asset_type"] is not None:
        body.asset.issued_asset.asset_code = row["asset_code"]
        body.asset.issued_asset.issuer = row["asset_issuer"]
    body.amount = row["amount_raw"]
    return event


def check(batch: pa.RecordBatch) -> list[TokenTransferEvent]:
    expected = [built(row) for row in batch.to_pylist()]
    wanted = batch.select(list(COLUMNS))
    assert encode(wanted).to_pylist() == [event.SerializeToString() for event in expected]
    assert [json.loads(line) for line in bytes(lines(wanted)).splitlines()] == [
        MessageToDict(event) for event in expected
    ]
    return expected


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    return made_table(100, 160, rows_per_ledger=30).combine_chunks().to_batches()[0]


def test_all_kinds_of_events(batch: pa.RecordBatch) -> None:
    events = check(batch)
    assert {event.WhichOneof("event") for event in events} == set(TYPES)
    assert {event.meta.to_muxed_info.WhichOneof("content") for event in events} == {None, "id", "text", "hash"}
    assert any(event.transfer.HasField("asset") for event in events)
    assert any(event.WhichOneof("event") == "burn" and not event.burn.HasField("asset") for event in events)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (3, 1), (17, 200), (1, 63)])
def test_slices(batch: pa.RecordBatch, offset: int, length: int) -> None:
    check(batch.slice(offset, length))


def test_frames_are_grpcs(batch: pa.RecordBatch) -> None:
    """Each message has a byte for compression, 0, and four for its length."""
    messages = encode(batch.slice(5, 100).select(list(COLUMNS)))
    wanted = b"".join(struct.pack(">?I", False, len(message)) + message for message in messages.to_pylist())
    assert bytes(frame(messages)) == wanted
    assert bytes(frame(messages.slice(0, 0))) == b""


def test_long_and_odd_values(batch: pa.RecordBatch) -> None:
    row = batch.slice(0, 1).to_pylist()[0]
    rows = [
        row | {"to_muxed_kind": "text", "to_muxed_id": "x" * length, "to_muxed_bytes": None}
        for length in (1, 127, 128, 16383, 16384, 300_000)
    ]
    rows += [row | {"transaction_index": index} for index in (0x7F, 0x80, 0x3FFF, 0x4000, 2**32 - 1)]
    rows += [row | {"operation_index": index, "ledger_sequence": 2**32 - 1} for index in (1, 2**32 - 1)]
    check(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "to_muxed_id": st.none() | st.text(),
                "to_muxed_bytes": st.binary(max_size=40),
                "asset_code": st.text(min_size=1, max_size=12),
                "transaction_index": st.integers(1, 2**32 - 1),
                "amount_raw": st.integers(-(2**127), 2**127 - 1).map(str),
                "event_type": st.sampled_from(TYPES),
            }
        ),
        max_size=8,
    )
)
def test_any_values(batch: pa.RecordBatch, changes: list[dict[str, Any]]) -> None:
    base = next(row for row in batch.to_pylist() if row["event_type"] == "transfer" and row["asset_issuer"])
    rows = []
    for change in changes:
        if change["to_muxed_id"] is not None:
            change["to_muxed_bytes"] = None
        given = base | change | {"to_muxed_kind": "text", "amount": None}
        if change["event_type"] != "transfer":
            given |= {"from_address": None} if change["event_type"] == "mint" else {"to_address": None}
        rows.append(given)
    check(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


@requires_corpus
@requires_peers
def test_messages_of_core_ledgers_are_those_of_the_go_sdk() -> None:
    """Ledgers that stellar-core's tests made: their events as the Go SDK's processor reads them from the meta."""
    wanted: dict[tuple[str, int], list[Any]] = {}
    for line in peer_rows("core/ttp_unified.jsonl.gz"):
        key = (line["file"].replace("/shared_extra/", "/"), line["frame"])
        wanted.setdefault(key, []).append(event_of(line["row"]))
    compared = 0
    for file in sorted({file for file, _ in wanted}):
        decoder = LedgerDecoder({"ttp_events": COLUMNS}, passphrase=PASSPHRASES[file.split("/", 1)[0]])
        decoded = decoder.decode([ledger.xdr for ledger in read(file)])
        messages = encode(decoded.batches["ttp_events"]).to_pylist()
        begin = 0
        for number, end in enumerate(decoded.row_ends["ttp_events"].tolist()):
            got = [event_of_message(TokenTransferEvent.FromString(message)) for message in messages[begin:end]]
            if (file, number) in wanted:
                assert got == wanted[file, number], (file, number)
                compared += len(got)
            begin = end
    assert compared >= 515
    assert files("stellar-core")
