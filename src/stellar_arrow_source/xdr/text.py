"""Kernels behind :mod:`readers` that write text.

Each is a measuring pass (writes the offsets, returns the total) and a writing pass: ``measure_text``,
``write_text``, ``measure_asset_code``, ``write_asset_code``, ``measure_decimal``, ``write_decimal``,
``measure_base64``, ``write_base64``. ``split_utf8`` tells valid UTF-8 from other bytes.
Arguments are as in :mod:`kernels`.
"""

from __future__ import annotations

import numpy as np

from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words, helper, kernel, load64, load_int

_BACKSLASH = 0x5C
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_XLM = np.frombuffer(b"XLM", np.uint8)


def _escape_letters() -> Bytes:
    """SEP-51 escapes: the letter after the backslash, ``x`` for hex, 0 for bytes that stand for themselves."""
    letters = np.full(256, ord("x"), np.uint8)
    letters[0x20:0x7F] = 0
    for byte, letter in zip(b"\0\t\n\r\\", b"0tnr\\", strict=True):
        letters[byte] = letter
    return letters


ESCAPE = _escape_letters()
_ESCAPED_LENGTH = np.select([ESCAPE == 0, ord("x") == ESCAPE], [1, 4], 2)


@helper
def _escaped_length(raw: Bytes, start: int, n: int) -> int:
    total = 0
    for k in range(n):
        total += _ESCAPED_LENGTH[raw[np.uint64(start + k)]]
    return total


@helper
def _write_escaped(raw: Bytes, start: int, n: int, data: Bytes, o: int) -> None:
    """SEP-51 escaped ASCII of n bytes."""
    for k in range(n):
        byte = raw[np.uint64(start + k)]
        letter = ESCAPE[byte]
        if letter == 0:
            data[np.uint64(o)] = byte
            o += 1
        else:
            data[np.uint64(o)] = _BACKSLASH
            data[np.uint64(o + 1)] = letter
            o += 2
            if letter == 120:  # x
                data[np.uint64(o)] = HEX[byte >> 4]
                data[np.uint64(o + 1)] = HEX[byte & 15]
                o += 2


@kernel
def measure_text(words: Words, pos: Positions, offsets: Offsets) -> int:
    """Lengths of XDR strings as SEP-51 text."""
    raw = words.view(np.uint8)
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        p = pos[i]
        if p > 0:
            total += _escaped_length(raw, (p + 1) * 4, load_int(words, p))
        offsets[i + 1] = total
    return total


@kernel
def write_text(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    raw = words.view(np.uint8)
    for i in range(pos.shape[0]):
        p = pos[i]
        if p > 0:
            _write_escaped(raw, (p + 1) * 4, load_int(words, p), data, offsets[i])


@helper
def _code_length(raw: Bytes, start: int, asset_type: int) -> int:
    """Bytes of an asset code without its trailing NULs."""
    n = 4 if asset_type == 1 else 12
    while n > 0 and raw[np.uint64(start + n - 1)] == 0:
        n -= 1
    return n


@kernel
def measure_asset_code(words: Words, types: Positions, pos: Positions, offsets: Offsets, valid: Mask) -> int:
    """Lengths of asset codes by asset type; returns the total, and sets which rows have a code."""
    raw = words.view(np.uint8)
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        t = types[i]
        valid[i] = 0 <= t <= 2
        if t == 0:
            total += 3
        elif t == 1 or t == 2:
            start = pos[i] * 4
            total += _escaped_length(raw, start, _code_length(raw, start, t))
        offsets[i + 1] = total
    return total


@kernel
def write_asset_code(words: Words, types: Positions, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    raw = words.view(np.uint8)
    for i in range(pos.shape[0]):
        t = types[i]
        o = offsets[i]
        if t == 0:
            for k in range(3):
                data[np.uint64(o + k)] = _XLM[k]
        elif t == 1 or t == 2:
            start = pos[i] * 4
            _write_escaped(raw, start, _code_length(raw, start, t), data, o)


@helper
def _is_utf8(raw: Bytes, start: int, n: int) -> bool:
    """Whether n bytes are well-formed UTF-8 (Unicode table 3-7: no overlongs, surrogates, nor > U+10FFFF)."""
    k = 0
    while k < n:
        lead = np.int64(raw[np.uint64(start + k)])
        k += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF  # bounds of the second byte
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if k + more > n:
            return False
        for _ in range(more):
            byte = np.int64(raw[np.uint64(start + k)])
            if byte < low or byte > high:
                return False
            low, high = 0x80, 0xBF
            k += 1
    return True


@kernel
def split_utf8(words: Words, pos: Positions, utf8: Positions, other: Positions) -> None:
    """Sort the positions of XDR strings by whether their bytes are valid UTF-8."""
    raw = words.view(np.uint8)
    for i in range(pos.shape[0]):
        p = pos[i]
        valid = p > 0 and _is_utf8(raw, (p + 1) * 4, load_int(words, p))
        utf8[i] = p if valid else 0
        other[i] = 0 if valid else p


@kernel
def measure_base64(pos: Positions, nbytes: int, offsets: Offsets) -> int:
    """Four characters for three bytes or the rest of them."""
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            total += (nbytes + 2) // 3 * 4
        offsets[i + 1] = total
    return total


@kernel
def write_base64(words: Words, pos: Positions, nbytes: int, offsets: Offsets, data: Bytes) -> None:
    """Base64 with padding (RFC 4648) of the nbytes at each position."""
    raw = words.view(np.uint8)
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            o = offsets[i]
            start = pos[i] * 4
            for k in range(0, nbytes, 3):
                left = nbytes - k
                v = np.int64(raw[np.uint64(start + k)]) << 16
                if left > 1:
                    v |= np.int64(raw[np.uint64(start + k + 1)]) << 8
                if left > 2:
                    v |= np.int64(raw[np.uint64(start + k + 2)])
                data[np.uint64(o)] = _BASE64[v >> 18]
                data[np.uint64(o + 1)] = _BASE64[(v >> 12) & 63]
                data[np.uint64(o + 2)] = _BASE64[(v >> 6) & 63] if left > 1 else 61  # =
                data[np.uint64(o + 3)] = _BASE64[v & 63] if left > 2 else 61
                o += 4


@kernel
def measure_decimal(words: Words, pos: Positions, offsets: Offsets) -> int:
    """Digits of the unsigned 64-bit integers at each position."""
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            v = load64(words, pos[i]) // np.uint64(10)
            total += 1
            while v > 0:
                v //= np.uint64(10)
                total += 1
        offsets[i + 1] = total
    return total


@kernel
def write_decimal(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            v = load64(words, pos[i])
            for o in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
                data[np.uint64(o)] = np.uint8(v % np.uint64(10)) + np.uint8(48)
                v //= np.uint64(10)
