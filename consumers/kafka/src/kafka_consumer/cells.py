"""Cells (see :mod:`stellar_arrow_client.cells`) as the binary encodings have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_client.cells import Part, made_of, offsets_of


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
    lengths = np.diff(offsets_of(cells))
    present = lengths[cells.is_valid().to_numpy(zero_copy_only=False)] if cells.null_count else lengths
    if len(present) and (present == present[0]).all():  # strkeys, hashes and many others are all of a length
        return [varint(size(present[:1])[0]), cells]
    return [varints(size(lengths), cells), cells]


def gathered(cells: pa.Array, starts: npt.NDArray[np.int32], like: pa.Array) -> pa.Array:
    """The cells of all items of a list, one after the other, without a copy; null where ``like`` is."""
    return made_of(offsets_of(cells)[starts], cells.buffers()[2] or pa.py_buffer(b""), like)


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
