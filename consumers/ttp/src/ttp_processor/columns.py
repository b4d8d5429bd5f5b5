"""The columns of ``ttp_events`` that make up a message, and how columns of bytes are made from them.

Messages are not built one by one: each part of them is a column, and Arrow joins the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

STREAM: Final = "ttp_events"
EVENT_TYPES: Final = ("transfer", "mint", "burn", "clawback", "fee")
COLUMNS: Final = (
    "ledger_sequence",
    "ledger_close_time",
    "transaction_index",
    "transaction_hash",
    "operation_index",
    "event_type",
    "from_address",
    "to_address",
    "to_muxed_kind",
    "to_muxed_id",
    "to_muxed_bytes",
    "asset_type",
    "asset_code",
    "asset_issuer",
    "contract_id",
    "amount_raw",
)

_HEX: Final = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)

Part: TypeAlias = Any
"""A binary or text column, or bytes that are the same in every row."""


def join(*parts: Part, strict: bool = False) -> pa.Array:
    """The parts of each row, one after the other: binary (rows,).

    Args:
        strict: give null where a part is null, instead of passing it over.
    """
    handling = {"null_handling": "emit_null"} if strict else {"null_handling": "replace", "null_replacement": b""}
    columns = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else _binary(part) for part in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary()), **handling)


def content(column: pa.Array) -> memoryview:
    """The bytes of all rows of a binary column, one after the other, without a copy."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(data)[ends[0] : ends[-1]] if data is not None else memoryview(b"")


def each(column: pa.Array, make: Callable[[Any], bytes | None]) -> pa.Array:
    """``make`` of every value, called once for equal ones: binary (rows,), null for null."""
    encoded = column.dictionary_encode()
    made = pa.array([make(value) for value in encoded.dictionary.to_pylist()], pa.binary())
    return made.take(encoded.indices)


def hexadecimal(column: pa.Array) -> pa.Array:
    """Lower-case hex of a column of hashes: fixed_size_binary(2 × width) (rows,); no value may be null."""
    width = column.type.byte_width
    raw = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return pa.Array.from_buffers(pa.binary(2 * width), len(column), [None, pa.py_buffer(_HEX[raw])])


def seconds(column: pa.Array) -> pa.Array:
    """Whole seconds since 1970 of a column of times: int64 (rows,)."""
    return pc.divide(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 1_000_000)


def text_of(batch: pa.RecordBatch) -> pa.Array:
    """What tells the receiver's customers apart, as text: string (rows,).

    Of text that is not UTF-8, which no ``string`` of proto3 may hold, U+FFFD stands for what is not.
    """
    raw = each(batch["to_muxed_bytes"], lambda text: text.decode(errors="replace").encode())
    return pc.coalesce(batch["to_muxed_id"], raw.cast(pa.string()))


def _binary(column: pa.Array | pa.Scalar) -> pa.Array | pa.Scalar:
    return column if pa.types.is_binary(column.type) else column.cast(pa.binary())
