"""Compiling relations to programs, and walking small values with them."""

from __future__ import annotations

import numpy as np
import pytest
from stellar_sdk import xdr

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.xdr import Arena, LedgerBuffer, Relation, compile_program
from stellar_arrow_source.xdr.plan import END

MEMO = Relation("memo", anchors=("Memo",))


def walk(
    relations: list[Relation], fields: dict[str, set[str]], root: str, *values: bytes, capacity: int = 1024
) -> tuple[Arena, LedgerBuffer]:
    program = compile_program(
        relations,
        {name: frozenset(paths) for name, paths in fields.items()},
        {relation.name: frozenset({""}) for relation in relations},
        root,
    )
    arena, buffer = Arena(program, capacity), LedgerBuffer()
    for value in values:
        buffer.append(value)
    arena.walk(buffer.words, buffer.bounds)
    return arena, buffer


def path_payment(assets: int) -> xdr.PathPaymentStrictSendOp:
    native = xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
    key = xdr.Uint256(bytes(range(32)))
    return xdr.PathPaymentStrictSendOp(
        native,
        xdr.Int64(5),
        xdr.MuxedAccount(xdr.CryptoKeyType.KEY_TYPE_ED25519, ed25519=key),
        native,
        xdr.Int64(7),
        [native] * assets,
    )


def test_rows_of_arrays_name_their_parent() -> None:
    relations = [
        Relation("payment", anchors=("PathPaymentStrictSendOp",)),
        Relation("hop", sites=(("payment", "path"),), type="Asset"),
    ]
    values = [path_payment(n).to_xdr_bytes() for n in (2, 0, 5)]
    arena, _ = walk(relations, {"payment": {"destMin"}, "hop": set()}, "PathPaymentStrictSendOp", *values)
    assert arena.count("payment") == 3
    assert arena.rows("hop")[:, 1].tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert arena.ledger_rows("hop").tolist() == [0, 2, 2, 7]


def test_a_field_lies_where_it_is_said_to() -> None:
    relations = [Relation("payment", anchors=("PathPaymentStrictSendOp",))]
    value = path_payment(3)
    arena, buffer = walk(relations, {"payment": {"destMin", "path"}}, "PathPaymentStrictSendOp", value.to_xdr_bytes())
    row = arena.rows("payment")[0]
    location = arena.location("payment", "destMin")
    at = int(row[location.slot]) + location.offset
    assert buffer.words[at : at + 2].byteswap().tolist() == [0, 7]
    end = arena.location("payment", END)
    assert int(row[end.slot]) + end.offset == buffer.bounds[0, 1]


def test_arenas_grow() -> None:
    relations = [
        Relation("payment", anchors=("PathPaymentStrictSendOp",)),
        Relation("hop", sites=(("payment", "path"),), type="Asset"),
    ]
    values = [path_payment(5).to_xdr_bytes()] * 40
    small, _ = walk(relations, {}, "PathPaymentStrictSendOp", *values, capacity=1)
    large, _ = walk(relations, {}, "PathPaymentStrictSendOp", *values)
    for name in ("payment", "hop"):
        assert np.array_equal(small.rows(name), large.rows(name))


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(KeyError, match="memo has no retHashes"):
        compile_program([MEMO], {"memo": frozenset({"retHashes"})}, {}, "Memo")


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"\0\0\0\x09", "unknown union discriminant", 0),
        (b"\0\0\0\x01\0\0\0\x1d" + bytes(32), "a length or count", 4),
        (b"\0\0\0\x01\0\0\0\x05aaaaa\0\0\1", "padding", 12),
        (b"\0\0\0\x02\0\0\0\0", "ends too early", 8),
        (b"\0\0\0\x00\0\0\0\0", "left over", 4),
    ],
)
def test_what_is_wrong_and_where(data: bytes, reason: str, offset: int) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        walk([MEMO], {}, "Memo", xdr.Memo(xdr.MemoType.MEMO_NONE).to_xdr_bytes(), data)
    assert (caught.value.index, caught.value.offset) == (1, offset)
    assert caught.value.path.startswith(("Memo", "memo"))


def test_a_ledger_must_be_whole_words() -> None:
    with pytest.raises(DecodeError, match="whole number of words"):
        walk([MEMO], {}, "Memo", b"\0\0\0")
