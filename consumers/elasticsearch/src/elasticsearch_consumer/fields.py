"""Columns as fields: exact types, none of them a floating-point one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from stellar_arrow_client.json_rows import Kind, kind_of

MOST_KEYWORD_CHARACTERS: Final = 8191
"""Longer texts stand in the documents but cannot be searched: Lucene's terms end at 32,766 bytes of UTF-8."""

_KEYWORD: Final = {"type": "keyword", "ignore_above": MOST_KEYWORD_CHARACTERS}
_FIELDS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    Kind.BOOL: {"type": "boolean"},
    Kind.INT: {"type": "long"},
    Kind.LONG: {"type": "long"},
    Kind.ULONG: {"type": "unsigned_long"},
    # All digits as they are; as a number beside it where it fits into 64 bits.
    Kind.DECIMAL: {"type": "keyword", "fields": {"long": {"type": "long", "ignore_malformed": True}}},
    # Close times are whole seconds; a date keeps milliseconds, and the document what was written.
    Kind.TIME: {"type": "date", "format": "strict_date_optional_time"},
    Kind.TEXT: _KEYWORD,
    Kind.BYTES: _KEYWORD,
    Kind.FIXED: _KEYWORD,
}


def properties_of(schema: pa.Schema) -> dict[str, Any]:
    """The ``properties`` of a mapping for the columns of a stream.

    Raises:
        InvalidRequestError: there is no field for a column.
    """
    return {field.name: _with_unit(field_of(field.type, field.name), field) for field in schema}


def field_of(type_: pa.DataType, column: str) -> dict[str, Any]:
    """The field for one type; of a list it is that of its values."""
    kind = kind_of(type_, column)
    if kind is Kind.LIST:
        return field_of(type_.value_type, column)
    if kind is Kind.STRUCT:
        return {"properties": {field.name: field_of(field.type, column) for field in type_}}
    return dict(_FIELDS[kind])


def _with_unit(found: dict[str, Any], field: pa.Field) -> dict[str, Any]:
    unit = (field.metadata or {}).get(b"unit", b"").decode(errors="replace")
    return found | {"meta": {"unit": unit[:50]}} if unit and "properties" not in found else found
