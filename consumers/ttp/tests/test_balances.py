"""Balances are the sums of the events, to the last stroop, and agree with the ledger's own entries."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from ttp_processor.balances import EVENT_COLUMNS, Balances, RangeSink
from ttp_processor.cli import command
from ttp_processor.conservation import EntryDeltas, differences, requests
from ttp_processor.selection import Selection

from consumers.ttp.tests.made import made_table
from consumers.ttp.tests.oracle import Event, events_of_store
from stellar_arrow_client import Client, StreamRequest
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import Cursor
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus, requires_peers

RANGES = {
    "pubnet": (
        *((30820015, 30820015), (30822015, 30822025), (60659332, 60659332), (53312000, 53312000)),
        *((46154623, 46154623), (26154623, 26154623), (9722383, 9722383), (7762802, 7762802), (7320888, 7320888)),
    ),
    "pubnet-2020-meta-v2": ((30822015, 30822025),),
    "testnet-2022": ((1410048, 1410303),),
}
"""Ledgers of the stores that follow each other; the others have no event or stand alone before meta was complete."""

Changes = dict[tuple[str, str], int]


def changes_of(events: list[Event]) -> Changes:
    """Holder and asset → change, added up one by one."""
    found: Changes = defaultdict(int)
    for event in events:
        [body] = (body for kind, body in event.items() if kind != "meta")
        match body.get("asset"):
            case {"native": True}:
                asset = "native"
            case {"issued_asset": issued}:
                asset = f"{issued['asset_code']}:{issued['issuer']}"
            case _:
                asset = event["meta"]["contract_address"]
        if "from" in body:
            found[body["from"], asset] -= int(body["amount"])
        if "to" in body:
            found[body["to"], asset] += int(body["amount"])
    return found


Answer = tuple[int | str | None, str, str]
"""Exit code, standard output and standard error."""


@pytest.fixture
def balances(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command, in this process."""

    def run(*arguments: object) -> Answer:
        with pytest.raises(SystemExit) as left:
            command.main(["balances", *map(str, arguments), "--progress", "none"], prog_name="ttp-processor")
        return left.value.code, *capfd.readouterr()

    return run


@pytest.fixture(scope="module", params=RANGES)
def store(request: pytest.FixtureRequest, address_of: Callable[[str], str]) -> Iterator[tuple[str, Client]]:
    with Client(address_of(request.param)) as client:
        yield request.param, client


def read_entries(client: Client, first: int, last: int, selection: Selection) -> EntryDeltas:
    found = EntryDeltas(selection)
    for request, take in zip(requests(first, last), (found.add_entries, found.add_pools), strict=True):
        for batch, _ in client.stream(request):
            if batch.num_rows:
                take(batch)
    return found


@requires_corpus
@requires_peers
def test_balances_agree_with_events_and_entries(store: tuple[str, Client]) -> None:
    name, client = store
    wanted = events_of_store(name)
    compared = 0
    for first, last in RANGES[name]:
        found = Balances(Selection())
        request = StreamRequest("ttp_events", first, last, EVENT_COLUMNS)
        batches = [batch for batch, _ in client.stream(request) if batch.num_rows]
        for batch in batches:
            found.add(batch)
        expected = changes_of(
            [event for ledger in range(first, last + 1) for event in wanted.get(ledger, ([], True))[0]]
        )
        assert {key: flow.change for key, flow in found.flows.items()} == expected
        entries = read_entries(client, first, last, Selection())
        assert differences(found, entries) == []
        compared += len(expected)
        found.add(batches[0].slice(0, 1))  # once more
        assert differences(found, entries), "an event too many must show"
    assert compared > 200


@requires_corpus
def test_a_selection_is_a_part_of_all(store: tuple[str, Client]) -> None:
    name, client = store
    first, last = RANGES[name][0]
    table = client.read_table(StreamRequest("ttp_events", first, last, EVENT_COLUMNS)).combine_chunks()
    [batch] = table.to_batches()
    everything = Balances(Selection())
    everything.add(batch)
    holder = next(holder for holder, asset in everything.flows if asset == "native" and holder.startswith("G"))
    for selection in (Selection(accounts=(holder,)), Selection(assets=("native",))):
        found = Balances(selection)
        request = StreamRequest("ttp_events", first, last, EVENT_COLUMNS, selection.condition)
        for selected, _ in client.stream(request):
            found.add(selected)
        wanted = {
            (who, asset): flow
            for (who, asset), flow in everything.flows.items()
            if selection.holds(who) and (not selection.assets or asset == "native")
        }
        assert found.flows == wanted
        assert differences(found, read_entries(client, first, last, selection)) == []


def test_amounts_beyond_128_bits_add_up() -> None:
    [batch] = made_table(1000, 1400).select(EVENT_COLUMNS).combine_chunks().to_batches()
    found = Balances(Selection())
    for _ in range(3):
        found.add(batch)
    received: dict[tuple[str, str], int] = defaultdict(int)
    for row in batch.to_pylist():
        if row["to_address"] is not None:
            asset = "native" if row["asset_type"] == "native" else row["contract_id"]
            asset = f"{row['asset_code']}:{row['asset_issuer']}" if row["asset_issuer"] else asset
            received[row["to_address"], asset] += 3 * int(row["amount_raw"])
    assert {key: flow.received for key, flow in found.flows.items() if flow.received} == {
        key: amount for key, amount in received.items() if amount
    }
    assert max(received.values()) > 2**128


def entry(**fields: object) -> dict[str, object]:
    return {
        "ledger_sequence": 5,
        "change_index": 1,
        "pre_change_index": None,
        "change_type": "LEDGER_ENTRY_UPDATED",
        "liquidity_pool_id": None,
        "account_id": "G",
        "balance_id": None,
        "balance": 5,
        "asset_type": "native",
        "asset_code": "XLM",
        "asset_issuer": None,
    } | fields


def test_entries_that_do_not_say_what_they_were_cannot_be_checked() -> None:
    rows = [entry(change_type="LEDGER_ENTRY_CREATED"), entry(ledger_sequence=6)]
    schema = pa.schema(
        [("ledger_sequence", pa.uint32()), ("change_index", pa.uint32()), ("pre_change_index", pa.uint32())]
        + [(name, pa.string()) for name in ("change_type", "liquidity_pool_id", "account_id", "balance_id")]
        + [("balance", pa.int64())]
        + [(name, pa.string()) for name in ("asset_type", "asset_code", "asset_issuer")]
    )
    found = EntryDeltas(Selection())
    found.add_entries(pa.RecordBatch.from_pylist(rows[:1], schema))
    assert found.deltas == {("G", "native"): 5}
    with pytest.raises(IntegrityError, match="the meta of ledger 6 does not say"):
        found.add_entries(pa.RecordBatch.from_pylist(rows, schema))


def test_a_range_that_failed_gives_nothing() -> None:
    taken: list[pa.RecordBatch] = []
    sink = RangeSink(taken.append)
    batch = made_table(1002, 1002).to_batches()[0]
    assert sink.open(batch.schema, StreamRequest("ttp_events", 1001, 1002)) is None
    sink.write(batch.slice(0, 0), Cursor(1001, 1001))
    sink.write(batch, Cursor(1002, 1002))
    assert (taken, sink.checkpoint()) == ([batch], None)


def test_formats(balances: Callable[..., Answer]) -> None:
    with FakeServer({"ttp_events": made_table(1000, 1050)}, 1000, 1050) as server:
        shown = [balances(server.address, 1000, 1050, "--format", name) for name in ("json", "csv", "table")]
    assert {code for code, _, _ in shown} == {0}
    as_json, as_csv, as_table = (output for _, output, _ in shown)
    by_json = [json.loads(line) for line in as_json.splitlines()]
    assert by_json == list(csv.DictReader(io.StringIO(as_csv)))
    assert by_json == sorted(by_json, key=lambda row: (row["asset"], row["holder"]))
    lines = [line.split() for line in as_table.splitlines()]
    assert lines[0] == list(by_json[0])
    assert [[cell.replace(",", "") for cell in line] for line in lines[1:]] == [list(row.values()) for row in by_json]
    for row in by_json:
        assert int(row["change"]) == int(row["received"]) - int(row["sent"]) - int(row["fees"])


@requires_corpus
def test_the_check_of_the_command(store: tuple[str, Client], balances: Callable[..., Answer]) -> None:
    name, client = store
    first, last = RANGES[name][-1]
    code, output, said = balances(client.address, first, last, "--check", "--format", "csv")
    assert code == 0, said
    rows = list(csv.DictReader(io.StringIO(output)))
    others = [row for row in rows if row["holder"].startswith("C") or len(row["asset"].partition(":")[0]) == 56]
    told = f"{len(rows) - len(others)} balances agree with the ledger's entries; {len(others)} have no such entry"
    assert told in said


@requires_corpus
def test_a_difference_is_exit_code_4(
    address_of: Callable[[str], str], balances: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event is lost on the way to the sums."""
    add = Balances.add
    monkeypatch.setattr(Balances, "add", lambda self, batch: add(self, batch.slice(1)))
    code, _, said = balances(address_of("pubnet"), 30820015, 30820015, "--check", "-q")
    assert code == 4
    assert "error: 1 balances differ from the ledger's entries" in said
