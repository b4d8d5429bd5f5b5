"""What every encoding gives back of every kind of value, read by other people's readers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from kafka_consumer.cells import varints, zigzag
from kafka_consumer.encodings import ENCODINGS
from kafka_consumer.encodings.base import RowTooLargeError
from kafka_consumer.errors import EncodingError

from consumers.kafka.tests.support import compile_proto, decode
from stellar_arrow_client.testing import sample_table

BY_ROW = ("json", "avro", "protobuf")
ITEM = pa.struct([pa.field("kind", pa.string(), nullable=False), ("code", pa.string()), ("number", pa.int64())])
SCHEMA = pa.schema(
    [
        pa.field("ledger_sequence", pa.uint32(), nullable=False, metadata={"description": 'The "ledger".\nIts number'}),
        pa.field("closed_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("flag", pa.bool_(), metadata={"unit": "yes or no"}),
        ("tiny", pa.uint8()),
        ("short", pa.int32()),
        ("amount", pa.int64(), False),
        ("fee", pa.uint64()),
        ("balance", pa.decimal128(38, 0)),
        ("hash", pa.binary(32)),
        ("memo", pa.string()),
        ("memo_bytes", pa.binary()),
        ("topics", pa.list_(pa.field("item", pa.string(), nullable=False)), False),
        ("hashes", pa.list_(pa.field("item", pa.binary(4), nullable=False))),
        ("numbers", pa.list_(pa.field("item", pa.uint32(), nullable=False))),
        ("sums", pa.list_(pa.field("item", pa.decimal128(38, 0), nullable=False))),
        ("path", pa.list_(pa.field("item", ITEM, nullable=False))),
        ("asset", ITEM),
        ("nothing", pa.string()),
    ],
    metadata={"stream": "made", "schema_version": "1", "network": "testnet"},
)
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
I128 = 10**38 - 1


def made_rows() -> list[dict[str, object]]:
    """Each kind of value at its limits, empty and null."""
    full = {
        "closed_at": datetime(2024, 8, 30, 23, 59, 59, 999999, UTC),
        "flag": True,
        "tiny": 255,
        "short": -(2**31),
        "amount": LARGEST,
        "fee": 2**64 - 1,
        "balance": Decimal(I128),
        "hash": bytes(range(224, 256)),
        "memo": 'quote " backslash \\ newline \n bell \x07 nul \x00 del \x7f “ü” 🚀 \u2028 </script>',
        "memo_bytes": b"\xff\xfe not UTF-8 \x00",
        "topics": ["", 'a"b', "c\x1fd"],
        "hashes": [b"\x00\x01\x02\x03", b"abcd"],
        "numbers": [0, 127, 128, 2**32 - 1],
        "sums": [Decimal(-I128), Decimal(0)],
        "path": [{"kind": "native", "code": None, "number": SMALLEST}, {"kind": "", "code": 'X"', "number": None}],
        "asset": {"kind": "k", "code": "c", "number": -1},
    }
    empty = {
        "closed_at": datetime(1970, 1, 1, tzinfo=UTC),
        "flag": False,
        "tiny": 0,
        "short": 0,
        "amount": 0,
        "fee": 0,
        "balance": Decimal(0),
        "hash": bytes(32),
        "memo": "",
        "memo_bytes": b"",
        "topics": [],
        "hashes": [],
        "numbers": [],
        "sums": [],
        "path": [],
        "asset": {"kind": "", "code": None, "number": 0},
    }
    null = {"closed_at": datetime(1969, 12, 31, 23, 59, 59, 1, UTC), "amount": SMALLEST, "topics": ["x"]}
    low = full | {"amount": -1, "balance": Decimal(-I128), "short": 2**31 - 1, "numbers": [1], "memo": "plain"}
    return [{"ledger_sequence": 7, **row} for row in (full, empty, null, low)]


def batch_of(rows: list[dict[str, object]], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("order", ["0123", "3210", "0", "1", "2", "0000", "2222", "0202"])
def test_every_value_comes_back(encoding: str, order: str) -> None:
    """In every combination of nulls and equal values, since columns are written in ways that depend on these."""
    rows = [made_rows()[int(index)] for index in order]
    batch = batch_of(rows)
    made = ENCODINGS[encoding](SCHEMA, 10**6).encode(batch)
    assert decode(encoding, SCHEMA, made.values).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_parts_of_a_batch(encoding: str) -> None:
    """A batch that is a part of another, as is each array in it."""
    batch = batch_of([row for row in made_rows() for _ in range(3)]).slice(2, 8)
    made = ENCODINGS[encoding](SCHEMA, 10**6).encode(batch)
    assert decode(encoding, SCHEMA, made.values).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_sample(encoding: str) -> None:
    batch = sample_table(1000, 1040).combine_chunks().to_batches()[0]
    made = ENCODINGS[encoding](batch.schema, 10**6).encode(batch)
    assert decode(encoding, batch.schema, made.values).to_pylist() == batch.to_pylist()
    ledgers = batch.column(0).take(pa.array(made.rows)).to_pylist()
    assert ledgers == (sorted(set(ledgers)) if encoding == "arrow" else batch.column(0).to_pylist())


def test_json_is_compact_and_names_what_is_there() -> None:
    value = ENCODINGS["json"](SCHEMA, 0).encode(batch_of(made_rows()[2:3])).values[0]
    assert json.loads(value) == {
        "ledger_sequence": 7,
        "closed_at": "1969-12-31T23:59:59.000001Z",
        "amount": str(SMALLEST),
        "topics": ["x"],
    }


def test_json_schema_tells_types() -> None:
    document = json.loads(ENCODINGS["json"](SCHEMA, 0).schema_files("made")["schema.json"])
    assert document["properties"]["amount"] == {"type": "string", "pattern": "^-?[0-9]+$"}
    assert document["properties"]["flag"]["description"] == " (yes or no)"
    assert document["required"] == ["ledger_sequence", "closed_at", "amount", "topics"]


def test_proto_file_and_descriptors_agree() -> None:
    """The descriptor set is what the compiler makes of the file."""
    files = ENCODINGS["protobuf"](SCHEMA, 0).schema_files("sample_rows")
    compiled = compile_proto(files["proto"]).file[-1]
    made = FileDescriptorSet.FromString(files["desc"]).file[-1]
    _simplify(compiled)
    _simplify(made)
    assert made == compiled
    assert b'// The "ledger".\n  // Its number' in files["proto"]


def _simplify(file: object) -> None:
    """Names in JSON follow from names; names of types may be relative."""

    def visit(message: object) -> None:
        for field in message.field:
            field.ClearField("json_name")
            field.type_name = field.type_name.rpartition(".")[2]
        for nested in message.nested_type:
            visit(nested)

    for message in file.message_type:
        visit(message)


def test_protobuf_has_no_form_for_a_null_in_a_list() -> None:
    schema = pa.schema([pa.field("ledger_sequence", pa.uint32(), nullable=False), ("topics", pa.list_(pa.string()))])
    batch = batch_of([{"ledger_sequence": 1, "topics": ["a", None]}], schema)
    with pytest.raises(EncodingError, match="a list of column topics has a null"):
        ENCODINGS["protobuf"](schema, 0).encode(batch)
    for encoding in ("json", "avro"):
        made = ENCODINGS[encoding](schema, 0).encode(batch)
        assert decode(encoding, schema, made.values).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("encoding", BY_ROW)
def test_types_without_a_form_are_refused_at_once(encoding: str) -> None:
    schema = pa.schema([pa.field("ledger_sequence", pa.uint32(), nullable=False), ("price", pa.float64())])
    with pytest.raises(EncodingError, match="column price is of type double, for which there is only --encoding arrow"):
        ENCODINGS[encoding](schema, 0)


def test_arrow_splits_ledgers_that_are_too_large() -> None:
    batch = sample_table(1000, 1000, rows_per_ledger=500).combine_chunks().to_batches()[0]
    whole = len(ENCODINGS["arrow"](batch.schema, 10**6).encode(batch).values[0])
    made = ENCODINGS["arrow"](batch.schema, whole // 2).encode(batch)
    assert len(made.values) > 2
    assert max(map(len, made.values)) <= whole // 2
    assert decode("arrow", batch.schema, made.values).to_pylist() == batch.to_pylist()
    with pytest.raises(RowTooLargeError, match="a row of ledger 1000 has"):
        ENCODINGS["arrow"](batch.schema, 100).encode(batch)


def test_varints() -> None:
    numbers = [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**32, 2**63, 2**64 - 1]
    cells = varints(np.array(numbers, np.uint64), pa.array(numbers, pa.uint64())).to_pylist()
    for number, cell in zip(numbers, cells, strict=True):
        assert sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(cell)) == number
        assert len(cell) == max(1, -(-number.bit_length() // 7))
        assert [byte >> 7 for byte in cell] == [1] * (len(cell) - 1) + [0]
    assert zigzag(np.array([0, -1, 1, LARGEST, SMALLEST])).tolist() == [0, 1, 2, 2**64 - 2, 2**64 - 1]
