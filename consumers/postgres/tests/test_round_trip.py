"""What tables hold is what streams say, value for value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from postgres_consumer.columns import Encoder, columns_of, escape

from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.testing import FakeServer
from stellar_arrow_source.tables import STREAMS
from tests.support.corpus import requires_corpus
from tests.support.made_tables import corpus_tables, made_tables

FIRST, LAST = 1000, 1149


def test_all_streams_of_made_ledgers(command, reader) -> None:
    """In several ranges at a time, and partitioned; with memos that are not UTF-8."""
    names = [stream.name for stream in STREAMS]
    tables = made_tables(names, FIRST, LAST)
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=20) as server:
        options = ("--stream", "all", "--writers", 2, "--partition-ledgers", 64)
        done = command(server.address, FIRST, LAST, *options)
        assert done.stdout.split() == [f"{command.schema}.{name}" for name in names]
        command(server.address, FIRST, LAST, *options)
    filled = [name for name in names if tables[name].num_rows]
    assert len(filled) > 10
    for name in names:
        assert reader.ledgers(name) == [(FIRST, LAST)]
        reader.check(name, tables[name])
    [(memos,)] = reader.query(f"SELECT count(memo_bytes) FROM {reader.schema}.transactions")
    assert memos > 0, "some of the made memos are not UTF-8"


@requires_corpus
def test_all_ledgers_of_the_corpus(command, reader) -> None:
    """Large amounts, lists and structs that are there, empty, or null."""
    streams = ["transactions", "operations", "ttp_events", "effects", "contract_events", "claimable_balances"]
    ledgers, tables = corpus_tables(streams)
    with FakeServer(tables, 1, ledgers, ledgers_per_batch=50) as server:
        command(server.address, 1, ledgers, "--stream", ",".join(streams))
    for stream in streams:
        reader.check(stream, tables[stream])
    [(largest,)] = reader.query(f"SELECT max(amount) FROM {reader.schema}.ttp_events")
    assert largest == 2**63 - 1, "the corpus has the largest of the classic amounts"


LIMITS = {
    pa.bool_(): ("boolean", [True, False]),
    pa.int8(): ("smallint", [-128, 127]),
    pa.uint8(): ("smallint", [0, 255]),
    pa.int16(): ("smallint", [-(2**15), 2**15 - 1]),
    pa.uint16(): ("integer", [0, 2**16 - 1]),
    pa.int32(): ("integer", [-(2**31), 2**31 - 1]),
    pa.uint32(): ("bigint", [0, 2**32 - 1]),
    pa.int64(): ("bigint", [-(2**63), 2**63 - 1]),
    pa.uint64(): ("numeric(20,0)", [0, 1, 10_000, 2**64 - 1]),
    pa.decimal128(38, 0): ("numeric(38,0)", [0, 1, -1, 10**37, 10**38 - 1, -(10**38) + 1, 9999, 10_000, 10**20]),
    pa.decimal128(9, 7): ("numeric(9,7)", [Decimal("0.0000001"), Decimal("-99.9999999")]),
    pa.float32(): ("real", [0.5, -0.0]),
    pa.float64(): ("double precision", [0.1, -1e300]),
    pa.string(): ("text", ["", "\\N", "\\", "a\tb\nc", "\0", "␀", "␀0\0␀", "€𝄞", "x" * 100_000]),
    pa.large_string(): ("text", ["", "\0"]),
    pa.binary(): ("bytea", [b"", b"\0", bytes(range(256)), b"\xff" * 70_000]),
    pa.binary(4): ("bytea", [b"\0\1\2\3"]),
    pa.date32(): ("date", [date(1970, 1, 1), date(2262, 4, 11)]),
    pa.timestamp("us", "UTC"): ("timestamp with time zone", [datetime(2015, 9, 30, 16, 46, 54, 123456, UTC)]),
    pa.timestamp("s"): ("timestamp without time zone", [datetime(1999, 12, 31, 23, 59, 59)]),
    pa.list_(pa.string()): ("text[]", [[], [""], ["NULL", "\0", "{", '"', None]]),
    pa.list_(pa.binary()): ("bytea[]", [[], [b"\0"]]),
    pa.list_(pa.binary(2)): ("bytea[]", [[], [b"\0\1", b"\1\0"]]),
    pa.list_(pa.uint32()): ("bigint[]", [[], [2**32 - 1]]),
    pa.list_(pa.uint64()): ("numeric(20,0)[]", [[], [2**64 - 1, 0]]),
    pa.struct([("a", pa.string())]): ("jsonb", [{"a": "\0␀"}, {"a": None}]),
    pa.list_(pa.struct([("a", pa.int64())])): ("jsonb", [[], [{"a": 2**63 - 1}, {"a": None}]]),
}
"""Arrow's types, what they are in PostgreSQL, and values of them."""


def _table(columns: Mapping[str, pa.Array]) -> pa.Table:
    """A stream of one ledger, 7, with these columns."""
    rows = len(next(iter(columns.values())))
    fields = {"ledger_sequence": pa.array([7] * rows, pa.uint32()), **columns}
    return pa.table(fields).replace_schema_metadata({"stream": "odd", "schema_version": "1"})


def test_every_type_at_its_limits(command, reader) -> None:
    rows = max(len(values) for _, values in LIMITS.values()) + 1
    table = _table(
        {
            f"c{index}": pa.array([*values, *[None] * (rows - len(values))], type_)
            for index, (type_, (_, values)) in enumerate(LIMITS.items())
        }
    )
    with FakeServer({"odd": table}, 7, 7) as server:
        command(server.address, 7, 7, "--stream", "odd")
    reader.check("odd", table)
    found = reader.query(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = '{reader.schema}.odd'::regclass AND attnum > 0 AND attname LIKE 'c%' ORDER BY attnum"
    )
    assert [kind for (kind,) in found] == [kind for kind, _ in LIMITS.values()]


@pytest.mark.parametrize(
    "type_",
    [
        pa.timestamp("ns"),
        pa.decimal256(50, 0),
        pa.dictionary(pa.int8(), pa.string()),
        pa.struct([("a", pa.binary())]),
        pa.list_(pa.list_(pa.int32())),
        pa.list_(pa.timestamp("ns")),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_held_exactly_is_refused(type_) -> None:
    schema = pa.schema([("ledger_sequence", pa.uint32()), ("value", type_)])
    with pytest.raises(OutputMismatchError, match=r"the column value has the type .* leave it out with --columns"):
        columns_of(schema)


def test_a_refused_column_can_be_left_out(command, reader) -> None:
    table = _table({"value": pa.nulls(1, pa.decimal256(50, 0))})
    with FakeServer({"odd": table}, 7, 7) as server:
        assert "leave it out with --columns" in command(server.address, 7, 7, "--stream", "odd", code=2).stderr
        command(server.address, 7, 7, "--stream", "odd", "--columns", "ledger_sequence")
    reader.check("odd", table.select(["ledger_sequence"]))


def test_parts_of_larger_batches() -> None:
    """Arrow's slices share buffers; what lies outside of them does not count, what lies in them does."""
    texts = ["\0", "a", "␀b", None, "c"]
    batch = _table({"text": pa.array(texts), "texts": pa.array([[text] for text in texts])}).to_batches()[0]
    encoder = Encoder(batch.schema)
    for start in range(len(texts)):
        for length in range(1, len(texts) - start + 1):
            [rows] = encoder.slices(batch.slice(start, length))
            wanted = [text and escape(text) for text in texts[start : start + length]]
            assert rows.column("text").to_pylist() == wanted
            assert rows.column("texts").to_pylist() == [[text] for text in wanted]
            assert rows.column("ledger_row").to_pylist() == list(range(length))
    assert [escape(text) for text in ("\0", "␀", "␀0", "\\")] == ["␀0", "␀␀", "␀␀0", "\\"]


def test_text_that_is_not_utf8_is_refused(command, reader) -> None:
    """Streams give such bytes as binary; a server that sends them as text contradicts itself."""
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with FakeServer({"odd": _table({"value": texts})}, 7, 7) as server:
        assert "invalid byte sequence" in command(server.address, 7, 7, "--stream", "odd", code=4).stderr
    assert reader.query(f"SELECT count(*) FROM {reader.schema}.odd") == [(0,)]


def test_comments_and_keys(command, reader, server) -> None:
    command(server.address, 100, 110, "--stream", "samples", "--index", "transaction_id,source_account")
    [(comment, column, kind)] = reader.query(
        "SELECT obj_description(c.oid), col_description(c.oid, attnum), format_type(atttypid, atttypmod) "
        "FROM pg_class c JOIN pg_attribute ON attrelid = c.oid "
        f"WHERE c.oid = '{reader.schema}.samples'::regclass AND attname = 'amount'"
    )
    assert (comment, column, kind) == ("rows of samples", "sample amount", "bigint")
    indexes = reader.query(
        f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{reader.schema}' AND tablename = 'samples'"
    )
    found = sorted(definition.split(" USING ")[1] for (definition,) in indexes)
    assert found == [
        "brin (ledger_sequence, ledger_close_time) WITH (autosummarize='on')",
        "btree (ledger_sequence, ledger_row)",
        "btree (source_account)",
        "btree (transaction_id)",
    ]
