"""Soroban values (XDR SCVal): ``scval_json``, ``vector_items``, ``next_scval``.

JSON is that of SEP-51, compact. The value's arm is the single key of an object, void arms are strings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_source.xdr.jit import Bytes, Offsets, Positions, Words, helper, kernel, load32, load64, load_int
from stellar_arrow_source.xdr.json_text import (
    DONE,
    FULL,
    MALFORMED,
    MARGIN,
    STRING_GROWTH,
    literals,
    put,
    put_choice,
    put_hex,
    put_signed,
    put_string,
    put_unsigned,
    put_wide,
)
from stellar_arrow_source.xdr.readers import json_array
from stellar_arrow_source.xdr.strkey import STAGE_BYTES, address_payload, put_payload
from stellar_arrow_source.xdr.walk import DEPTH

(
    BOOL, VOID, ERROR, U32, I32, U64, I64, TIMEPOINT, DURATION, U128, I128, U256, I256, BYTES, STRING, SYMBOL, VEC, MAP,
    ADDRESS, CONTRACT_INSTANCE, LEDGER_KEY_CONTRACT_INSTANCE, LEDGER_KEY_NONCE, EXECUTABLE_TAG,
) = range(23)  # fmt: skip
"""SCValType."""

_VARIABLE = -1
_FIXED_WORDS = np.array(
    [1, 0, 2, 1, 1, 2, 2, 2, 2, 4, 4, 8, 8] + [_VARIABLE] * 3 + [0, 0, _VARIABLE, _VARIABLE, 0, 2, _VARIABLE], np.int64
)
"""Words after the discriminant and before nested values, by arm."""
_ADDRESS_WORDS = np.array([10, 9, 11, 10, 9], np.int64)
"""Words of an SCAddress, by arm, its discriminant included."""
_EXECUTABLE_WASM, _EXECUTABLE_STELLAR_ASSET = 0, 1

_ERROR_TYPES = literals(
    b"contract", b"wasm_vm", b"context", b"storage", b"object", b"crypto", b"events", b"budget", b"value", b"auth",
)  # fmt: skip
_ERROR_CODES = literals(
    b"arith_domain", b"index_bounds", b"invalid_input", b"missing_value", b"existing_value", b"exceeded_limit",
    b"invalid_action", b"internal_error", b"unexpected_type", b"unexpected_size",
)  # fmt: skip
_OPENINGS = literals(
    b'{"bool":', b'"void"', b'{"error":{"', b'{"u32":', b'{"i32":', b'{"u64":"', b'{"i64":"', b'{"timepoint":"',
    b'{"duration":"', b'{"u128":"', b'{"i128":"', b'{"u256":"', b'{"i256":"', b'{"bytes":"', b'{"string":"',
    b'{"symbol":"', b'{"vec":', b'{"map":', b'{"address":"', b'{"contract_instance":{"executable":',
    b'"ledger_key_contract_instance"', b'{"ledger_key_nonce":{"nonce":"', b'{"executable_tag":"',
)  # fmt: skip
_CLOSINGS = literals(
    b"}", b"", b"}}", b"}", b"}", b'"}', b'"}', b'"}', b'"}', b'"}', b'"}', b'"}', b'"}', b'"}', b'"}', b'"}',
    b"}", b"}", b'"}', b"}}", b"", b'"}}', b'"}',
)  # fmt: skip


def scval_json(words: Words, pos: Positions) -> pa.Array:
    """The SCVal at each position as XDR-JSON; null where absent."""
    return json_array(_write_json, words, pos, "SCVal")


def vector_items(words: Words, pos: Positions, end: Positions) -> tuple[Offsets, Positions]:
    """Arrays SCVal<>, from the position of the count word → (list offsets, positions of all items).

    `end` bounds each row: no item lies at or after it.
    """
    offsets = np.empty(len(pos) + 1, np.int32)
    items = np.empty(_count_items(words, pos, offsets), np.int64)
    failed = _locate_items(words, pos, end, items)
    if failed >= 0:
        raise ValueError(f"no valid array of SCVal at word {pos[failed]}")
    return offsets, items


@helper
def _opaque_words(words: Words, p: int) -> int:
    """Words of the variable-length opaque at `p`, its length included."""
    return 1 + ((load_int(words, p) + 3) >> 2)


@helper
def _address_words(words: Words, p: int) -> int:
    """Words of the SCAddress at `p`."""
    words_of_arm: int = _ADDRESS_WORDS[np.uint64(min(load_int(words, p), 4))]
    return words_of_arm


@helper
def _executable_words(words: Words, p: int) -> int:
    """Words of the ContractExecutable at `p`."""
    arm = load_int(words, p)
    if arm == _EXECUTABLE_WASM:
        return 9
    if arm == _EXECUTABLE_STELLAR_ASSET:
        return 1
    tag = p + 1 + _address_words(words, p + 1)
    return tag - p + _opaque_words(words, tag)


@helper
def _leaf_words(words: Words, arm: int, p: int) -> int:
    """Words between the discriminant before `p` and the nested values of that arm, or the end."""
    fixed: int = _FIXED_WORDS[np.uint64(arm)]
    if fixed >= 0:
        return fixed
    if arm == ADDRESS:
        return _address_words(words, p)
    if arm == CONTRACT_INSTANCE:
        return _executable_words(words, p)
    return _opaque_words(words, p)


@helper
def next_scval(words: Words, p: int, end: int) -> int:
    """The position after the SCVal at `p`; -1 when it is none or does not end by `end`."""
    left = 1  # all nested values are SCVals, so that counting replaces a stack
    while left > 0:
        if p >= end:
            return -1
        arm = load_int(words, p)
        if arm >= _FIXED_WORDS.shape[0]:
            return -1
        p += 1
        left -= 1
        if arm in (VOID, LEDGER_KEY_CONTRACT_INSTANCE):
            continue
        if p >= end:
            return -1
        p += _leaf_words(words, arm, p)
        if arm in (VEC, MAP, CONTRACT_INSTANCE):
            p += 1
            if p > end:
                return -1
            if words[np.uint64(p - 1)] != 0:
                if p >= end:
                    return -1
                count = load_int(words, p)
                left += count if arm == VEC else 2 * count
                p += 1
    return p if p <= end else -1


@kernel
def _count_items(words: Words, pos: Positions, offsets: Offsets) -> int:
    total = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            total += load_int(words, pos[i])
        offsets[i + 1] = total
    return total


@kernel
def _locate_items(words: Words, pos: Positions, end: Positions, items: Positions) -> int:
    """Fill `items`; returns the first row that is malformed, or -1."""
    o = 0
    for i in range(pos.shape[0]):
        if pos[i] > 0:
            p = pos[i] + 1
            for _ in range(load_int(words, pos[i])):
                items[o] = p
                o += 1
                p = next_scval(words, p, end[i])
                if p < 0:
                    return i
    return -1


@helper
def _put_executable(words: Words, raw: Bytes, p: int, stage: Bytes, data: Bytes, o: int) -> int:
    """ContractExecutable."""
    arm = load_int(words, p)
    if arm == _EXECUTABLE_WASM:
        o = put(b'{"wasm":"', data, o)
        o = put_hex(raw, (p + 1) * 4, 32, data, o)
        return put(b'"}', data, o)
    if arm == _EXECUTABLE_STELLAR_ASSET:
        return put(b'"stellar_asset"', data, o)
    o = put(b'{"external_ref":{"executable_owner":"', data, o)
    version, first, nbytes, muxed_id = address_payload(words, p + 1)
    o = put_payload(raw, version, first, nbytes, muxed_id, stage, data, o)
    o = put(b'","tag":"', data, o)
    tag = p + 1 + _address_words(words, p + 1)
    o = put_string(raw, (tag + 1) * 4, load_int(words, tag), data, o)
    return put(b'"}}', data, o)


@helper
def _put_error(words: Words, p: int, data: Bytes, o: int) -> int:
    """SCError: a contract's own code, or one of the host's."""
    kind = min(load_int(words, p), 9)
    o = put_choice(_ERROR_TYPES.offsets, _ERROR_TYPES.letters, kind, data, o)
    o = put(b'":', data, o)
    if kind == 0:
        return put_unsigned(np.uint64(load32(words, p + 1)), data, o)
    o = put(b'"', data, o)
    o = put_choice(_ERROR_CODES.offsets, _ERROR_CODES.letters, min(load_int(words, p + 1), 9), data, o)
    return put(b'"', data, o)


@helper
def _put_leaf(
    words: Words, raw: Bytes, arm: int, p: int, limbs: npt.NDArray[np.uint64], stage: Bytes, data: Bytes, o: int
) -> int:
    """What stands between the opening of an arm and its nested values or its closing."""
    if arm == BOOL:
        return put(b"true" if words[np.uint64(p)] != 0 else b"false", data, o)
    if arm == U32:
        return put_unsigned(np.uint64(load32(words, p)), data, o)
    if arm == I32:
        return put_signed(np.uint64(np.int64(np.int32(load32(words, p)))), data, o)
    if arm in (U64, TIMEPOINT, DURATION):
        return put_unsigned(load64(words, p), data, o)
    if arm in (I64, LEDGER_KEY_NONCE):
        return put_signed(load64(words, p), data, o)
    if arm in (U128, I128):
        return put_wide(words, p, 4, arm == I128, limbs, data, o)
    if arm in (U256, I256):
        return put_wide(words, p, 8, arm == I256, limbs, data, o)
    if arm == BYTES:
        return put_hex(raw, (p + 1) * 4, load_int(words, p), data, o)
    if arm in (STRING, SYMBOL, EXECUTABLE_TAG):
        return put_string(raw, (p + 1) * 4, load_int(words, p), data, o)
    if arm == ADDRESS:
        version, first, nbytes, muxed_id = address_payload(words, p)
        return put_payload(raw, version, first, nbytes, muxed_id, stage, data, o)
    if arm == ERROR:
        return _put_error(words, p, data, o)
    if arm == CONTRACT_INSTANCE:
        o = _put_executable(words, raw, p, stage, data, o)
        return put(b',"storage":', data, o)
    return o


@kernel
def _write_json(words: Words, pos: Positions, first: int, offsets: Offsets, data: Bytes) -> tuple[int, int]:
    """A ``json_text.Writer``."""
    raw = words.view(np.uint8)
    limbs, stage = np.empty(8, np.uint64), np.empty(STAGE_BYTES, np.uint8)
    arms, left = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)  # containers around the value, values to go
    o: int = offsets[first]
    for i in range(first, pos.shape[0]):
        p = pos[i]
        depth = 0
        while p > 0:
            arm = load_int(words, p) if p < words.shape[0] else EXECUTABLE_TAG + 1
            if arm > EXECUTABLE_TAG:
                return MALFORMED, i
            p += 1
            size = _leaf_words(words, arm, p) if p < words.shape[0] else 0
            if o + MARGIN + STRING_GROWTH * 4 * size > data.shape[0]:
                return FULL, i
            o = put_choice(_OPENINGS.offsets, _OPENINGS.letters, arm, data, o)
            o = _put_leaf(words, raw, arm, p, limbs, stage, data, o)
            p += size
            if arm in (VEC, MAP, CONTRACT_INSTANCE):
                present = words[np.uint64(p)] != 0
                count = load_int(words, p + 1) if present else 0
                p += 2 if present else 1
                if count > 0:
                    if depth == DEPTH:
                        return MALFORMED, i
                    arms[depth] = arm
                    left[depth] = count if arm == VEC else 2 * count
                    depth += 1
                    o = put(b"[" if arm == VEC else b'[{"key":', data, o)
                    continue
                o = put(b"[]" if present else b"null", data, o)
            o = put_choice(_CLOSINGS.offsets, _CLOSINGS.letters, arm, data, o)
            while depth > 0:
                if o + MARGIN > data.shape[0]:
                    return FULL, i
                arm = arms[depth - 1]
                left[depth - 1] -= 1
                if left[depth - 1] > 0:
                    if arm == VEC:
                        o = put(b",", data, o)
                    else:
                        o = put(b',"val":' if left[depth - 1] & 1 else b'},{"key":', data, o)
                    break
                o = put(b"]" if arm == VEC else b"}]", data, o)
                o = put_choice(_CLOSINGS.offsets, _CLOSINGS.letters, arm, data, o)
                depth -= 1
            if depth == 0:
                break
        offsets[i + 1] = o
    return DONE, pos.shape[0]
