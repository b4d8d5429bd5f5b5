"""Readers of numbers, bytes, text and unions against Python's own conversions and stellar_sdk."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from stellar_sdk import xdr
from stellar_sdk.xdr.base import String

from stellar_arrow_source.xdr import readers
from tests.support.xdr_values import odd_bytes, opaque, place

ROWS = 120


def some_absent(rng: random.Random, values: list[Any]) -> list[Any]:
    return [None if rng.random() < 0.3 else value for value in values]


def numbers(bits: int, signed: bool) -> list[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return [low, high, 0, 1, low + 1, high - 1] + [random.Random(bits).randint(low, high) for _ in range(ROWS)]


NUMBER_READERS = [
    (readers.u32, pa.uint32(), ">I", numbers(32, False)),
    (readers.u32, pa.int32(), ">i", numbers(32, True)),
    (readers.i64, pa.int64(), ">q", numbers(64, True)),
    (readers.i64, pa.uint64(), ">Q", numbers(64, False)),
]


@pytest.mark.parametrize("absent", [False, True], ids=["all present", "some absent"])
@pytest.mark.parametrize(("reader", "kind", "code", "values"), NUMBER_READERS, ids=lambda v: str(v)[:12])
def test_numbers(
    reader: Callable[..., pa.Array], kind: pa.DataType, code: str, values: list[int], absent: bool
) -> None:
    expected = some_absent(random.Random(1), values) if absent else values
    words, pos, _ = place([None if v is None else struct.pack(code, v) for v in expected])
    found = reader(words, pos, kind)
    found.validate(full=True)
    assert found.equals(pa.array(expected, kind))
    assert (found.buffers()[0] is None) == (not absent)


def test_booleans() -> None:
    expected = some_absent(random.Random(2), [i % 3 == 0 for i in range(ROWS)])
    words, pos, _ = place([None if v is None else struct.pack(">I", v) for v in expected])
    assert readers.boolean(words, pos).to_pylist() == expected


@pytest.mark.parametrize("nbytes", [4, 12, 32])
def test_fixed_opaques(nbytes: int) -> None:
    rng = random.Random(nbytes)
    expected = some_absent(rng, [rng.randbytes(nbytes) for _ in range(ROWS)])
    words, pos, _ = place(expected)
    found = readers.fixed(words, pos, nbytes)
    assert found.equals(pa.array(expected, pa.binary(nbytes)))
    encoded = [None if v is None else base64.b64encode(v).decode() for v in expected]
    assert readers.base64_fixed(words, pos, nbytes).to_pylist() == encoded


def test_fixed_refuses_part_of_a_word() -> None:
    with pytest.raises(ValueError, match="whole words"):
        readers.fixed(np.zeros(9, np.uint32), np.array([1]), 30)


@pytest.mark.parametrize("nbytes", [1, 2, 3, 5])
def test_base64_padding(nbytes: int) -> None:
    value = bytes(range(250, 250 + nbytes))
    words, pos, _ = place([value + bytes(-nbytes % 4)])
    assert readers.base64_fixed(words, pos, nbytes).to_pylist() == [base64.b64encode(value).decode()]


def test_variable_opaques_and_spans() -> None:
    rng = random.Random(3)
    expected = some_absent(rng, [rng.randbytes(rng.randint(0, 70)) for _ in range(ROWS)])
    words, pos, end = place([None if v is None else opaque(v) for v in expected])
    assert readers.binary(words, pos).to_pylist() == expected
    spans = readers.span(words, pos, end)
    assert spans.to_pylist() == [None if v is None else opaque(v) for v in expected]
    spans.validate(full=True)


def test_text_is_escaped_as_sep_51_says() -> None:
    rng = random.Random(4)
    values = [bytes([byte]) for byte in range(256)] + [odd_bytes(rng, 40) for _ in range(ROWS)]
    expected = some_absent(rng, values)
    words, pos, _ = place([None if v is None else opaque(v) for v in expected])
    found = readers.text(words, pos)
    found.validate(full=True)
    assert found.to_pylist() == [None if v is None else String.to_json_dict(v) for v in expected]


MALFORMED_UTF8 = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2A", b"\xe0\x9f\xbf", b"\xe0\xa0", b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xef\xbf", b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
    b"\xff", b"a\xc3\x28", b"\xe2\x28\xa1", b"\xf0\x9f\x98",
]  # fmt: skip
WELL_FORMED_UTF8 = [
    "", "plain", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff",
    "é€😀 mixed",
]  # fmt: skip


def test_utf8_is_told_from_other_bytes() -> None:
    rng = random.Random(5)
    values = MALFORMED_UTF8 + [text.encode() for text in WELL_FORMED_UTF8]
    values += [odd_bytes(rng, 4) for _ in range(ROWS)] + [rng.randbytes(2) for _ in range(ROWS)]
    words, pos, _ = place([*map(opaque, values), None])
    found, other = readers.utf8_or_null(words, pos)
    found.validate(full=True)

    def decoded(value: bytes) -> str | None:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    texts = [decoded(value) for value in values]
    assert texts[: len(MALFORMED_UTF8)] == [None] * len(MALFORMED_UTF8)
    assert found.to_pylist() == [*texts, None]
    assert other.to_pylist() == [
        *(v if t is None else None for v, t in zip(values, texts, strict=True)), None
    ]  # fmt: skip


def test_unsigned_decimals() -> None:
    expected = [0, 9, 10, 2**64 - 1, 10**19, 10**19 - 1, *(10**k for k in range(1, 19)), None]
    words, pos, _ = place([None if v is None else struct.pack(">Q", v) for v in expected])
    assert readers.decimal_u64(words, pos).to_pylist() == [None if v is None else str(v) for v in expected]


def test_enum_names() -> None:
    table = readers.EnumTable.from_mapping({-2: "minus_two", 0: "zero", 3: "three"})
    codes = np.array([0, -2, 3, 1, -3, 4, 2**40, -1, 3])
    expected = ["zero", "minus_two", "three", None, None, None, None, None, "three"]
    assert readers.enum(codes, table).to_pylist() == expected
    assert readers.enum(codes[:3], table).buffers()[0] is None
    assert readers.enum(codes[3:5], table).to_pylist() == [None, None]


@pytest.mark.parametrize("names", [{}, {0: "a", 1 << 16: "b"}, {0: ""}])
def test_enum_tables_are_dense_and_named(names: dict[int, str]) -> None:
    with pytest.raises(ValueError, match="EnumTable"):
        readers.EnumTable.from_mapping(names)


def test_muxed_accounts_are_split() -> None:
    key = bytes(range(32))
    plain = xdr.MuxedAccount(xdr.CryptoKeyType.KEY_TYPE_ED25519, ed25519=xdr.Uint256(key))
    muxed = xdr.MuxedAccount(
        xdr.CryptoKeyType.KEY_TYPE_MUXED_ED25519,
        med25519=xdr.MuxedAccountMed25519(xdr.Uint64(7), xdr.Uint256(key)),
    )
    words, pos, _ = place([plain.to_xdr_bytes(), muxed.to_xdr_bytes(), None])
    keys, ids = readers.split_muxed(words, pos)
    assert readers.fixed(words, keys, 32).to_pylist() == [key, key, None]
    assert readers.i64(words, ids, pa.uint64()).to_pylist() == [None, 7, None]


ISSUER = xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, xdr.Uint256(bytes(range(32)))))


def asset(code: bytes) -> xdr.Asset:
    if not code:
        return xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
    if len(code) <= 4:
        short = xdr.AlphaNum4(xdr.AssetCode4(code.ljust(4, b"\0")), ISSUER)
        return xdr.Asset(xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4, alpha_num4=short)
    long = xdr.AlphaNum12(xdr.AssetCode12(code.ljust(12, b"\0")), ISSUER)
    return xdr.Asset(xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12, alpha_num12=long)


def test_assets() -> None:
    codes = [b"", b"A", b"USDC", b"ABCDE", b"ABCDEFGHIJKL", b"\xffA\0B", b"a\0\0\0\0\0\0\0\0\0\0b", b"\\\n"]
    pool = xdr.TrustLineAsset(xdr.AssetType.ASSET_TYPE_POOL_SHARE, liquidity_pool_id=xdr.PoolID(xdr.Hash(bytes(32))))
    words, pos, _ = place([*(asset(code).to_xdr_bytes() for code in codes), pool.to_xdr_bytes(), None])
    types, code_pos, code_len, issuer = readers.split_asset(words, pos)
    kinds = ["native"] + ["credit_alphanum4" if len(code) <= 4 else "credit_alphanum12" for code in codes[1:]]
    assert readers.asset_type(types).to_pylist() == [*kinds, "liquidity_pool_shares", None]
    texts = ["XLM", *(String.to_json_dict(code) for code in codes[1:])]
    found = readers.asset_code(words, types, code_pos)
    found.validate(full=True)
    assert found.to_pylist() == [*texts, None, None]
    assert code_len.tolist() == [0, *(4 if len(code) <= 4 else 12 for code in codes[1:]), 0, 0]
    issued = [None] + [bytes(range(32))] * (len(codes) - 1) + [None, None]
    assert readers.fixed(words, issuer, 32).to_pylist() == issued


def test_asset_code_unions() -> None:
    short = xdr.AssetCode(xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4, asset_code4=xdr.AssetCode4(b"EUR\0"))
    long = xdr.AssetCode(
        xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12, asset_code12=xdr.AssetCode12(b"LONGER\0\0\0\0\0\0")
    )
    words, pos, _ = place([None, short.to_xdr_bytes(), long.to_xdr_bytes()])
    assert readers.asset_code_union(words, pos).to_pylist() == [None, "EUR", "LONGER"]
    assert readers.split_asset_code(words, pos)[0].tolist() == [-1, 1, 2]


ALL_READERS: list[Callable[..., pa.Array]] = [
    readers.u32, readers.i64, readers.boolean, readers.binary, readers.text, readers.decimal_u64, readers.account,
    readers.claimable_balance, readers.address, readers.signer_key, readers.asset_code_union,
    lambda words, pos: readers.fixed(words, pos, 32), lambda words, pos: readers.base64_fixed(words, pos, 32),
    lambda words, pos: readers.span(words, pos, pos), lambda words, pos: readers.muxed_account(words, pos, pos),
    lambda words, pos: readers.utf8_or_null(words, pos)[0], lambda words, pos: readers.asset_type(pos - 1),
]  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize("reader", ALL_READERS)
def test_all_absent(reader: Callable[..., pa.Array], rows: int) -> None:
    found = reader(np.zeros(1, np.uint32), np.zeros(rows, np.int64))
    found.validate(full=True)
    assert found.null_count == rows
    assert len(found) == rows


def test_derived_values() -> None:
    values, valid = np.arange(9, dtype=np.int64), np.arange(9) % 2 == 0
    assert readers.from_numpy(values, pa.int64()).to_pylist() == list(range(9))
    assert readers.from_numpy(values, pa.int64(), valid).to_pylist() == [0, None, 2, None, 4, None, 6, None, 8]
    assert readers.from_numpy(values[::2], pa.int64()).to_pylist() == [0, 2, 4, 6, 8]
    assert readers.from_bool(valid).to_pylist() == valid.tolist()
    assert readers.from_bool(~valid, valid).to_pylist() == [False if v else None for v in valid]
    offsets = np.array([0, 2, 2, 5], np.int32)
    lists = readers.list_array(offsets, pa.array([1, 2, 3, 4, 5]), np.array([True, False, True]))
    assert lists.to_pylist() == [[1, 2], None, [3, 4, 5]]
    with pytest.raises(ValueError, match="cannot be read"):
        readers.from_numpy(values, pa.int32())


def test_more_text_than_arrow_offsets_hold_is_an_error() -> None:
    words, pos, _ = place([struct.pack(">I", 2**31)])
    with pytest.raises(OverflowError, match=r"fewer ledgers|out of bounds"):
        readers.binary(words, pos)
