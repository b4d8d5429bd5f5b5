"""Our token-transfer events against those of the Go SDK's processor, of stellar-etl and of stellar-core itself."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import pytest

from stellar_arrow_source.tables import LedgerDecoder, catalog
from stellar_arrow_source.tables.transfers.stream import ttp_stream
from tests.golden.fields import Row
from tests.golden.peers import paired
from tests.support.corpus import PUBNET, files, peer_rows, read, requires_corpus, requires_peers
from tests.support.decoding import rows_by_ledger

pytestmark = requires_corpus


def decode_as(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stream take its events from where ``mode`` says."""
    monkeypatch.setitem(catalog._BY_NAME, "ttp_events", ttp_stream(mode))


def muxed(row: Row) -> dict[str, str] | None:
    match row["to_muxed_kind"]:
        case "id":
            return {"id": row["to_muxed_id"]}
        case "text":
            text = row["to_muxed_bytes"] if row["to_muxed_id"] is None else row["to_muxed_id"].encode()
            return {"text_b64": base64.b64encode(text).decode()}
        case "hash":
            return {"hash": base64.b64decode(row["to_muxed_id"]).hex()}
    return None


def asset(row: Row) -> str | None:
    if row["asset_type"] is None:
        return None
    return "native" if row["is_native_asset"] else f"{row['asset_code']}:{row['asset_issuer']}"


def theirs(row: Row) -> Row:
    """Our row as the Go SDK's processor writes it."""
    return {
        "amount": row["amount_raw"],
        "asset": asset(row),
        "closed_at": int(row["ledger_close_time"].timestamp()),
        "contract_address": row["contract_id"],
        "event_type": row["event_type"],
        "from": row["from_address"],
        "ledger_sequence": row["ledger_sequence"],
        "op_index": row["operation_index"],
        "operation_toid": row["operation_id"],
        "to": row["to_address"],
        "to_muxed_info": muxed(row),
        "transaction_toid": row["transaction_id"],
        "tx_hash": row["transaction_hash"].hex(),
        "tx_index": row["transaction_index"],
    }


def counted(rows: list[Row]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(tuple(sorted((name, repr(value)) for name, value in row.items())) for row in rows)


@requires_peers
@pytest.mark.parametrize("kind", ["real", "core"])
@pytest.mark.parametrize("mode", ["unified", "derived"])
def test_events_equal_those_of_the_go_sdk(kind: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are the same, and in the same order but for the two legs of a trade, which they derive in reverse.

    In unified mode they read no meta but of version 4.
    """
    decode_as(mode, monkeypatch)
    compared = 0
    for ledger, their_rows, streams in paired(kind, f"ttp_{mode}", ["ttp_events"]):
        if not their_rows and mode == "unified":
            continue
        ours = streams["ttp_events"]
        assert [row["event_index"] for row in ours] == list(range(len(ours)))
        assert [row["event_index"] for row in their_rows] == list(range(len(their_rows)))
        want = [{name: value for name, value in row.items() if name != "event_index"} for row in their_rows]
        got = [theirs(row) for row in ours]
        if mode == "unified":
            assert got == want, ledger
        assert counted(got) == counted(want), ledger
        assert [row["tx_index"] for row in got] == [row["tx_index"] for row in want], ledger
        compared += len(got)
    assert compared >= {("real", "unified"): 1359, ("core", "unified"): 515, ("real", "derived"): 4780}.get(
        (kind, mode), 3706
    )


@requires_peers
@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2"])
def test_events_equal_those_of_stellar_etl(store: str) -> None:
    """Their float amounts are not compared, and of a text memo they make a muxed id, 0."""
    ours: Counter[Any] = Counter()
    sequences = {row["ledger_sequence"] for row in peer_rows("stellar-etl/token_transfers.jsonl.gz")}
    for row in rows_of(store, sequences):
        ours[
            row["ledger_sequence"], row["transaction_id"], row["operation_id"], row["transaction_hash"].hex(),
            row["event_type"], row["from_address"], row["to_address"], row["amount_raw"], row["contract_id"],
            row["asset_type"], None if row["is_native_asset"] else row["asset_code"], row["asset_issuer"],
            {"id": row["to_muxed_id"], "text": "0", None: None}[row["to_muxed_kind"]],
        ] += 1  # fmt: skip
    want = Counter(
        (
            row["ledger_sequence"], row["transaction_id"], row["operation_id"], row["transaction_hash"],
            row["event_topic"], row["from"], row["to"], row["amount_raw"], row["contract_id"],
            row["asset_type"], row["asset_code"], row["asset_issuer"], row["to_muxed_id"],
        )
        for row in peer_rows("stellar-etl/token_transfers.jsonl.gz")
    )  # fmt: skip
    assert ours == want
    assert sum(want.values()) == 728


def rows_of(store: str, sequences: set[int]) -> list[Row]:
    decoder = LedgerDecoder({"ttp_events": None}, passphrase=PUBNET)
    found = []
    for file in files(store):
        decoded = decoder.decode([ledger.xdr for ledger in read(file)])
        for sequence, rows in zip(decoded.sequences.tolist(), rows_by_ledger(decoded, "ttp_events"), strict=True):
            found += rows if sequence in sequences else []
    return found


def test_derived_events_equal_those_of_core_in_order() -> None:
    """The ledgers of 2020 lie in two stores: with core's events, and with the meta of their time, without."""
    sequences = set(range(30820015, 30822026))
    unified = rows_of("pubnet", sequences)
    derived = rows_of("pubnet-2020-meta-v2", sequences)
    assert {row.pop("events_mode") for row in unified} == {"unified"}
    assert {row.pop("events_mode") for row in derived} == {"derived"}
    assert len(unified) == 728
    assert unified == derived


def test_every_transaction_with_events_of_core_can_be_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever core emitted events, deriving them instead gives the same rows in the same order."""
    compared = 0
    for file in files():
        ledgers = [ledger.xdr for ledger in read(file)]
        both = []
        for mode in ("auto", "derived"):
            decode_as(mode, monkeypatch)
            decoder = LedgerDecoder({"ttp_events": None}, passphrase=read(file)[0].passphrase)
            both.append(decoder.decode(ledgers).batches["ttp_events"].to_pylist())
        modes = [row.pop("events_mode") for row in both[0]]
        assert {row.pop("events_mode") for row in both[1]} <= {"derived"}
        assert both[0] == both[1], file
        compared += modes.count("unified")
    assert compared >= 1874
