"""Amounts of 128 bits as columns: ``decimal_texts`` (exact text), ``decimals`` (decimal128). Source: Int128Parts."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words, kernel, load64
from stellar_arrow_source.xdr.json_text import put_wide

DECIMAL: Final = pa.decimal128(38, 0)
_MOST_DIGITS: Final = 64
"""Room for the text of one amount, scratch included."""
_GREATEST = 10**38 - 1
_GREATEST_HIGH = np.uint64(_GREATEST >> 64)
_GREATEST_LOW = np.uint64(_GREATEST & 0xFFFFFFFFFFFFFFFF)


def decimal_texts(words: Words, pos: Positions) -> pa.Array:
    """The Int128Parts at each position as decimal integers; null where absent."""
    offsets, data = np.empty(len(pos) + 1, np.int32), np.empty((len(pos) + 1) * _MOST_DIGITS, np.uint8)
    _write_texts(words, pos, offsets, data)
    text = pa.py_buffer(data[: offsets[-1]].copy())
    return pa.Array.from_buffers(pa.string(), len(pos), [_bitmap(pos > 0), pa.py_buffer(offsets), text])


def decimals(words: Words, pos: Positions) -> pa.Array:
    """The Int128Parts at each position as decimal128(38, 0); null where absent or of more than 38 digits."""
    values, valid = np.empty((len(pos), 2), np.uint64), np.empty(len(pos), np.bool_)
    _gather(words, pos, values, valid)
    return pa.Array.from_buffers(DECIMAL, len(pos), [_bitmap(valid), pa.py_buffer(values)])


def _bitmap(valid: Mask) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


@kernel
def _write_texts(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    limbs = np.empty(4, np.uint64)
    o = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            o = put_wide(words, pos[i], 4, True, limbs, data, o)
        offsets[i + 1] = o


@kernel
def _gather(words: Words, pos: Positions, out: NDArray[np.uint64], valid: Mask) -> None:
    """Little-endian 128 bits, low half first; not valid where absent or of more than 38 digits."""
    for i in range(pos.shape[0]):
        if pos[i] == 0:
            out[i, 0] = out[i, 1] = 0
            valid[i] = False
            continue
        high, low = load64(words, pos[i]), load64(words, pos[i] + 2)
        out[i, 0] = low
        out[i, 1] = high
        if high >> np.uint64(63):
            high = np.uint64(high ^ np.uint64(0xFFFFFFFFFFFFFFFF))
            low = np.uint64(low ^ np.uint64(0xFFFFFFFFFFFFFFFF))
            # the magnitude is one more than the complement
            fits = high < _GREATEST_HIGH or (high == _GREATEST_HIGH and low < _GREATEST_LOW)
        else:
            fits = high < _GREATEST_HIGH or (high == _GREATEST_HIGH and low <= _GREATEST_LOW)
        valid[i] = fits
