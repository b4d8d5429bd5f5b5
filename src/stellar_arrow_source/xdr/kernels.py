"""Kernels behind :mod:`readers` for numbers, unions, runs of bytes and enums.

Numbers: ``count_between``, ``gather_u32``, ``gather_i64``, ``gather_bool``, ``gather_words``.
Unions: ``split_muxed``, ``split_asset``, ``split_asset_code``.
Variable length, each a measuring pass (writes the offsets, returns the total) and a writing pass:
``measure_opaque``, ``copy_opaque``, ``measure_span``, ``copy_span``, ``measure_enum``, ``write_enum``.

Arguments: `words` and `pos` as in :mod:`jit`; `out` and `data` are written, `offsets` are Arrow offsets
(int32, rows + 1). An absent row (position 0) is left zero or empty.
The positions come from the walker, which has checked every length against the end of its ledger.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words, kernel, load32, load64, load_int


@kernel
def count_between(values: Positions, low: int, high: int) -> int:
    """How many of `values` are from `low` to `high`."""
    count = 0
    for i in range(values.shape[0]):
        count += 1 if low <= values[i] <= high else 0
    return count


@kernel
def gather_u32(words: Words, pos: Positions, out: Words) -> None:
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            out[i] = load32(words, pos[i])
        else:
            out[i] = 0


@kernel
def gather_i64(words: Words, pos: Positions, out: npt.NDArray[np.uint64]) -> None:
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            out[i] = load64(words, pos[i])
        else:
            out[i] = 0


@kernel
def gather_bool(words: Words, pos: Positions, out: Bytes) -> None:
    """One bit a row, from the lowest bit of the first byte on."""
    for k in range(out.shape[0]):
        out[k] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0 and words[np.uint64(pos[i])] != 0:
            out[i >> 3] |= np.uint8(1 << (i & 7))


@kernel
def gather_words(words: Words, pos: Positions, out: npt.NDArray[np.uint32]) -> None:
    """Copy the words at each position to a row of `out` (rows, words per row), in memory order."""
    width = out.shape[1]
    for i in range(pos.shape[0]):
        p = pos[i]
        if p > 0:
            for k in range(width):
                out[i, k] = words[np.uint64(p + k)]
        else:
            for k in range(width):
                out[i, k] = 0


@kernel
def split_muxed(words: Words, pos: Positions, key: Positions, muxed_id: Positions) -> None:
    """MuxedAccount: 0 = key; otherwise id (2 words), key."""
    for i in range(pos.shape[0]):
        p = pos[i]
        if p <= 0:
            key[i] = 0
            muxed_id[i] = 0
        elif words[np.uint64(p)] == 0:
            key[i] = p + 1
            muxed_id[i] = 0
        else:
            key[i] = p + 3
            muxed_id[i] = p + 1


@kernel
def split_asset(
    words: Words, pos: Positions, types: Positions, code: Positions, length: Positions, issuer: Positions
) -> None:
    """Asset, ChangeTrustAsset, TrustLineAsset: code of 4 or 12 bytes, then AccountID (type word, key)."""
    for i in range(pos.shape[0]):
        p = pos[i]
        t = load_int(words, p) if p > 0 else -1
        types[i] = t
        if t == 1:
            code[i] = p + 1
            length[i] = 4
            issuer[i] = p + 3
        elif t == 2:
            code[i] = p + 1
            length[i] = 12
            issuer[i] = p + 5
        else:
            code[i] = 0
            length[i] = 0
            issuer[i] = 0


@kernel
def split_asset_code(words: Words, pos: Positions, types: Positions, code: Positions) -> None:
    """AssetCode: the asset type, then 4 or 12 bytes."""
    for i in range(pos.shape[0]):
        p = pos[i]
        types[i] = load_int(words, p) if p > 0 else -1
        code[i] = p + 1 if p > 0 else 0


@kernel
def measure_opaque(words: Words, pos: Positions, offsets: Offsets) -> int:
    """Lengths of variable-length opaques or strings: position of the length word."""
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            total += load_int(words, pos[i])
        offsets[i + 1] = total
    return total


@kernel
def copy_opaque(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
    raw = words.view(np.uint8)
    for i in range(pos.shape[0]):
        start = (pos[i] + 1) * 4
        o = offsets[i]
        for k in range(offsets[i + 1] - o):
            data[np.uint64(o + k)] = raw[np.uint64(start + k)]


@kernel
def measure_span(start: Positions, end: Positions, offsets: Offsets) -> int:
    """Lengths of the spans start..end."""
    total = 0
    offsets[0] = 0
    for i in range(start.shape[0]):
        if start[i] > 0:
            total += (end[i] - start[i]) * 4
        offsets[i + 1] = total
    return total


@kernel
def copy_span(words: Words, start: Positions, end: Positions, data: Words) -> None:
    o = 0
    for i in range(start.shape[0]):
        if start[i] > 0:
            n = end[i] - start[i]
            for k in range(n):
                data[np.uint64(o + k)] = words[np.uint64(start[i] + k)]
            o += n


@kernel
def measure_enum(codes: Positions, lowest: int, names: Offsets, offsets: Offsets, valid: Mask) -> int:
    """Lengths of the names of `codes`; `names` are the offsets of the names of lowest, lowest + 1, …"""
    total = 0
    offsets[0] = 0
    for i in range(codes.shape[0]):
        c = codes[i] - lowest
        n = 0
        if 0 <= c < names.shape[0] - 1:
            n = names[np.uint64(c + 1)] - names[np.uint64(c)]
        total += n
        valid[i] = n > 0
        offsets[i + 1] = total
    return total


@kernel
def write_enum(codes: Positions, lowest: int, names: Offsets, letters: Bytes, offsets: Offsets, data: Bytes) -> None:
    for i in range(codes.shape[0]):
        o = offsets[i]
        n = offsets[i + 1] - o
        if n > 0:
            first = names[np.uint64(codes[i] - lowest)]
            for k in range(n):
                data[np.uint64(o + k)] = letters[np.uint64(first + k)]
