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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_source.xdr import kernels
from stellar_arrow_source.xdr import strkey as strkeys
from stellar_arrow_source.xdr import text as texts
from stellar_arrow_source.xdr.jit import Bytes, Mask, Offsets, Positions, Words
from stellar_arrow_source.xdr.json_text import FULL, MALFORMED, Writer
from stellar_arrow_source.xdr.strkey import Version
from stellar_arrow_source.xdr.walk import DEPTH

_MAX_BYTES = 2**31 - 1
_LAST_POSITION = 2**63 - 1
_MAX_CODES = 1 << 16
_JSON_BYTES = 128  # a first guess of the length of a value


def u32(words: Words, pos: Positions, type: pa.DataType = pa.uint32()) -> pa.Array:  # noqa: B008
    """32-bit integers; `type` may be any other type of that width, such as int32."""
    return _fixed_width(type, words, pos, kernels.gather_u32, np.uint32, len(pos))


def i64(words: Words, pos: Positions, type: pa.DataType = pa.int64()) -> pa.Array:  # noqa: B008
    """64-bit integers; `type` may be any other type of that width, such as uint64 or a timestamp."""
    return _fixed_width(type, words, pos, kernels.gather_i64, np.uint64, len(pos))


def boolean(words: Words, pos: Positions) -> pa.Array:
    """XDR bools."""
    return _fixed_width(pa.bool_(), words, pos, kernels.gather_bool, np.uint8, (len(pos) + 7) // 8)


def fixed(words: Words, pos: Positions, nbytes: int) -> pa.Array:
    """opaque[nbytes] as fixed_size_binary[nbytes]; `nbytes` is a multiple of 4."""
    if nbytes % 4:
        raise ValueError(f"fixed() reads whole words, not {nbytes} bytes")
    return _fixed_width(pa.binary(nbytes), words, pos, kernels.gather_words, np.uint32, (len(pos), nbytes // 4))


def binary(words: Words, pos: Positions, type: pa.DataType = pa.binary()) -> pa.Array:  # noqa: B008
    """Variable-length opaques, from the position of the length word."""
    return _variable_width(type, words, pos, kernels.measure_opaque, kernels.copy_opaque)


def span(words: Words, start: Positions, end: Positions) -> pa.Array:
    """The bytes of words[start:end] as binary; start 0 = null."""

    def measure(words: Words, start: Positions, offsets: Offsets) -> int:
        return kernels.measure_span(start, end, offsets)

    def copy(words: Words, start: Positions, offsets: Offsets, data: Bytes) -> None:
        kernels.copy_span(words, start, end, data.view(np.uint32))

    return _variable_width(pa.binary(), words, start, measure, copy)


def text(words: Words, pos: Positions) -> pa.Array:
    r"""XDR strings as SEP-51 text: printable ASCII as it is, ``\\``, ``\0 \t \n \r``, other bytes ``\xNN``."""
    return _variable_width(pa.string(), words, pos, texts.measure_text, texts.write_text)


def utf8_or_null(words: Words, pos: Positions) -> tuple[pa.Array, pa.Array]:
    """XDR strings as (string, null where the bytes are not UTF-8; binary, the bytes of just those rows)."""
    utf8, other = np.empty_like(pos), np.empty_like(pos)
    texts.split_utf8(words, pos, utf8, other)
    return binary(words, utf8, pa.string()), binary(words, other)


def base64_fixed(words: Words, pos: Positions, nbytes: int) -> pa.Array:
    """opaque[nbytes] as padded Base64 (RFC 4648)."""

    def measure(words: Words, pos: Positions, offsets: Offsets) -> int:
        return texts.measure_base64(pos, nbytes, offsets)

    def write(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
        texts.write_base64(words, pos, nbytes, offsets, data)

    return _variable_width(pa.string(), words, pos, measure, write)


def decimal_u64(words: Words, pos: Positions) -> pa.Array:
    """Unsigned 64-bit integers as decimal text."""
    return _variable_width(pa.string(), words, pos, texts.measure_decimal, texts.write_decimal)


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
    if not kernels.count_between(codes, table.lowest, table.lowest + len(table.names) - 2):
        return pa.nulls(len(codes), pa.string())
    offsets, valid = _offsets(codes), np.empty(len(codes), np.bool_)
    data = _room(kernels.measure_enum(codes, table.lowest, table.names, offsets, valid))
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
    if not kernels.count_between(types, 0, 2):
        return pa.nulls(len(types), pa.string())
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

    def write(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
        strkeys.write_keys(words, pos, int(version), offsets, data.view(np.uint64))

    return _variable_width(pa.string(), words, pos, strkeys.measure_keys, write)


def muxed_account(words: Words, muxed_id: Positions, key: Positions) -> pa.Array:
    """Ids and keys as :func:`split_muxed` finds them, as M… strkeys; null where there is no id."""

    def locate(words: Words, muxed_id: Positions, rows: Positions, offsets: Offsets) -> int:
        return strkeys.locate_muxed(muxed_id, key, rows, offsets)

    return _located_strkeys(words, muxed_id, locate)


def claimable_balance(words: Words, pos: Positions) -> pa.Array:
    """ClaimableBalanceID as B… strkeys."""
    return _located_strkeys(words, pos, strkeys.locate_balances)


def address(words: Words, pos: Positions) -> pa.Array:
    """SCAddress as the strkey of its arm: G, C, M, B or L."""
    return _located_strkeys(words, pos, strkeys.locate_addresses)


def signer_key(words: Words, pos: Positions) -> pa.Array:
    """SignerKey as the strkey of its arm: G, T, X or P."""
    return _located_strkeys(words, pos, strkeys.locate_signers)


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


def json_array(write: Writer, words: Words, pos: Positions, what: str) -> pa.Array:
    """The JSON that `write` gives for each position; null where absent. ValueError where there is no `what`."""
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, pa.string())
    offsets = np.zeros(len(pos) + 1, np.int32)
    data = _room(_JSON_BYTES * (len(pos) + 16))
    status, row = write(words, pos, 0, offsets, data)
    while status == FULL:
        larger = _room(2 * len(data))
        larger[: offsets[row]] = data[: offsets[row]]
        data = larger
        status, row = write(words, pos, row, offsets, data)
    if status == MALFORMED:
        raise ValueError(f"no valid {what} at word {pos[row]}, or nested deeper than {DEPTH}")
    bitmap, nulls = _validity(pos > 0)
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data[: offsets[-1]])]
    return pa.Array.from_buffers(pa.string(), len(pos), buffers, nulls)


def _nulls(pos: Positions) -> int:
    return len(pos) - kernels.count_between(pos, 1, _LAST_POSITION)


def _offsets(rows: Positions) -> Offsets:
    return np.empty(len(rows) + 1, np.int32)


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


def _fixed_width(
    type: pa.DataType,
    words: Words,
    pos: Positions,
    gather: Callable[[Words, Positions, Any], None],
    dtype: type[np.generic],
    shape: int | tuple[int, int],
) -> pa.Array:
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, type)
    out = np.empty(shape, dtype)
    gather(words, pos, out)
    return pa.Array.from_buffers(type, len(pos), [_bitmap(pos > 0) if nulls else None, pa.py_buffer(out)], nulls)


def _variable_width(
    type: pa.DataType,
    words: Words,
    pos: Positions,
    measure: Callable[[Words, Positions, Offsets], int],
    write: Callable[[Words, Positions, Offsets, Bytes], None],
) -> pa.Array:
    nulls = _nulls(pos)
    if nulls == len(pos):
        return pa.nulls(nulls, type)
    offsets = _offsets(pos)
    data = _room(measure(words, pos, offsets))
    write(words, pos, offsets, data)
    buffers = [_bitmap(pos > 0) if nulls else None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(type, len(pos), buffers, nulls)


def _located_strkeys(
    words: Words, pos: Positions, locate: Callable[[Words, Positions, Positions, Offsets], int]
) -> pa.Array:
    rows = np.empty((len(pos), 4), np.int64)

    def measure(words: Words, pos: Positions, offsets: Offsets) -> int:
        return locate(words, pos, rows, offsets)

    def write(words: Words, pos: Positions, offsets: Offsets, data: Bytes) -> None:
        strkeys.write_strkeys(words, rows, offsets, data)

    return _variable_width(pa.string(), words, pos, measure, write)


def _masked_text(offsets: Offsets, data: Bytes, valid: Mask) -> pa.Array:
    bitmap, nulls = _validity(valid)
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(valid), buffers, nulls)
