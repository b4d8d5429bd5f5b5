"""Names, order, types and nullability of columns are what the streams' contract says."""

from __future__ import annotations

import pyarrow as pa
import pytest

from stellar_arrow_source.tables import catalog, find_stream
from tests.differential.expected.schema import SCHEMAS, ExpectedColumn
from tests.support.decoding import STREAMS


def spelt(data_type: pa.DataType) -> str:
    """A type as the expected schema writes it, whatever the name of a list's item."""
    if pa.types.is_list(data_type):
        return f"list<{spelt(data_type.value_type)}>"
    if pa.types.is_struct(data_type):
        fields = (f"{field.name} {spelt(field.type)}{'?' * field.nullable}" for field in data_type)
        return f"struct<{', '.join(fields)}>"
    return str(data_type)


def test_all_streams_are_tested() -> None:
    """Tests of every kind run over this list."""
    assert {stream.name for stream in catalog.STREAMS} == set(STREAMS)


@pytest.mark.parametrize("stream", STREAMS)
def test_columns(stream: str) -> None:
    declared = [
        ExpectedColumn(column.name, spelt(column.type), column.nullable, column.opt_in)
        for column in find_stream(stream).columns
    ]
    assert declared == list(SCHEMAS[stream])


@pytest.mark.parametrize("stream", STREAMS)
def test_schema_of_a_batch(stream: str) -> None:
    found = find_stream(stream)
    for names in (None, [column.name for column in reversed(found.columns)]):
        schema = found.schema(names, "pubnet")
        chosen = found.select(names)
        assert [(f.name, f.type, f.nullable) for f in schema] == [(c.name, c.type, c.nullable) for c in chosen]
        assert schema.metadata[b"stream"] == stream.encode()
        assert schema.metadata[b"schema_version"] == str(found.schema_version).encode()
        assert b"network" in schema.metadata
        for field, column in zip(schema, chosen, strict=True):
            assert field.metadata[b"description"] == column.description.encode()
            assert field.metadata.get(b"unit") == (column.unit.encode() if column.unit else None)


@pytest.mark.parametrize("stream", STREAMS)
def test_opt_in_columns_are_left_out_unless_named(stream: str) -> None:
    usual = [column.name for column in find_stream(stream).select(None)]
    assert usual == [column.name for column in SCHEMAS[stream] if not column.opt_in]
