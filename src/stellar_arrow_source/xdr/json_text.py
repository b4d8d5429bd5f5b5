"""Pieces of XDR-JSON (SEP-51) for the kernels that write it.

``put`` (literal bytes), ``put_choice`` (of ``literals``), ``put_unsigned``, ``put_signed`` (64 bits), ``put_wide``
(128 and 256 bits), ``put_hex`` and ``put_string`` write at data[o:] and return where they end. ``Writer`` is what the
kernels have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from stellar_arrow_source.xdr.jit import Bytes, Offsets, Positions, Words, helper, load32
from stellar_arrow_source.xdr.text import ESCAPE, HEX

Writer: TypeAlias = Callable[[Words, Positions, int, Offsets, Bytes], tuple[int, int]]
"""(words, pos, first, offsets, data) → (status, row): write the JSON of pos[first:] at data[offsets[first]:].

It stops before `row`: DONE (at the end), FULL (`data` is too small for the row), MALFORMED (no valid value there).
A writer neither allocates nor reassigns arrays in its loop, where counting references would cost most of the time.
"""
DONE, FULL, MALFORMED = range(3)
MARGIN = 512
"""Bytes that hold anything of fixed size that is written for one value."""
STRING_GROWTH = 5
r"""Most characters for one byte of a string: ``\\xNN``, its backslash doubled for JSON."""

_QUOTE, _BACKSLASH, _HEX_ESCAPE = ord('"'), ord("\\"), ord("x")
_BILLION = 1_000_000_000


class Literals(NamedTuple):
    """Byte strings to choose from at run time; a tuple of them would be copied at each use."""

    offsets: Offsets
    letters: Bytes


def literals(*texts: bytes) -> Literals:
    return Literals(np.cumsum([0, *map(len, texts)], dtype=np.int32), np.frombuffer(b"".join(texts), np.uint8))


@helper
def put(literal: bytes, data: Bytes, o: int) -> int:
    for k in range(len(literal)):
        data[np.uint64(o + k)] = literal[k]
    return o + len(literal)


@helper
def put_choice(offsets: Offsets, letters: Bytes, choice: int, data: Bytes, o: int) -> int:
    """One of the ``literals``."""
    first: int = offsets[np.uint64(choice)]
    n: int = offsets[np.uint64(choice + 1)] - first
    for k in range(n):
        data[np.uint64(o + k)] = letters[np.uint64(first + k)]
    return o + n


@helper
def put_unsigned(value: np.uint64, data: Bytes, o: int) -> int:
    """Decimal digits."""
    end = o + 1
    rest = value // np.uint64(10)
    while rest > 0:
        rest //= np.uint64(10)
        end += 1
    rest = value
    for k in range(end - 1, o - 1, -1):
        data[np.uint64(k)] = np.uint64(48) + rest % np.uint64(10)
        rest //= np.uint64(10)
    return end


@helper
def put_signed(value: np.uint64, data: Bytes, o: int) -> int:
    """Decimal of a 64-bit two's complement number."""
    if value >> np.uint64(63):
        data[np.uint64(o)] = 45  # -
        return put_unsigned(~value + np.uint64(1), data, o + 1)
    return put_unsigned(value, data, o)


@helper
def put_wide(words: Words, p: int, width: int, signed: bool, limbs: npt.NDArray[np.uint64], data: Bytes, o: int) -> int:
    """Decimal of the `width` words at `p`; `limbs` is room for as many."""
    negative = signed and (load32(words, p) >> np.uint32(31)) != 0
    carry = np.uint64(1)
    for k in range(width - 1, -1, -1):
        limb = np.uint64(load32(words, p + k))
        if negative:
            limb = (limb ^ np.uint64(0xFFFFFFFF)) + carry
            carry = limb >> np.uint64(32)
            limb &= np.uint64(0xFFFFFFFF)
        limbs[k] = limb
    if negative:
        data[np.uint64(o)] = 45  # -
        o += 1
    first = 0
    while first < width - 2 and limbs[first] == 0:
        first += 1
    if first == width - 2:
        return put_unsigned((limbs[first] << np.uint64(32)) | limbs[first + 1], data, o)
    # nine digits at a time from the right (at most 45 or 81 in all), then moved to the front
    last = o + 12 * width
    start = last
    while first < width:
        rest = np.uint64(0)
        for k in range(first, width):
            rest = (rest << np.uint64(32)) | limbs[k]
            limbs[k] = rest // np.uint64(_BILLION)
            rest %= np.uint64(_BILLION)
        for _ in range(9):
            start -= 1
            data[np.uint64(start)] = np.uint64(48) + rest % np.uint64(10)
            rest //= np.uint64(10)
        while first < width and limbs[first] == 0:
            first += 1
    while data[np.uint64(start)] == 48:
        start += 1
    for k in range(last - start):
        data[np.uint64(o + k)] = data[np.uint64(start + k)]
    return o + last - start


@helper
def put_hex(raw: Bytes, start: int, n: int, data: Bytes, o: int) -> int:
    """Lower-case hexadecimal of n bytes."""
    for k in range(n):
        byte = raw[np.uint64(start + k)]
        data[np.uint64(o)] = HEX[byte >> 4]
        data[np.uint64(o + 1)] = HEX[byte & 15]
        o += 2
    return o


@helper
def put_string(raw: Bytes, start: int, n: int, data: Bytes, o: int) -> int:
    """n bytes as SEP-51 escaped ASCII inside a JSON string, without the quotes around it."""
    for k in range(n):
        byte = raw[np.uint64(start + k)]
        letter = ESCAPE[byte]
        if letter == 0:
            if byte == _QUOTE:
                data[np.uint64(o)] = _BACKSLASH
                o += 1
            data[np.uint64(o)] = byte
            o += 1
            continue
        data[np.uint64(o)] = _BACKSLASH
        data[np.uint64(o + 1)] = _BACKSLASH
        o += 2
        if letter == _BACKSLASH:
            data[np.uint64(o)] = _BACKSLASH
            o += 1
        data[np.uint64(o)] = letter
        o += 1
        if letter == _HEX_ESCAPE:
            o = put_hex(raw, start + k, 1, data, o)
    return o
