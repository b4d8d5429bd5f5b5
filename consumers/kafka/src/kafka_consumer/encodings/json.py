"""Rows as JSON objects whose numbers are exact.

Integers of 64 bits and decimals are strings, since most readers take JSON numbers for floating-point ones; shorter
integers are numbers. Bytes are lower-case hexadecimal, times RFC 3339 in UTC. A column that is null is left out;
within lists and structures null is ``null``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from kafka_consumer.cells import Part, at_zero, binary, decimal_text, hexadecimal, items, join, time_text
from kafka_consumer.encodings.base import Kind, RowEncoding, description, kind_of

_PLAIN: Final[Mapping[Kind, Callable[[pa.Array], pa.Array]]] = {
    Kind.BOOL: lambda column: column.cast(pa.string()).cast(pa.binary()),
    Kind.INT: decimal_text,
}
_QUOTED: Final[Mapping[Kind, Callable[[pa.Array], pa.Array]]] = {
    Kind.LONG: decimal_text,
    Kind.ULONG: decimal_text,
    Kind.DECIMAL: decimal_text,
    Kind.TIME: time_text,
    Kind.BYTES: hexadecimal,
    Kind.FIXED: hexadecimal,
    Kind.TEXT: lambda column: binary(_escaped(column)),
}
_SCHEMAS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    Kind.BOOL: {"type": "boolean"},
    Kind.INT: {"type": "integer"},
    **{kind: {"type": "string", "pattern": "^-?[0-9]+$"} for kind in (Kind.LONG, Kind.ULONG, Kind.DECIMAL)},
    Kind.TIME: {"type": "string", "format": "date-time"},
    **{kind: {"type": "string", "pattern": "^([0-9a-f]{2})*$"} for kind in (Kind.BYTES, Kind.FIXED)},
    Kind.TEXT: {"type": "string"},
}


class JsonEncoding(RowEncoding):
    """JSON objects; the schema file is a JSON Schema."""

    def __init__(self, schema: pa.Schema, _max_bytes: int = 0) -> None:
        super().__init__(schema)
        self._document = _object(schema) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}

    def rows(self, columns: list[pa.Array], count: int) -> pa.Array:
        parts: list[Part] = []
        for index, (field, column) in enumerate(zip(self.schema, columns, strict=True)):
            if column.null_count == count:
                continue
            cells = [f"{',' if index else '{'}{json.dumps(field.name)}:".encode(), *_parts(column)]
            parts += [join(cells, count).fill_null(b"")] if column.null_count else cells
        return join([*parts, b"}"], count)

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        document = {"title": name, **self._document}
        return {"schema.json": json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"}


def json_cells(column: pa.Array) -> pa.Array:
    """The values of a column in JSON, of which none is null."""
    return join(_parts(column), len(column)).fill_null(b"null")


def _parts(column: pa.Array) -> list[Part]:
    kind = kind_of(column.type, "")
    if kind in _PLAIN:
        return [_PLAIN[kind](column)]
    if kind in _QUOTED:
        return [b'"', _QUOTED[kind](column), b'"']
    if kind is Kind.LIST:
        values, starts = items(column)
        lists = pa.ListArray.from_arrays(pa.array(starts), json_cells(values))
        listed = pc.binary_join(lists, b",")
        return [b"[", pc.if_else(column.is_valid(), listed, None) if column.null_count else listed, b"]"]
    parts: list[Part] = []
    for index, (field, values) in enumerate(zip(column.type, column.flatten(), strict=True)):
        parts += [f"{',' if index else '{'}{json.dumps(field.name)}:".encode(), json_cells(at_zero(values))]
    whole = join([*parts, b"}"], len(column))
    return [pc.if_else(column.is_valid(), whole, None) if column.null_count else whole]


def _escaped(column: pa.Array) -> pa.Array:
    """Text as it stands between the quotes of a JSON string."""
    special = pc.match_substring_regex(column, r'["\\\x00-\x1f]')
    if not pc.any(special).as_py():
        return column
    column = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
    control = pc.match_substring_regex(column, r"[\x00-\x1f]").fill_null(False)
    if not pc.any(control).as_py():
        return column
    return pc.replace_with_mask(column, control, pa.array(map(_control_escaped, column.filter(control).to_pylist())))


_CONTROL: Final = {code: json.dumps(chr(code))[1:-1] for code in range(0x20)}


def _control_escaped(text: str) -> str:
    return text.translate(_CONTROL)


def _object(fields: pa.Schema | pa.StructType) -> dict[str, Any]:
    properties = {}
    for field in fields:
        notes = description(field)
        properties[field.name] = _described(field.type, field.name) | ({"description": notes} if notes else {})
    required = [field.name for field in fields if not field.nullable]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _described(type_: pa.DataType, column: str) -> dict[str, Any]:
    kind = kind_of(type_, column)
    if kind is Kind.LIST:
        return {"type": "array", "items": _or_null(type_.value_field, column)}
    if kind is Kind.STRUCT:
        whole = _object(type_)
        whole["properties"] = {field.name: _or_null(field, column) for field in type_}
        return whole | {"required": [field.name for field in type_]}
    return dict(_SCHEMAS[kind])


def _or_null(field: pa.Field, column: str) -> dict[str, Any]:
    document = _described(field.type, column)
    return {"anyOf": [document, {"type": "null"}]} if field.nullable else document
