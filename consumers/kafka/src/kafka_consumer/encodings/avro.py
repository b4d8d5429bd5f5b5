"""Rows as Avro records: the bare binary form, to be read with the schema file.

Source: Apache Avro 1.12 specification, "Binary encoding" and "Logical types".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafka_consumer.cells import big_endian, gathered, numbers, sized, varints, zigzag
from kafka_consumer.encodings.base import RowEncoding, description, kind_of
from stellar_arrow_client.cells import Part, at_zero, binary, items, join, made_of
from stellar_arrow_client.json_rows import Kind

NAMESPACE: Final = "stellar"
_ULONG_BYTES: Final = 9
_DECIMAL_BYTES: Final = 16


def _long(column: pa.Array) -> list[Part]:
    return [varints(zigzag(numbers(column)), column)]


def _bool(column: pa.Array) -> list[Part]:
    return [made_of(np.arange(len(column) + 1), numbers(column), column)]


def _bytes(column: pa.Array) -> list[Part]:
    return sized(binary(column), zigzag)


_PARTS: Final[Mapping[Kind, Callable[[pa.Array], list[Part]]]] = {
    Kind.BOOL: _bool,
    **dict.fromkeys((Kind.INT, Kind.LONG, Kind.TIME), _long),
    Kind.ULONG: lambda column: [big_endian(column, _ULONG_BYTES)],
    Kind.DECIMAL: lambda column: [big_endian(column, _DECIMAL_BYTES)],
    **dict.fromkeys((Kind.TEXT, Kind.BYTES), _bytes),
    Kind.FIXED: lambda column: [binary(column)],
}


class AvroEncoding(RowEncoding):
    """Avro records; the schema file is an ``.avsc``.

    Integers of at most 32 bits are ``int`` (``long`` where unsigned), those of 64 bits ``long``; unsigned ones of 64
    bits and decimals are exact, as ``decimal`` of scale 0. Times are ``timestamp-micros``. What may be null is a union
    with ``null`` first.
    """

    def __init__(self, schema: pa.Schema, _max_bytes: int = 0) -> None:
        super().__init__(schema)
        self._fields = _Types().fields(schema)

    def rows(self, columns: list[pa.Array], count: int) -> pa.Array:
        parts = [part for field, column in zip(self.schema, columns, strict=True) for part in _or_null(field, column)]
        return join(parts, count)

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        record = {"type": "record", "name": name, "namespace": NAMESPACE, "fields": self._fields}
        return {"avsc": json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n"}


def _or_null(field: pa.Field, column: pa.Array) -> list[Part]:
    """The values of a column, each after the branch of its union where it may be null."""
    if not field.nullable:
        return _parts(column)
    if column.null_count == len(column):
        return [b"\x00"]
    parts = [b"\x02", *_parts(column)]
    return [join(parts, len(column)).fill_null(b"\x00")] if column.null_count else parts


def _parts(column: pa.Array) -> list[Part]:
    kind = kind_of(column.type, "")
    if kind in _PARTS:
        return _PARTS[kind](column)
    if kind is Kind.LIST:
        values, starts = items(column)
        content = gathered(join(_or_null(column.type.value_field, values), len(values)), starts, column)
        counts = np.diff(starts)
        # A list is blocks of items, each after their number, and a block of none.
        block = join([varints(zigzag(counts), column), content, b"\x00"], len(column))
        return [pc.if_else(pa.array(counts > 0), block, pc.if_else(column.is_valid(), b"\x00", None))]
    parts: list[Part] = []
    for field, values in zip(column.type, column.flatten(), strict=True):
        parts += _or_null(field, at_zero(values))
    whole = join(parts, len(column))
    return [pc.if_else(column.is_valid(), whole, None) if column.null_count else whole]


class _Types:
    """Makes the types of a record; named ones are defined where they are first used, and then referred to."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def fields(self, fields: pa.Schema | pa.StructType, prefix: str = "") -> list[dict[str, Any]]:
        return [self._field(field, f"{prefix}{field.name}") for field in fields]

    def _field(self, field: pa.Field, path: str) -> dict[str, Any]:
        type_ = self._or_null(field, path)
        described: dict[str, Any] = {"name": field.name, "type": type_}
        if notes := description(field):
            described["doc"] = notes
        return described | ({"default": None} if field.nullable else {})

    def _or_null(self, field: pa.Field, path: str) -> Any:
        type_ = self._type(field.type, path)
        return ["null", type_] if field.nullable else type_

    def _type(self, type_: pa.DataType, path: str) -> Any:
        kind = kind_of(type_, path)
        if kind is Kind.INT:
            return "long" if type_ == pa.uint32() else "int"
        if kind is Kind.LIST:
            return {"type": "array", "items": self._or_null(type_.value_field, path)}
        if kind is Kind.STRUCT:
            record = {"type": "record", "name": path, "fields": self.fields(type_, f"{path}_")}
            return self._define(record)
        return _SIMPLE[kind](self, type_)

    def fixed(self, size: int) -> Any:
        return self._define({"type": "fixed", "name": f"fixed_{size}", "size": size})

    def decimal(self, size: int, precision: int) -> Any:
        logical = {"logicalType": "decimal", "precision": precision, "scale": 0}
        return self._define({"type": "fixed", "name": f"decimal_{precision}", "size": size} | logical)

    def _define(self, definition: dict[str, Any]) -> Any:
        name = definition["name"]
        if name in self._named:
            return name
        self._named.add(name)
        return definition


_SIMPLE: Final[Mapping[Kind, Callable[[_Types, pa.DataType], Any]]] = {
    Kind.BOOL: lambda _types, _type: "boolean",
    Kind.LONG: lambda _types, _type: "long",
    Kind.ULONG: lambda types, _type: types.decimal(_ULONG_BYTES, 20),
    Kind.DECIMAL: lambda types, type_: types.decimal(_DECIMAL_BYTES, type_.precision),
    Kind.TIME: lambda _types, _type: {"type": "long", "logicalType": "timestamp-micros"},
    Kind.TEXT: lambda _types, _type: "string",
    Kind.BYTES: lambda _types, _type: "bytes",
    Kind.FIXED: lambda types, type_: types.fixed(type_.byte_width),
}
