"""One value of a row as JSON, and as text of a cell.

Hashes are hexadecimal, other bytes Base64, times ISO 8601 in UTC; a decimal is text, as it may exceed what readers
of JSON take for a number.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import pyarrow as pa

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


def json_value(value: Any, type: pa.DataType) -> Json:
    """A Python value of an Arrow type, as ``to_pylist`` gives it, in what JSON knows."""
    if value is None:
        return None
    if pa.types.is_list(type):
        return [json_value(item, type.value_type) for item in value]
    if pa.types.is_struct(type):
        return {field.name: json_value(value[field.name], field.type) for field in type}
    if pa.types.is_fixed_size_binary(type):
        return bytes(value).hex()
    if pa.types.is_binary(type):
        return base64.b64encode(value).decode()
    if pa.types.is_timestamp(type):
        return str(value.isoformat()).replace("+00:00", "Z")
    if pa.types.is_decimal(type):
        return str(value)
    plain: Json = value
    return plain


def json_rows(table: pa.Table) -> Iterator[dict[str, Json]]:
    """Each row as an object."""
    for row in table.to_pylist():
        yield {field.name: json_value(row[field.name], field.type) for field in table.schema}


def cell(value: Json) -> str:
    """The text of a value: nothing for null, JSON for what is nested."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def printable(text: str) -> str:
    """The text with every character escaped that a terminal would act upon."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def shorten(text: str, most: int) -> str:
    """A text of at most that many characters: of a hash or an address both ends, of other text the beginning."""
    if len(text) <= most:
        return text
    if any(letter in " {[," for letter in text):
        return text[: most - 1] + "…"
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"
