"""Messages are not built one by one: each part of them is a column of bytes, and Arrow joins the columns.

A *cell* is the bytes that stand for one value of one row; the cells of a column are a binary array, null for null.
All arrays here begin at offset 0, see :func:`at_zero`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    """Cells from where they begin and end in ``data``; null where ``like`` is."""
    if int(offsets[-1]) > np.iinfo(np.int32).max:
        raise OverflowError("a column has more than 2 GiB")
    buffers = [
        like.buffers()[0] if like.null_count else None,
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(data),
    ]
    return pa.Array.from_buffers(pa.binary(), len(like), buffers)


def numbers(array: pa.Array) -> npt.NDArray[Any]:
    """The values of a column of integers, times or truth values, as integers; anything where it is null."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    return np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype(), len(array))


def varints(values: npt.NDArray[Any], like: pa.Array) -> pa.Array:
    """Base-128 varints of unsigned integers, as Avro and Protocol Buffers have them."""
    rest = values.astype(np.uint64)
    width = max(1, -(-int(rest.max(initial=0)).bit_length() // 7))
    groups = np.empty((len(rest), width), np.uint8)
    lengths = np.ones(len(rest), np.int64)
    for index in range(width):
        groups[:, index] = (rest & np.uint64(0x7F)) | np.uint64(0x80)
        rest >>= np.uint64(7)
        lengths += rest != 0
    groups[np.arange(len(lengths)), lengths - 1] &= 0x7F
    shorter = lengths.min(initial=width) < width
    data = groups[np.arange(width) < lengths[:, None]] if shorter else groups.reshape(-1)
    return made_of(np.concatenate(([0], np.cumsum(lengths))), data, like)


def zigzag(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Signed integers as unsigned ones, small for small: 0, -1, 1, -2, … become 0, 1, 2, 3, …"""
    signed = values.astype(np.int64)
    return ((signed << 1) ^ (signed >> 63)).view(np.uint64)


def varint(value: int) -> bytes:
    """One varint."""
    return bytes(varints(np.array([value], np.uint64), pa.array([0]))[0].as_py())


def sized(cells: pa.Array, size: Callable[[Any], Any] = lambda lengths: lengths) -> list[Part]:
    """Cells, each after its length in bytes as a varint; ``size`` says how a length is written."""
    lengths = np.diff(_offsets(cells))
    present = lengths[cells.is_valid().to_numpy(zero_copy_only=False)] if cells.null_count else lengths
    if len(present) and (present == present[0]).all():  # strkeys, hashes and many others are all of a length
        return [varint(size(present[:1])[0]), cells]
    return [varints(size(lengths), cells), cells]


def items(array: pa.ListArray) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The values of all lists, one after the other, and where each list begins in them: int32 (rows + 1,)."""
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1)
    return at_zero(array.values.slice(offsets[0], offsets[-1] - offsets[0])), offsets - offsets[0]


def gathered(cells: pa.Array, starts: npt.NDArray[np.int32], like: pa.Array) -> pa.Array:
    """The cells of all items of a list, one after the other, without a copy; null where ``like`` is."""
    return made_of(_offsets(cells)[starts], cells.buffers()[2] or pa.py_buffer(b""), like)


def binary(array: pa.Array) -> pa.Array:
    """Text or bytes of any kind as cells."""
    return array if pa.types.is_binary(array.type) else array.cast(pa.binary())


def hexadecimal(array: pa.Array) -> pa.Array:
    """Bytes in lower-case hexadecimal."""
    cells = at_zero(binary(array))
    data = np.frombuffer(cells.buffers()[2] or b"", np.uint8)
    return made_of(_offsets(cells).astype(np.int64) * 2, _HEX[data].view(np.uint8), cells)


def decimal_text(array: pa.Array) -> pa.Array:
    """Integers and decimal numbers as text, exactly."""
    return array.cast(pa.string()).cast(pa.binary())


def time_text(array: pa.Array) -> pa.Array:
    """Times as RFC 3339 has them, ``2024-08-30T23:59:00.000000Z``; made once for equal ones."""
    times = array.dictionary_encode()
    text = pc.replace_substring(times.dictionary.cast(pa.timestamp("us", "UTC")).cast(pa.string()), " ", "T")
    return text.cast(pa.binary()).take(times.indices)


def big_endian(array: pa.Array, width: int) -> pa.Array:
    """Decimals without fraction, or unsigned integers, as big-endian two's complement of ``width`` bytes."""
    if pa.types.is_decimal128(array.type):
        raw = np.frombuffer(array.buffers()[1], np.uint8, len(array) * 16).reshape(-1, 16)[:, ::-1]
    else:
        raw = np.zeros((len(array), width), np.uint8)
        raw[:, -8:] = numbers(array).astype(">u8").view(np.uint8).reshape(-1, 8)
    return made_of(np.arange(len(array) + 1) * width, np.ascontiguousarray(raw).reshape(-1), array)


def byte_strings(cells: pa.Array) -> list[bytes | None]:
    """The cells as Python objects."""
    return cells.to_pylist()  # type: ignore[no-any-return]


def _offsets(cells: pa.Array) -> npt.NDArray[np.int32]:
    return np.frombuffer(cells.buffers()[1], np.int32, len(cells) + 1, cells.offset * 4)
