"""Kernels for amounts of 128 bits: ``write_amounts`` (decimal text), ``gather_decimals`` (decimal128)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words, kernel, load64
from stellar_arrow_source.xdr.json_text import put_wide

MOST_DIGITS = 64
"""Room for the text of one amount, scratch included."""
_GREATEST = 10**38 - 1
_GREATEST_HIGH = np.uint64(_GREATEST >> 64)
_GREATEST_LOW = np.uint64(_GREATEST & 0xFFFFFFFFFFFFFFFF)


@kernel
def write_amounts(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    """Int128Parts as decimal integers."""
    limbs = np.empty(4, np.uint64)
    o = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        o = put_wide(words, pos[i], 4, True, limbs, data, o)
        offsets[i + 1] = o


@kernel
def gather_decimals(words: Words, pos: Positions, out: NDArray[np.uint64], valid: Mask) -> None:
    """Int128Parts as little-endian 128 bits; not valid where they have more than 38 digits.

    Args:
        out: uint64 (n, 2), low half first (out).
        valid: bool (n,) (out).
    """
    for i in range(pos.shape[0]):
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
