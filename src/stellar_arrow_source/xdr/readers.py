"""Arrow arrays of the values at word positions of the raw XDR.

`words` is the XDR as uint32 words in memory order, C-contiguous; `pos` are int64 positions of words in it,
0 = absent, which gives null. The walker has validated what lies there. A null bitmap exists only where a row
is null. The arrays own their memory, except those of :func:`from_numpy`, which share their argument's.

Numbers and bytes: ``u32``, ``i64``, ``boolean``, ``fixed``, ``binary``, ``span``. Text: ``text``,
``utf8_or_null``, ``base64_fixed``, ``decimal_u64``, ``enum``. Strkeys: ``account``, ``strkey``,
``muxed_account``, ``claimable_balance``, ``address``, ``signer_key``. Unions: ``split_muxed``, ``split_asset``,
``split_asset_code``, ``asset_type``, ``asset_code``, ``asset_code_union``. Derived values: ``from_numpy``,
``from_bool``, ``list_array``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_source.xdr import kernels
from stellar_arrow_source.xdr import strkey as strkeys
from stellar_arrow_source.xdr import text as texts
from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words
from stellar_arrow_source.xdr.strkey import Version

_MAX_BYTES = 2**31 - 1
_MAX_CODES = 1 << 16


def u32(words: Words, pos: Positions, type: pa.DataType = pa.uint32()) -> pa.Array:  # noqa: B008
    """32-bit integers; `type` may be any other type of that width, such as int32."""
    out = np.empty(len(pos), np.uint32)
    return _fixed_width(type, out, pos, kernels.gather_u32(words, pos, out))


def i64(words: Words, pos: Positions, type: pa.DataType = pa.int64()) -> pa.Array:  # noqa: B008
    """64-bit integers; `type` may be any other type of that width, such as uint64 or a timestamp."""
    out = np.empty(len(pos), np.uint64)
    return _fixed_width(type, out, pos, kernels.gather_i64(words, pos, out))


def boolean(words: Words, pos: Positions) -> pa.Array:
    """XDR bools."""
    out = np.empty(len(pos), np.bool_)
    nulls = kernels.gather_bool(words, pos, out)
    return _fixed_width(pa.bool_(), np.packbits(out, bitorder="little"), pos, nulls)


def fixed(words: Words, pos: Positions, nbytes: int) -> pa.Array:
    """opaque[nbytes] as fixed_size_binary[nbytes]; `nbytes` is a multiple of 4."""
    if nbytes % 4:
        raise ValueError(f"fixed() reads whole words, not {nbytes} bytes")
    out = np.empty((len(pos), nbytes // 4), np.uint32)
    return _fixed_width(pa.binary(nbytes), out, pos, kernels.gather_words(words, pos, out))


def binary(words: Words, pos: Positions, type: pa.DataType = pa.binary()) -> pa.Array:  # noqa: B008
    """Variable-length opaques, from the position of the length word."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, type)
    offsets = _offsets(pos)
    data = _room(kernels.measure_opaque(words, pos, offsets))
    kernels.copy_opaque(words, pos, offsets, data)
    return _variable(type, offsets, data, pos > 0 if nulls else None, nulls)


def span(words: Words, start: Positions, end: Positions) -> pa.Array:
    """The bytes of words[start:end] as binary; start 0 = null."""
    nulls = _nulls(start)
    if nulls == len(start):
        return pa.nulls(nulls, pa.binary())
    offsets = _offsets(start)
    data = _room(kernels.measure_span(start, end, offsets) * 4)
    kernels.copy_span(words, start, end, data.view(np.uint32))
    return _variable(pa.binary(), offsets, data, start > 0 if nulls else None, nulls)


def text(words: Words, pos: Positions) -> pa.Array:
    r"""XDR strings as SEP-51 text: printable ASCII as it is, ``\\``, ``\0 \t \n \r``, other bytes ``\xNN``."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    offsets = _offsets(pos)
    data = _room(texts.measure_text(words, pos, offsets))
    texts.write_text(words, pos, offsets, data)
    return _variable(pa.string(), offsets, data, pos > 0 if nulls else None, nulls)


def utf8_or_null(words: Words, pos: Positions) -> tuple[pa.Array, pa.Array]:
    """XDR strings as (string, null where the bytes are not UTF-8; binary, the bytes of just those rows)."""
    utf8, other = np.empty_like(pos), np.empty_like(pos)
    texts.split_utf8(words, pos, utf8, other)
    return binary(words, utf8, pa.string()), binary(words, other)


def base64_fixed(words: Words, pos: Positions, nbytes: int) -> pa.Array:
    """opaque[nbytes] as padded Base64 (RFC 4648)."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    offsets = _offsets(pos)
    data = _room((len(pos) - nulls) * ((nbytes + 2) // 3 * 4))
    texts.write_base64(words, pos, nbytes, offsets, data)
    return _variable(pa.string(), offsets, data, pos > 0 if nulls else None, nulls)


def decimal_u64(words: Words, pos: Positions) -> pa.Array:
    """Unsigned 64-bit integers as decimal text."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    offsets = _offsets(pos)
    data = _room(texts.measure_decimal(words, pos, offsets))
    texts.write_decimal(words, pos, offsets, data)
    return _variable(pa.string(), offsets, data, pos > 0 if nulls else None, nulls)


@dataclass(frozen=True, slots=True, eq=False)
class EnumTable:
    """Names of an XDR enum: `letters[names[i]:names[i + 1]]` is the name of code `lowest` + i."""

    lowest: int
    names: Offsets
    letters: Bytes

    @classmethod
    def from_mapping(cls, names: Mapping[int, str]) -> EnumTable:
        """Prepare {code: name}; ValueError when it is empty or its codes lie too far apart."""
        if not names or max(names) - min(names) >= _MAX_CODES or not all(names.values()):
            raise ValueError(f"an EnumTable needs names, and codes less than {_MAX_CODES} apart")
        lowest = min(names)
        encoded = [names.get(code, "").encode() for code in range(lowest, max(names) + 1)]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        return cls(lowest, offsets, np.frombuffer(b"".join(encoded), np.uint8))


def enum(codes: Positions, table: EnumTable) -> pa.Array:
    """Names of int64 `codes`; null where the table has no name."""
    offsets, valid = _offsets(codes), np.empty(len(codes), np.bool_)
    data = _room(kernels.measure_enum(codes, table.lowest, table.names, offsets, valid))
    if not len(data):
        return pa.nulls(len(codes), pa.string())
    kernels.write_enum(codes, table.lowest, table.names, table.letters, offsets, data)
    return _masked_text(offsets, data, valid)


_ASSET_TYPES = EnumTable.from_mapping(
    {0: "native", 1: "credit_alphanum4", 2: "credit_alphanum12", 3: "liquidity_pool_shares"}
)


def split_muxed(words: Words, pos: Positions) -> tuple[Positions, Positions]:
    """MuxedAccount → (positions of the 32-byte keys, positions of the 8-byte ids or 0)."""
    key, muxed_id = np.empty_like(pos), np.empty_like(pos)
    kernels.split_muxed(words, pos, key, muxed_id)
    return key, muxed_id


def split_asset(words: Words, pos: Positions) -> tuple[Positions, Positions, Positions, Positions]:
    """Asset, ChangeTrustAsset or TrustLineAsset → (types, code positions, code bytes, issuer key positions).

    The type is -1 where absent; code and issuer are 0 for native and pool shares.
    """
    types, code, length, issuer = (np.empty_like(pos) for _ in range(4))
    kernels.split_asset(words, pos, types, code, length, issuer)
    return types, code, length, issuer


def split_asset_code(words: Words, pos: Positions) -> tuple[Positions, Positions]:
    """AssetCode (of AllowTrust) → (types, code positions); the type is -1 where absent."""
    types, code = np.empty_like(pos), np.empty_like(pos)
    kernels.split_asset_code(words, pos, types, code)
    return types, code


def asset_type(types: Positions) -> pa.Array:
    """Names of asset types; null for -1."""
    return enum(types, _ASSET_TYPES)


def asset_code(words: Words, types: Positions, code: Positions) -> pa.Array:
    """Asset codes as SEP-51 text without trailing NULs; XLM for native, null for pool shares and absent."""
    offsets, valid = _offsets(types), np.empty(len(types), np.bool_)
    data = _room(texts.measure_asset_code(words, types, code, offsets, valid))
    texts.write_asset_code(words, types, code, offsets, data)
    return _masked_text(offsets, data, valid)


def asset_code_union(words: Words, pos: Positions) -> pa.Array:
    """AssetCode (of AllowTrust) as in :func:`asset_code`."""
    return asset_code(words, *split_asset_code(words, pos))


def account(words: Words, pos: Positions) -> pa.Array:
    """32-byte ed25519 keys as G… strkeys."""
    return strkey(words, pos, Version.ACCOUNT)


def strkey(words: Words, pos: Positions, version: int) -> pa.Array:
    """32-byte payloads as strkeys of the kind that `version` (a :class:`strkey.Version`) names."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    offsets = _offsets(pos)
    data = _room((len(pos) - nulls) * strkeys.KEY_CHARS)
    strkeys.write_keys(words, pos, int(version), offsets, data.view(np.uint16))
    return _variable(pa.string(), offsets, data, pos > 0 if nulls else None, nulls)


def muxed_account(words: Words, muxed_id: Positions, key: Positions) -> pa.Array:
    """Ids and keys as :func:`split_muxed` finds them, as M… strkeys; null where there is no id."""
    nulls = _nulls(muxed_id)
    if nulls == len(muxed_id):
        return pa.nulls(nulls, pa.string())
    rows, offsets = _located(muxed_id)
    return _strkeys(words, rows, offsets, strkeys.locate_muxed(muxed_id, key, rows, offsets), nulls)


def claimable_balance(words: Words, pos: Positions) -> pa.Array:
    """ClaimableBalanceID as B… strkeys."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    rows, offsets = _located(pos)
    return _strkeys(words, rows, offsets, strkeys.locate_balances(pos, rows, offsets), nulls)


def address(words: Words, pos: Positions) -> pa.Array:
    """SCAddress as the strkey of its arm: G, C, M, B or L."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    rows, offsets = _located(pos)
    return _strkeys(words, rows, offsets, strkeys.locate_addresses(words, pos, rows, offsets), nulls)


def signer_key(words: Words, pos: Positions) -> pa.Array:
    """SignerKey as the strkey of its arm: G, T, X or P."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    rows, offsets = _located(pos)
    return _strkeys(words, rows, offsets, strkeys.locate_signers(words, pos, rows, offsets), nulls)


def from_numpy(values: npt.NDArray[np.generic], type: pa.DataType, valid: Mask | None = None) -> pa.Array:
    """An array of fixed-width `type` that shares the memory of `values`; `valid` False = null.

    The widths of the dtype and of `type` must agree (ValueError); the caller must not write to `values` again.
    """
    if values.itemsize * 8 != type.bit_width:
        raise ValueError(f"values of {values.dtype} cannot be read as {type}")
    bitmap, nulls = _validity(valid)
    return pa.Array.from_buffers(type, len(values), [bitmap, pa.py_buffer(np.ascontiguousarray(values))], nulls)


def from_bool(mask: Mask, valid: Mask | None = None) -> pa.Array:
    """A bool array of a numpy mask; `valid` False = null."""
    bitmap, nulls = _validity(valid)
    return pa.Array.from_buffers(pa.bool_(), len(mask), [bitmap, _bitmap(mask)], nulls)


def list_array(
    offsets: Offsets, child: pa.Array, valid: Mask | None = None, type: pa.DataType | None = None
) -> pa.Array:
    """Lists of `child`: row i is child[offsets[i]:offsets[i + 1]]; `valid` False = null (an empty span)."""
    bitmap, nulls = _validity(valid)
    buffers = [bitmap, pa.py_buffer(offsets)]
    return pa.Array.from_buffers(type or pa.list_(child.type), len(offsets) - 1, buffers, nulls, children=[child])


def text_array(offsets: Offsets, data: Bytes, total: int, pos: Positions) -> pa.Array:
    """A string array of the first `total` bytes of `data`; null where `pos` is 0."""
    _check_size(total)
    bitmap, nulls = _validity(pos > 0)
    return pa.Array.from_buffers(
        pa.string(), len(pos), [bitmap, pa.py_buffer(offsets), pa.py_buffer(data[:total])], nulls
    )


def _nulls(pos: Positions) -> int:
    return len(pos) - kernels.count_present(pos)


def _offsets(rows: Positions) -> Offsets:
    return np.empty(len(rows) + 1, np.int32)


def _located(pos: Positions) -> tuple[Positions, Offsets]:
    return np.empty((len(pos), 4), np.int64), _offsets(pos)


def _check_size(nbytes: int) -> None:
    if nbytes > _MAX_BYTES:
        raise OverflowError(f"a column of {nbytes} bytes exceeds 2 GiB; decode fewer ledgers at a time")


def _room(nbytes: int) -> Bytes:
    _check_size(nbytes)
    return np.empty(nbytes, np.uint8)


def _bitmap(valid: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _validity(valid: Mask | None) -> tuple[pa.Buffer | None, int]:
    """The null bitmap, None when nothing is null, and the number of nulls."""
    if valid is None:
        return None, 0
    nulls = len(valid) - int(np.count_nonzero(valid))
    return _bitmap(valid) if nulls else None, nulls


def _fixed_width(type: pa.DataType, out: npt.NDArray[np.generic], pos: Positions, nulls: int) -> pa.Array:
    rows = len(pos)
    if nulls == rows:
        return pa.nulls(rows, type)
    return pa.Array.from_buffers(type, rows, [_bitmap(pos > 0) if nulls else None, pa.py_buffer(out)], nulls)


def _variable(type: pa.DataType, offsets: Offsets, data: Bytes, valid: Mask | None, nulls: int) -> pa.Array:
    buffers = [None if valid is None else _bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(type, len(offsets) - 1, buffers, nulls)


def _masked_text(offsets: Offsets, data: Bytes, valid: Mask) -> pa.Array:
    bitmap, nulls = _validity(valid)
    if nulls == len(valid):
        return pa.nulls(nulls, pa.string())
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(valid), buffers, nulls)


def _strkeys(words: Words, rows: Positions, offsets: Offsets, total: int, nulls: int) -> pa.Array:
    data = _room(total)
    strkeys.write_strkeys(words, rows, offsets, data)
    return _variable(pa.string(), offsets, data, rows[:, 0] > 0 if nulls else None, nulls)
