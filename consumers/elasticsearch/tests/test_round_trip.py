"""What documents hold is what streams say, value for value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from elasticsearch_consumer.dashboard import STREAM, fields, saved_objects
from elasticsearch_consumer.documents import bulks
from elasticsearch_consumer.fields import MOST_KEYWORD_CHARACTERS, field_of

from stellar_arrow_client.errors import IntegrityError, InvalidRequestError
from stellar_arrow_client.testing import FakeServer, sample_table
from stellar_arrow_source.tables import STREAMS, find_stream
from tests.support.corpus import requires_corpus
from tests.support.made_tables import corpus_tables, made_tables

FIRST, LAST = 1000, 1059


def check(command, stream: str, table: pa.Table) -> None:
    """The indices hold the rows of a stream, in its order, each once."""
    assert command.table(stream, table.schema).to_pylist() == table.to_pylist()


def test_all_streams_of_made_ledgers(command) -> None:
    names = [stream.name for stream in STREAMS]
    tables = made_tables(names, FIRST, LAST)
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=20) as server:
        options = ("--stream", "all", "--index-ledgers", 40, "--setting", "index.refresh_interval=-1")
        done = command(server.address, FIRST, LAST, *options)
        assert done.stdout.split() == [f"{command.prefix}-{name}" for name in names]
        asked = len(server.requests)
        command(server.address, FIRST, LAST, *options)
        assert len(server.requests) == asked, "what is there is not read again"
    filled = [name for name in names if tables[name].num_rows]
    assert len(filled) > 10
    for name in names:
        assert command.held(name) == [(FIRST, LAST)]
        check(command, name, tables[name])
    indices = command.search.ask("GET", f"/_cat/indices/{command.prefix}-payments-*?format=json")
    assert {index["index"][-10:] for index in indices} == {"0000001000", "0000001040"}


@requires_corpus
def test_all_ledgers_of_the_corpus(command) -> None:
    """Large amounts, lists and structures that are there, empty, or null."""
    streams = ["transactions", "ttp_events", "trades", "claimable_balances"]
    ledgers, tables = corpus_tables(streams)
    with FakeServer(tables, 1, ledgers, ledgers_per_batch=100) as server:
        command(server.address, 1, ledgers, "--stream", ",".join(streams))
    for stream in streams:
        check(command, stream, tables[stream])
    assert max(tables["ttp_events"].column("amount").drop_null().to_pylist()) == 2**63 - 1


def test_exact_sums(command) -> None:
    """The request of the README adds up what the server's own sums cannot."""
    tables = made_tables(["ttp_events"], FIRST, LAST)
    with FakeServer(tables, FIRST, LAST) as server:
        command(server.address, FIRST, LAST, "--stream", "ttp_events", "--index-ledgers", 20)
    command.search.ask("POST", f"/{command.prefix}-ttp_events/_refresh")
    text = (Path(__file__).parents[1] / "README.md").read_text()
    [request] = re.findall(r"POST /stellar-ttp_events/_search\n(.*?)```", text, re.DOTALL)
    body = json.loads(request)
    amounts: dict[str | None, list[int]] = {}
    for row in tables["ttp_events"].select(["asset_code", "amount"]).to_pylist():
        amounts.setdefault(row["asset_code"], []).append(int(row["amount"] or 0))
    assert len(amounts) > 2
    assert sum(amounts[None]) > 2**64
    for code, values in amounts.items():
        has_no_code = {"bool": {"must_not": {"exists": {"field": "asset_code"}}}}
        body["query"] = has_no_code if code is None else {"term": {"asset_code": code}}
        found = command.search.ask("POST", f"/{command.prefix}-ttp_events/_search", body)
        assert int(found["aggregations"]["total"]["value"]) == sum(values)


LIMITS = {
    pa.bool_(): [True, False],
    pa.uint8(): [0, 255],
    pa.int32(): [-(2**31), 2**31 - 1],
    pa.uint32(): [0, 2**32 - 1],
    pa.int64(): [-(2**63), 2**63 - 1, 2**53 + 1],
    pa.uint64(): [0, 1, 2**53 + 1, 2**64 - 1],
    pa.decimal128(38, 0): [0, -1, 10**38 - 1, -(10**38) + 1, 2**63 - 1, 2**63],
    pa.string(): ["", "\\", 'a"b\tc\nd', "\0\x1f\x7f", "€𝄞\u2028", "x" * 40_000, "𝄞" * 9_000],
    pa.binary(): [b"", b"\0", bytes(range(256)), b"\xff" * 40_000],
    pa.binary(4): [b"\0\1\2\3"],
    pa.timestamp("us", "UTC"): [datetime(2015, 9, 30, 16, 46, 54, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
    pa.list_(pa.string()): [[], [""], ["NULL", "\0", "{", '"']],
    pa.list_(pa.struct([("a", pa.string()), ("b", pa.uint64())])): [[], [{"a": "1", "b": None}, {"a": None, "b": 2}]],
}
"""Types of streams, and values of them."""


def odd_table(columns: Mapping[str, pa.Array]) -> pa.Table:
    """A stream of one ledger, 7, with these columns."""
    rows = len(next(iter(columns.values())))
    names = {"ledger_sequence": pa.array([7] * rows, pa.uint32()), **columns}
    return pa.table(names).replace_schema_metadata({"stream": "odd", "schema_version": "1"})


def test_every_type_at_its_limits(command) -> None:
    rows = max(map(len, LIMITS.values())) + 1
    table = odd_table(
        {
            f"c{index}": pa.array([*values, *[None] * (rows - len(values))], type_)
            for index, (type_, values) in enumerate(LIMITS.items())
        }
    )
    with FakeServer({"odd": table}, 7, 7) as server:
        command(server.address, 7, 7, "--stream", "odd")
    check(command, "odd", table)
    alias = f"{command.prefix}-odd"

    def found(field: str, value: object) -> int:
        answer = command.search.ask("POST", f"/{alias}/_search", {"query": {"term": {field: value}}})
        return int(answer["hits"]["total"]["value"])

    names = {type_: f"c{index}" for index, type_ in enumerate(LIMITS)}
    # Exact, where a floating-point number would not be.
    for type_ in (pa.int64(), pa.uint64()):
        assert found(names[type_], 2**53 + 1) == 1
        assert found(names[type_], 2**53) == 0
    amount = names[pa.decimal128(38, 0)]
    assert found(amount, str(10**38 - 1)) == 1
    assert found(f"{amount}.long", 2**63 - 1) == 1
    assert found(names[pa.string()], "€𝄞\u2028") == 1
    assert len("x" * 40_000) > MOST_KEYWORD_CHARACTERS  # in the document, if not in the index


@pytest.mark.parametrize("type_", [pa.float64(), pa.timestamp("ns"), pa.decimal256(50, 0), pa.date32()], ids=str)
def test_a_type_that_has_no_exact_field_is_refused(type_) -> None:
    with pytest.raises(InvalidRequestError, match=r"column value is of type .* leave it out"):
        field_of(type_, "value")


def test_text_that_is_not_utf8_is_refused(command) -> None:
    """Streams give such bytes as binary; a server that sends them as text contradicts itself."""
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with FakeServer({"odd": odd_table({"value": texts})}, 7, 7) as server:
        assert "not valid" in command(server.address, 7, 7, "--stream", "odd", code=4).stderr
    assert command.held("odd") == []


def test_a_time_that_the_server_does_not_take_is_said(command) -> None:
    late = pa.array([2**62], pa.timestamp("us", "UTC"))
    with FakeServer({"odd": odd_table({"value": late})}, 7, 7) as server:
        said = command(server.address, 7, 7, "--stream", "odd", code=4).stderr
    assert "the document 7-0 is refused" in said
    assert "leave the column value out with --columns" in said


@pytest.mark.parametrize("most_bytes", [1, 2_000, 10**6])
def test_bulk_requests_are_cut_by_index_and_size(most_bytes) -> None:
    batch = sample_table(90, 129).combine_chunks().to_batches()[0]
    made = list(bulks(batch, 20, most_bytes))
    assert sum(bulk.rows for bulk in made) == batch.num_rows
    assert {bulk.period for bulk in made} == {4, 5, 6}
    assert all(bulk.first // 20 == bulk.last // 20 == bulk.period for bulk in made)
    assert all(len(bulk.body) <= most_bytes or bulk.rows == 1 for bulk in made)
    ids = [line.split(b'"')[5] for bulk in made for line in bulk.body.splitlines()[::2]]
    assert len(set(ids)) == len(ids) == batch.num_rows
    assert ids[:6] == [b"90-0", b"90-1", b"90-2", b"90-3", b"90-4", b"92-0"], "a ledger without rows is passed over"


def test_rows_out_of_order_are_refused() -> None:
    batch = odd_table({"value": pa.array(["a", "b"])}).combine_chunks().to_batches()[0]
    swapped = batch.set_column(0, "ledger_sequence", pa.array([8, 7], pa.uint32()))
    with pytest.raises(IntegrityError, match="order of their ledgers"):
        list(bulks(swapped, 10, 1000))


def test_the_dashboard_asks_for_columns_that_are_there() -> None:
    assert fields() <= {column.name for column in find_stream(STREAM).columns}
    objects = [json.loads(line) for line in saved_objects("stellar")]
    known = {(found["type"], found["id"]) for found in objects}
    referred = {(link["type"], link["id"]) for found in objects for link in found["references"]}
    assert referred <= known
    assert [found["type"] for found in objects] == ["index-pattern", *["visualization"] * 4, "dashboard"]
