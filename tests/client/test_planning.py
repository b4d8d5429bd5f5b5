"""What writers have in common: which streams, whether they belong to an output, what it lacks, in which order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

from stellar_arrow_client import Client, StreamRequest
from stellar_arrow_client.choice import Chosen, choose
from stellar_arrow_client.contents import Content, check_unchanged, difference
from stellar_arrow_client.errors import ExitCode, IntegrityError, OutputMismatchError, UnknownStreamError
from stellar_arrow_client.options import RunOptions, Selection
from stellar_arrow_client.planning import Plan, find_missing, rounds, run_plans
from stellar_arrow_client.ranges import LedgerRanges
from stellar_arrow_client.testing import FakeServer, sample_table

FIRST, LAST = 100, 159
SCHEMA = sample_table(FIRST, FIRST).schema
CONTENT = Content(stream="samples", network="testnet", schema_version=1, columns=("a", "b"), filter=None)


@pytest.fixture
def client() -> Iterator[Client]:
    tables = {name: sample_table(FIRST, LAST, stream=name) for name in ("samples", "others")}
    with FakeServer(tables, FIRST, LAST) as server, Client(server.address) as client:
        yield client


def test_streams_are_chosen_once_and_the_ledger_is_their_first_column(client: Client) -> None:
    [others, samples] = choose(client, ["others,samples", "others"], Selection(FIRST, LAST, ("amount", "memo")))
    assert samples.request == StreamRequest("samples", FIRST, LAST, ("ledger_sequence", "amount", "memo"))
    assert samples.schema.names == ["ledger_sequence", "amount", "memo"]
    assert (others.stream, others.description) == ("others", "rows of others")
    [one, *_] = choose(client, ["all"], Selection(columns=("amount", "ledger_sequence")), first=("memo",))
    assert one.request.columns == ("memo", "amount", "ledger_sequence")
    assert choose(client, ["samples"], Selection())[0].request.columns is None
    with pytest.raises(UnknownStreamError, match="did you mean 'samples'"):
        choose(client, ["sample"], Selection())


def test_content_is_what_the_server_says_of_a_stream() -> None:
    request = StreamRequest("samples", filter="amount > 1")
    content = Content.of(Chosen("", request, SCHEMA))
    assert (content.stream, content.network, content.schema_version) == ("samples", "testnet", 1)
    assert (content.columns, content.filter) == (tuple(SCHEMA.names), "amount > 1")
    passphrase = SCHEMA.with_metadata(SCHEMA.metadata | {b"network_passphrase": b"Test SDF Network"})
    assert Content.of(Chosen("", request, passphrase)).network == "Test SDF Network"
    assert Content.of(Chosen("", request, SCHEMA.with_metadata({"schema_version": "3"}))).network is None
    for version in ("", "x", "²", "9" * 9):
        with pytest.raises(IntegrityError, match="does not say which version the columns of samples have"):
            Content.of(Chosen("", request, SCHEMA.with_metadata({"schema_version": version})))


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"stream": "others"}, OutputMismatchError, "t holds samples, not others; choose"),
        ({"network": "pubnet"}, IntegrityError, "t holds ledgers of 'testnet' but the server gives those of 'pubnet'"),
        ({"filter": "b > 1"}, OutputMismatchError, "t holds all rows; give the same --filter or choose another t"),
        ({"schema_version": 2}, OutputMismatchError, "version 1 of the columns of samples, the server gives version 2"),
        ({"columns": ("a", "c")}, OutputMismatchError, "has the column b, .* give it in --columns or choose another t"),
    ],
)
def test_what_does_not_belong_to_an_output_is_refused(changes, error, says) -> None:
    with pytest.raises(error, match=says):
        CONTENT.check(replace(CONTENT, **changes), "t", "choose another t")


def test_columns_that_an_output_lacks() -> None:
    assert CONTENT.check(replace(CONTENT, network=None), "t", "choose another t") == ()
    wider = replace(CONTENT, columns=("b", "c", "a", "d"))
    assert CONTENT.check(wider, "t", "choose another t") == ("c", "d")
    CONTENT.check_lacking(("c", "d"), "t", "rows get null", add_columns=True)
    CONTENT.check_lacking((), "t", "rows get null", add_columns=False)
    refused = r"t lacks c, d; give --schema-change add to add them \(rows get null\) or --columns a,b to go on without"
    with pytest.raises(OutputMismatchError, match=refused):
        CONTENT.check_lacking(("c", "d"), "t", "rows get null", add_columns=False)


def test_how_columns_differ() -> None:
    assert difference({"a": 1, "b": 1}, {"b": 2, "c": 1}) == "new: c; gone: a; other types: b"
    assert difference({"a": 1, "b": 1}, {"b": 1, "a": 1}) == "in another order"


def test_a_stream_that_changed_since_the_plan_is_refused() -> None:
    check_unchanged(SCHEMA, SCHEMA, "samples")
    with pytest.raises(IntegrityError, match="the columns of samples changed while the run began"):
        check_unchanged(SCHEMA, SCHEMA.append(pa.field("x", pa.int8())), "samples")


def parts(plan: tuple[StreamRequest, ...]) -> list[tuple[int | None, int | None]]:
    return [(part.start, part.end) for part in plan]


def test_what_an_output_lacks(caplog: pytest.LogCaptureFixture) -> None:
    held = LedgerRanges([(140, 149), (110, 119)])

    def missing(start: int | None, end: int | None, held: LedgerRanges = held, latest: int | None = 200):
        request = StreamRequest("samples", start, end, ("a",), "a > 1")
        found = find_missing(request, held, "t", lambda: latest)
        assert all(replace(part, start=start, end=end) == request for part in found)
        return parts(found)

    assert missing(100, 160) == [(100, 109), (120, 139), (150, 160)]
    assert missing(110, 119) == []
    assert missing(130, None) == [(130, 139), (150, None)]
    assert not caplog.messages
    assert missing(None, None) == [(150, None)]
    assert caplog.messages == ["t lacks ledgers 120 to 139; give them as START and END"]
    assert missing(None, None, LedgerRanges()) == [(200, None)]
    assert missing(None, None, LedgerRanges(), None) == [(None, None)]


def plan(name: str, *ranges: tuple[int | None, int | None]) -> Plan:
    missing = tuple(StreamRequest(name, start, end) for start, end in ranges)
    return Plan(output=f"out/{name}", chosen=Chosen("", StreamRequest(name), SCHEMA), missing=missing)


def test_a_plan_says_what_would_be_read() -> None:
    columns = ",".join(SCHEMA.names)
    assert str(plan("samples", (1, 5), (9, None))) == (
        f"samples: ledgers 1 to 5, from 9 on would be written to out/samples with the columns {columns}"
    )
    assert "ledgers from the latest one on would" in str(plan("samples", (None, None)))
    assert str(plan("samples")) == "samples: already complete in out/samples"


def test_tips_are_followed_together_when_nothing_else_is_missing() -> None:
    one, two, three = plan("one", (1, 2), (5, 6), (9, None)), plan("two", (1, None)), plan("three", (3, 4))
    names = [[(found.chosen.stream, part.start) for found, part in together] for together in rounds([one, two, three])]
    assert names == [[("one", 1), ("three", 3)], [("one", 5)], [("one", 9), ("two", 1)]]
    names = [[part.start for _, part in together] for together in rounds([one, two, three], at_once=2)]
    assert names == [[1, 5, 3], [9, 1]]
    assert list(rounds([plan("samples")])) == []


@dataclass
class Kept:
    """A sink that keeps the ledgers of its rows."""

    ledgers: list[int]

    def open(self, schema: pa.Schema, request: StreamRequest) -> None:
        return None

    def write(self, batch: pa.RecordBatch, cursor: object) -> None:
        self.ledgers += batch.column("ledger_sequence").to_pylist()

    def checkpoint(self) -> None:
        return None

    def close(self, *, complete: bool = True) -> None:
        return None


def test_plans_are_run_part_by_part(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept: dict[str, list[int]] = {"out/samples": [], "out/others": []}
    plans = [plan("samples", (100, 104), (110, 119)), plan("others", (100, 101)), plan("none")]
    stops = []

    def sink(plan: Plan, stop):
        stops.append(stop)
        return Kept(kept[plan.output])

    code = run_plans(plans, client, sink, options=RunOptions("none"), checkpoint_seconds=60)
    assert code == ExitCode.OK
    for name, ledgers in {"samples": {*range(100, 105), *range(110, 120)}, "others": {100, 101}}.items():
        expected = sample_table(FIRST, LAST, stream=name).column("ledger_sequence").to_pylist()
        assert kept[f"out/{name}"] == [ledger for ledger in expected if ledger in ledgers]
    assert "out/none: already complete" in caplog.messages
    assert stops[0] is stops[1] is not stops[2]


def test_a_round_that_is_ended_early_is_the_last(client: Client) -> None:
    began = []

    def sink(plan: Plan, stop):
        began.append(plan)
        stop.set()
        return Kept([])

    plans = [plan("samples", (100, 104), (LAST + 100, None))]
    assert run_plans(plans, client, sink, options=RunOptions("none"), checkpoint_seconds=60) == ExitCode.OK
    assert len(began) == 2  # only a signal ends a run
