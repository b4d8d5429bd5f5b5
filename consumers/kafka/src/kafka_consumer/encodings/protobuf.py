"""Rows as Protocol Buffers messages, proto3.

Source: the Protocol Buffers encoding and language guides (proto3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP

from kafka_consumer.cells import gathered, numbers, sized, varint, varints
from kafka_consumer.encodings.base import RowEncoding, description, kind_of
from kafka_consumer.encodings.proto_text import proto_text
from kafka_consumer.errors import EncodingError
from stellar_arrow_client.cells import Part, at_zero, binary, decimal_text, items, join, made_of
from stellar_arrow_client.json_rows import Kind

PACKAGE: Final = "stellar"
_VARINT, _LENGTH = 0, 2


def _integers(column: pa.Array) -> list[Part]:
    # A negative one is written as if it were unsigned of 64 bits.
    values = numbers(column)
    return [varints(values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values, column)]


def _bool(column: pa.Array) -> list[Part]:
    return [made_of(np.arange(len(column) + 1), numbers(column), column)]


def _time(column: pa.Array) -> list[Part]:
    seconds, micros = np.divmod(numbers(column), 1_000_000)
    times = [varint(1 << 3 | _VARINT), *_integers(_like(seconds, column))]
    if micros.any():
        times += [varint(2 << 3 | _VARINT), *_integers(_like(micros * 1000, column))]
    return sized(join(times, len(column)))


def _like(values: np.ndarray, column: pa.Array) -> pa.Array:
    """Numbers as a column that is null where ``column`` is."""
    return pa.array(values, mask=column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None)


def _text(column: pa.Array) -> list[Part]:
    return sized(binary(column))


_PARTS: Final[Mapping[Kind, tuple[int, Callable[[pa.Array], list[Part]]]]] = {
    Kind.BOOL: (_VARINT, _bool),
    **dict.fromkeys((Kind.INT, Kind.LONG, Kind.ULONG), (_VARINT, _integers)),
    Kind.DECIMAL: (_LENGTH, lambda column: sized(decimal_text(column))),
    Kind.TIME: (_LENGTH, _time),
    **dict.fromkeys((Kind.TEXT, Kind.BYTES, Kind.FIXED), (_LENGTH, _text)),
}
_SCALARS: Final[Mapping[Kind, int]] = {
    Kind.BOOL: FieldDescriptorProto.TYPE_BOOL,
    Kind.LONG: FieldDescriptorProto.TYPE_INT64,
    Kind.ULONG: FieldDescriptorProto.TYPE_UINT64,
    Kind.DECIMAL: FieldDescriptorProto.TYPE_STRING,
    Kind.TEXT: FieldDescriptorProto.TYPE_STRING,
    **dict.fromkeys((Kind.BYTES, Kind.FIXED), FieldDescriptorProto.TYPE_BYTES),
}


class ProtobufEncoding(RowEncoding):
    """Messages of proto3; the schema files are a ``.proto`` and its descriptor set.

    Fields are numbered in the order of the columns. Decimals are strings, times ``google.protobuf.Timestamp``. A
    column that may be null is ``optional``; a list that may be null is a message with the list in it, since a
    repeated field cannot tell null from empty.
    """

    def __init__(self, schema: pa.Schema, _max_bytes: int = 0) -> None:
        super().__init__(schema)
        _describe(DescriptorProto(), schema)  # refuses what has no form

    def rows(self, columns: list[pa.Array], count: int) -> pa.Array:
        return join(_fields(self.schema, columns, count), count)

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        file = FileDescriptorProto(name=f"{name}.proto", package=PACKAGE, syntax="proto3")
        file.dependency.append(TIMESTAMP.name)
        comments = _describe(file.message_type.add(name=_camel(name)), self.schema)
        stamp = FileDescriptorProto()
        TIMESTAMP.CopyToProto(stamp)
        descriptors = FileDescriptorSet(file=[stamp, file])
        return {"proto": proto_text(file, comments).encode(), "desc": descriptors.SerializeToString(deterministic=True)}


def _fields(fields: pa.Schema | pa.StructType, columns: list[pa.Array], count: int) -> list[Part]:
    parts: list[Part] = []
    for number, (field, column) in enumerate(zip(fields, columns, strict=True), 1):
        if column.null_count == count:
            continue
        cells = _field(number, field, column)
        parts += [join(cells, count).fill_null(b"")] if column.null_count else cells
    return parts


def _field(number: int, field: pa.Field, column: pa.Array) -> list[Part]:
    """A column as a field with its tag."""
    kind = kind_of(column.type, field.name)
    if kind is Kind.LIST:
        if field.nullable:
            return [varint(number << 3 | _LENGTH), *sized(join(_repeated(1, column, field.name), len(column)))]
        return _repeated(number, column, field.name)
    if kind is Kind.STRUCT:
        return [varint(number << 3 | _LENGTH), *sized(_message(column))]
    wire, parts = _PARTS[kind]
    return [varint(number << 3 | wire), *parts(column)]


def _repeated(number: int, column: pa.ListArray, name: str) -> list[Part]:
    """A list as a repeated field; numbers are packed."""
    values, starts = items(column)
    if values.null_count:
        raise EncodingError(
            f"a list of column {name} has a null in it, for which protobuf has no form; choose another --encoding"
        )
    kind = kind_of(values.type, name)
    wire, parts = (_LENGTH, None) if kind is Kind.STRUCT else _PARTS[kind]
    if wire == _VARINT and parts:
        packed = gathered(join(parts(values), len(values)), starts, column)
        whole = join([varint(number << 3 | _LENGTH), *sized(packed)], len(column))
        return [pc.if_else(pa.array(np.diff(starts) > 0), whole, pc.if_else(column.is_valid(), b"", None))]
    content = parts(values) if parts else sized(_message(values))
    return [gathered(join([varint(number << 3 | _LENGTH), *content], len(values)), starts, column)]


def _message(column: pa.StructArray) -> pa.Array:
    columns = [at_zero(values) for values in column.flatten()]
    cells = join([b"", *_fields(column.type, columns, len(column))], len(column))
    return pc.if_else(column.is_valid(), cells, None) if column.null_count else cells


def _describe(message: DescriptorProto, fields: pa.Schema | pa.StructType) -> dict[str, str]:
    """Add the fields to a message; what they mean, by name."""
    comments = {}
    for number, column in enumerate(fields, 1):
        field = message.field.add(name=column.name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        comments[column.name] = description(column)
        if kind_of(column.type, column.name) is not Kind.LIST:
            _set_type(message, field, column.type)
            if column.nullable:
                field.proto3_optional = True
        elif column.nullable:
            wrapper = message.nested_type.add(name=f"{_camel(column.name)}List")
            repeated = wrapper.field.add(name="items", number=1, label=FieldDescriptorProto.LABEL_REPEATED)
            _set_type(wrapper, repeated, column.type.value_type)
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, wrapper.name
        else:
            field.label = FieldDescriptorProto.LABEL_REPEATED
            _set_type(message, field, column.type.value_type)
    for field in message.field:
        if field.proto3_optional:  # as the compiler does it, after all that is not
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
    return comments


def _set_type(message: DescriptorProto, field: FieldDescriptorProto, type_: pa.DataType) -> None:
    kind = kind_of(type_, field.name)
    if kind is Kind.STRUCT:
        nested = message.nested_type.add(name=f"{_camel(field.name)}Item")
        _describe(nested, type_)
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, nested.name
    elif kind is Kind.TIME:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, ".google.protobuf.Timestamp"
    elif kind is Kind.INT:
        unsigned = pa.types.is_unsigned_integer(type_)
        field.type = FieldDescriptorProto.TYPE_UINT32 if unsigned else FieldDescriptorProto.TYPE_INT32
    elif kind is Kind.LIST:
        raise EncodingError(
            f"column {field.name} has lists in lists, for which protobuf has no form; use another --encoding"
        )
    else:
        field.type = _SCALARS[kind]


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
