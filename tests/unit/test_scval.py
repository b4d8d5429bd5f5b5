"""XDR-JSON of SCVal and ClaimPredicate against stellar_sdk's, on seeded random values of every arm."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from stellar_sdk import scval as sdk
from stellar_sdk import xdr

from stellar_arrow_source.xdr.predicate import predicate_json
from stellar_arrow_source.xdr.scval import next_scval, scval_json, vector_items
from stellar_arrow_source.xdr.walk import DEPTH
from tests.support.xdr_values import odd_bytes, place, random_address


def compact(value: Any) -> str:
    return json.dumps(json.loads(value.to_json()), separators=(",", ":"), ensure_ascii=False)


def wide(rng: random.Random, bits: int, signed: bool) -> int:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    some = rng.randint(low, high) >> rng.randrange(bits)
    return (
        rng.choice([low, high, 0, min(1 << bits // 2, high), low + 1, 10**18, some, some, some]) if bits > 64 else some
    )


def random_error(rng: random.Random) -> xdr.SCVal:
    kind = xdr.SCErrorType(rng.randrange(10))
    if kind == xdr.SCErrorType.SCE_CONTRACT:
        error = xdr.SCError(kind, contract_code=xdr.Uint32(rng.getrandbits(32)))
    else:
        error = xdr.SCError(kind, code=xdr.SCErrorCode(rng.randrange(10)))
    return xdr.SCVal(xdr.SCValType.SCV_ERROR, error=error)


def random_map(rng: random.Random, depth: int) -> xdr.SCMap:
    entries = [xdr.SCMapEntry(random_scval(rng, depth), random_scval(rng, depth)) for _ in range(rng.randrange(4))]
    return xdr.SCMap(entries)


def random_instance(rng: random.Random, depth: int) -> xdr.SCVal:
    kind = xdr.ContractExecutableType(rng.randrange(3))
    if kind == xdr.ContractExecutableType.CONTRACT_EXECUTABLE_WASM:
        executable = xdr.ContractExecutable(kind, wasm_hash=xdr.Hash(rng.randbytes(32)))
    elif kind == xdr.ContractExecutableType.CONTRACT_EXECUTABLE_STELLAR_ASSET:
        executable = xdr.ContractExecutable(kind)
    else:
        reference = xdr.ContractExecutableExternalRef(random_address(rng), xdr.SCString(odd_bytes(rng, 300)))
        executable = xdr.ContractExecutable(kind, external_ref=reference)
    storage = rng.choice([None, random_map(rng, depth)])
    return xdr.SCVal(xdr.SCValType.SCV_CONTRACT_INSTANCE, instance=xdr.SCContractInstance(executable, storage))


def random_scval(rng: random.Random, depth: int) -> xdr.SCVal:
    """An SCVal of any arm; containers hold values of less depth."""
    kind = xdr.SCValType(rng.randrange(23))
    containers = (xdr.SCValType.SCV_VEC, xdr.SCValType.SCV_MAP, xdr.SCValType.SCV_CONTRACT_INSTANCE)
    if kind in containers and depth == 0:
        kind = xdr.SCValType.SCV_SYMBOL
    match kind:
        case xdr.SCValType.SCV_BOOL:
            return sdk.to_bool(rng.random() < 0.5)
        case xdr.SCValType.SCV_VOID | xdr.SCValType.SCV_LEDGER_KEY_CONTRACT_INSTANCE:
            return xdr.SCVal(kind)
        case xdr.SCValType.SCV_ERROR:
            return random_error(rng)
        case xdr.SCValType.SCV_U32:
            return sdk.to_uint32(wide(rng, 32, False))
        case xdr.SCValType.SCV_I32:
            return sdk.to_int32(wide(rng, 32, True))
        case xdr.SCValType.SCV_U64:
            return sdk.to_uint64(wide(rng, 64, False))
        case xdr.SCValType.SCV_I64:
            return sdk.to_int64(wide(rng, 64, True))
        case xdr.SCValType.SCV_TIMEPOINT:
            return sdk.to_timepoint(wide(rng, 64, False))
        case xdr.SCValType.SCV_DURATION:
            return sdk.to_duration(wide(rng, 64, False))
        case xdr.SCValType.SCV_U128:
            return sdk.to_uint128(wide(rng, 128, False))
        case xdr.SCValType.SCV_I128:
            return sdk.to_int128(wide(rng, 128, True))
        case xdr.SCValType.SCV_U256:
            return sdk.to_uint256(wide(rng, 256, False))
        case xdr.SCValType.SCV_I256:
            return sdk.to_int256(wide(rng, 256, True))
        case xdr.SCValType.SCV_BYTES:
            return sdk.to_bytes(rng.randbytes(rng.choice([0, 1, 31, 700])))
        case xdr.SCValType.SCV_STRING:
            return sdk.to_string(odd_bytes(rng, 600))
        case xdr.SCValType.SCV_SYMBOL:
            return xdr.SCVal(kind, sym=xdr.SCSymbol(odd_bytes(rng, 32)))
        case xdr.SCValType.SCV_VEC:
            items = [random_scval(rng, depth - 1) for _ in range(rng.randrange(5))]
            return xdr.SCVal(kind, vec=xdr.SCVec(items))
        case xdr.SCValType.SCV_MAP:
            return xdr.SCVal(kind, map=random_map(rng, depth - 1))
        case xdr.SCValType.SCV_ADDRESS:
            return xdr.SCVal(kind, address=random_address(rng))
        case xdr.SCValType.SCV_CONTRACT_INSTANCE:
            return random_instance(rng, depth - 1)
        case xdr.SCValType.SCV_LEDGER_KEY_NONCE:
            return xdr.SCVal(kind, nonce_key=xdr.SCNonceKey(xdr.Int64(wide(rng, 64, True))))
        case _:
            return xdr.SCVal(kind, executable_tag=xdr.SCString(odd_bytes(rng, 40)))


@pytest.mark.parametrize("seed", range(6))
def test_random_values(seed: int) -> None:
    rng = random.Random(seed)
    values = [random_scval(rng, 4) for _ in range(200)]
    assert len({value.type for value in values}) == 23
    words, pos, end = place([*(value.to_xdr_bytes() for value in values), None])
    found = scval_json(words, pos)
    found.validate(full=True)
    for text, value in zip(found.to_pylist(), [*values, None], strict=True):
        assert text == (None if value is None else compact(value))
    for first, last in zip(pos[:-1], end[:-1], strict=True):
        assert next_scval(words, first, last) == last
        assert next_scval(words, first, last - 1) == -1


EXTREMES = [
    *(sdk.to_int128(n) for n in (-(2**127), 2**127 - 1, -(2**64), 2**64, -1, -(2**63), 10**27, 10**18, -(10**36))),
    *(sdk.to_uint128(n) for n in (0, 2**64 - 1, 2**64, 2**128 - 1, 10**38)),
    *(sdk.to_int256(n) for n in (-(2**255), 2**255 - 1, -1, -(2**128), -(2**64), 10**76)),
    *(sdk.to_uint256(n) for n in (0, 10**9, 10**77, 2**256 - 1, 2**255, 2**96)),
    *(sdk.to_int64(n) for n in (-(2**63), 2**63 - 1, -1, 0)),
    *(sdk.to_int32(n) for n in (-(2**31), 2**31 - 1, -1, 0)),
    sdk.to_string(bytes(range(256))),
    sdk.to_string(b"\xff" * 5000),
]


def test_extremes() -> None:
    words, pos, _ = place([value.to_xdr_bytes() for value in EXTREMES])
    assert scval_json(words, pos).to_pylist() == [compact(value) for value in EXTREMES]


def test_absent_containers_are_null() -> None:
    # SEP-51 writes an absent optional as null; the SDK refuses to render these two
    kinds = [xdr.SCValType.SCV_VEC, xdr.SCValType.SCV_MAP]
    values = [kind.to_bytes(4, "big") + bytes(4) for kind in kinds]
    words, pos, end = place([*values, (16).to_bytes(4, "big") + (1).to_bytes(4, "big") * 2 + values[1]])
    assert scval_json(words, pos).to_pylist() == ['{"vec":null}', '{"map":null}', '{"vec":[{"map":null}]}']
    assert [next_scval(words, first, last) for first, last in zip(pos, end, strict=True)] == end.tolist()


def nested(depth: int) -> bytes:
    """A void in `depth` vectors: each SCV_VEC, present, of one item."""
    return b"".join(word.to_bytes(4, "big") for word in [16, 1, 1] * depth + [1])


def test_deepest_nesting() -> None:
    words, pos, _ = place([nested(DEPTH)])
    assert scval_json(words, pos).to_pylist() == ['{"vec":[' * DEPTH + '"void"' + "]}" * DEPTH]
    words, pos, _ = place([nested(1), nested(DEPTH + 1)])
    with pytest.raises(ValueError, match=f"word {pos[1]}"):
        scval_json(words, pos)


def test_no_scval() -> None:
    words, pos, end = place([(23).to_bytes(4, "big")])
    with pytest.raises(ValueError, match="word 1"):
        scval_json(words, pos)
    assert next_scval(words, 1, int(end[0])) == -1


def test_items_of_vectors() -> None:
    rng = random.Random(9)
    rows = [None, *([random_scval(rng, 2) for _ in range(n)] for n in (3, 0, 20)), None]
    encoded = [
        None if row is None else len(row).to_bytes(4, "big") + b"".join(value.to_xdr_bytes() for value in row)
        for row in rows
    ]
    words, pos, end = place(encoded)
    offsets, items = vector_items(words, pos, end)
    assert np.diff(offsets).tolist() == [len(row or []) for row in rows]
    assert scval_json(words, items).to_pylist() == [compact(value) for row in rows for value in row or []]
    end[3] -= 1
    with pytest.raises(ValueError, match=f"word {pos[3]}"):
        vector_items(words, pos, end)


def random_predicate(rng: random.Random, depth: int) -> xdr.ClaimPredicate:
    kind = xdr.ClaimPredicateType(rng.randrange(6) if depth else rng.choice([0, 4, 5]))
    some = [random_predicate(rng, depth - 1) for _ in range(rng.randrange(3))] if depth else []
    match kind:
        case xdr.ClaimPredicateType.CLAIM_PREDICATE_UNCONDITIONAL:
            return xdr.ClaimPredicate(kind)
        case xdr.ClaimPredicateType.CLAIM_PREDICATE_AND:
            return xdr.ClaimPredicate(kind, and_predicates=some)
        case xdr.ClaimPredicateType.CLAIM_PREDICATE_OR:
            return xdr.ClaimPredicate(kind, or_predicates=some)
        case xdr.ClaimPredicateType.CLAIM_PREDICATE_NOT:
            return xdr.ClaimPredicate(kind, not_predicate=random_predicate(rng, depth - 1))
        case xdr.ClaimPredicateType.CLAIM_PREDICATE_BEFORE_ABSOLUTE_TIME:
            return xdr.ClaimPredicate(kind, abs_before=xdr.Int64(wide(rng, 64, True)))
        case _:
            return xdr.ClaimPredicate(kind, rel_before=xdr.Int64(wide(rng, 64, True)))


def test_random_predicates() -> None:
    rng = random.Random(11)
    predicates = [random_predicate(rng, 5) for _ in range(200)]
    words, pos, _ = place([*(predicate.to_xdr_bytes() for predicate in predicates), None])
    found = predicate_json(words, pos)
    found.validate(full=True)
    assert found.to_pylist() == [*map(compact, predicates), None]


def test_predicates_the_sdk_does_not_render() -> None:
    absent_not, unknown = (3).to_bytes(4, "big") + bytes(4), (6).to_bytes(4, "big")
    words, pos, _ = place([absent_not, unknown])
    assert predicate_json(words, pos[:1]).to_pylist() == ['{"not":null}']
    with pytest.raises(ValueError, match="ClaimPredicate at word 3"):
        predicate_json(words, pos)
