"""Rows as JSON objects whose numbers are exact, many at once.

Integers of 64 bits and decimals are strings, since most readers take JSON numbers for floating-point ones; shorter
integers are numbers. Bytes are lower-case hexadecimal, times RFC 3339 in UTC. A column that is null is left out;
within lists and structures null is ``null``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from stellar_arrow_client.cells import Part, at_zero, binary, decimal_text, hexadecimal, items, join, time_text
from stellar_arrow_client.errors import InvalidRequestError


class Kind(Enum):
    """The kinds of values that streams have."""

    BOOL = "bool"
    INT = "int of at most 32 bits"
    LONG = "int64"
    ULONG = "uint64"
    DECIMAL = "decimal without fraction"
    TIME = "time"
    TEXT = "text"
    BYTES = "bytes"
    FIXED = "bytes of one length"
    LIST = "list"
    STRUCT = "structure"


_KINDS: Final = {
    pa.bool_(): Kind.BOOL,
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()), Kind.INT),
    pa.int64(): Kind.LONG,
    pa.uint64(): Kind.ULONG,
    pa.timestamp("us", "UTC"): Kind.TIME,
    pa.string(): Kind.TEXT,
    pa.binary(): Kind.BYTES,
}
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


def kind_of(type_: pa.DataType, column: str) -> Kind:
    """The kind of a type.

    Raises:
        InvalidRequestError: it is none of those that streams have.
    """
    if types.is_fixed_size_binary(type_):
        return Kind.FIXED
    if types.is_decimal128(type_) and type_.scale == 0:
        return Kind.DECIMAL
    if types.is_list(type_):
        return Kind.LIST
    if types.is_struct(type_):
        return Kind.STRUCT
    if type_ not in _KINDS:
        raise InvalidRequestError(f"column {column} is of type {type_}, for which there is no form here; leave it out")
    return _KINDS[type_]


def json_rows(schema: pa.Schema, columns: Sequence[pa.Array], count: int) -> pa.Array:
    """Rows as JSON objects: binary (count,). The columns begin at offset 0, the first one has no null."""
    parts: list[Part] = []
    for index, (field, column) in enumerate(zip(schema, columns, strict=True)):
        if column.null_count == count:
            continue
        cells = [f"{',' if index else '{'}{json.dumps(field.name)}:".encode(), *_parts(column)]
        parts += [join(cells, count).fill_null(b"")] if column.null_count else cells
    return join([*parts, b"}"], count)


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
