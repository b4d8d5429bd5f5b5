"""Text of many rows at once: each part of it is a column of bytes, and Arrow joins the columns.

A *cell* is the bytes that stand for one value of one row; the cells of a column are a binary array, null for null.
All arrays here begin at offset 0, see :func:`at_zero`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Part: TypeAlias = Any
"""A binary array, or bytes that are the same in every row."""

_NOTHING: Final = pa.scalar(b"", pa.binary())
_HEX: Final = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)


def at_zero(array: pa.Array) -> pa.Array:
    """The same values in an array whose buffers begin with them."""
    return array if array.offset == 0 else array.take(pa.array(np.arange(len(array))))


def join(parts: Iterable[Part], rows: int) -> pa.Array:
    """The parts of each row, one after the other: binary (rows,), null where one is null."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    if all(isinstance(part, bytes) for part in merged):
        return pa.repeat(pa.scalar(b"".join(merged), pa.binary()), rows)
    if len(merged) == 1:
        return merged[0]
    columns = (pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in merged)
    return pc.binary_join_element_wise(*columns, _NOTHING)


def made_of(offsets: npt.NDArray[Any], data: npt.NDArray[np.uint8] | pa.Buffer, like: pa.Array) -> pa.Array:
    """Cells from where they begin and end in ``data``; null where ``like`` is.

    Raises:
        OverflowError: there are more than 2 GiB of them.
    """
    if int(offsets[-1]) > np.iinfo(np.int32).max:
        raise OverflowError("a column has more than 2 GiB")
    buffers = [
        like.buffers()[0] if like.null_count else None,
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(data),
    ]
    return pa.Array.from_buffers(pa.binary(), len(like), buffers)


def offsets_of(cells: pa.Array) -> npt.NDArray[np.int32]:
    """Where each cell begins, and the last one ends: int32 (rows + 1,)."""
    return np.frombuffer(cells.buffers()[1], np.int32, len(cells) + 1, cells.offset * 4)


def items(array: pa.ListArray) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The values of all lists, one after the other, and where each list begins in them: int32 (rows + 1,)."""
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1)
    return at_zero(array.values.slice(offsets[0], offsets[-1] - offsets[0])), offsets - offsets[0]


def binary(array: pa.Array) -> pa.Array:
    """Text or bytes of any kind as cells."""
    return array if pa.types.is_binary(array.type) else array.cast(pa.binary())


def hexadecimal(array: pa.Array) -> pa.Array:
    """Bytes in lower-case hexadecimal."""
    cells = at_zero(binary(array))
    data = np.frombuffer(cells.buffers()[2] or b"", np.uint8)
    return made_of(offsets_of(cells).astype(np.int64) * 2, _HEX[data].view(np.uint8), cells)


def decimal_text(array: pa.Array) -> pa.Array:
    """Integers and decimal numbers as text, exactly."""
    return array.cast(pa.string()).cast(pa.binary())


def time_text(array: pa.Array) -> pa.Array:
    """Times as RFC 3339 has them, ``2024-08-30T23:59:00.000000Z``; made once for equal ones."""
    times = array.dictionary_encode()
    text = pc.replace_substring(times.dictionary.cast(pa.timestamp("us", "UTC")).cast(pa.string()), " ", "T")
    return text.cast(pa.binary()).take(times.indices)
