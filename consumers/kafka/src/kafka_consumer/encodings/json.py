"""Rows as JSON objects whose numbers are exact, see :mod:`stellar_arrow_client.json_rows`, and their JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from kafka_consumer.encodings.base import RowEncoding, description, kind_of
from stellar_arrow_client.json_rows import Kind, json_rows

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
        return json_rows(self.schema, columns, count)

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        document = {"title": name, **self._document}
        return {"schema.json": json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"}


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
