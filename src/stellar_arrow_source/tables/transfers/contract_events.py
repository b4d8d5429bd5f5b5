"""Reads contract events as token-transfer events: ``parse_events``.

Source: CAP-67, SEP-41; what a topic or the data must be depends on the version of the transaction's meta.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers.layout import (
    BURN,
    CLAWBACK,
    FEE,
    MINT,
    MUX_HASH,
    MUX_ID,
    MUX_TEXT,
    NO_MUX,
    TRANSFER,
    Reason,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import Bytes, Positions, Words, helper, kernel, load32, load_int
from stellar_arrow_source.xdr.strkey import _CRC

# -- columns of what is parsed

KIND, REASON, FROM_AT, TO_AT, AMOUNT_AT, MUX_KIND, MUX_AT, CONTRACT_AT, HAS_ASSET, ADMIN = range(10)
PARSED = 10
ASSET_WORDS = 13

_NOT_ONE = -1
_CONTRACT_EVENT = 1
_BYTES, _STRING, _SYMBOL, _VEC, _MAP, _ADDRESS, _INSTANCE = 13, 14, 15, 16, 17, 18, 19
_VOID, _U64, _I128 = 1, 5, 10

_NO_CONTRACT, _TOPICS, _WRONG_ADDRESS = int(Reason.NO_CONTRACT), int(Reason.TOPICS), int(Reason.ADDRESS)
_WRONG_AMOUNT, _WRONG_DATA, _WRONG_FEE = int(Reason.AMOUNT), int(Reason.DATA), int(Reason.FEE)

# words of the values of fixed size, by SCValType
_FIXED = np.array([1, 0, 2, 1, 1, 2, 2, 2, 2, 4, 4, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 2], np.int64)
_TABLE = _CRC[0].astype(np.int64)


def _letters() -> NDArray[np.int64]:
    values = np.full(256, -1, np.int64)
    for value, letter in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
        values[letter] = value
    return values


_BASE32 = _letters()
_NAMES = np.frombuffer(
    b"transfer\0\0\0\0mint\0\0\0\0\0\0\0\0burn\0\0\0\0\0\0\0\0clawback\0\0\0\0fee\0\0\0\0\0\0\0\0\0", np.uint8
)
_LENGTHS = np.array([8, 4, 4, 8, 3], np.int64)
_AMOUNT_KEY = np.frombuffer(b"amount", np.uint8)
_MUXED_KEY = np.frombuffer(b"to_muxed_id", np.uint8)
_NATIVE = np.frombuffer(b"native", np.uint8)


@helper
def _is_text(raw: Bytes, words: Words, p: int, text: Bytes, first: int, length: int) -> bool:
    """Whether the string at word `p` is text[first:first + length]."""
    if load_int(words, p) != length:
        return False
    for k in range(length):  # noqa: SIM110 - numba compiles no generator
        if raw[np.uint64((p + 1) * 4 + k)] != text[np.uint64(first + k)]:
            return False
    return True


@helper
def _after_address(words: Words, p: int) -> int:
    """Where the SCAddress at `p` ends."""
    arm = load_int(words, p)
    if arm == 0 or arm == 3:
        return p + 10
    return p + 11 if arm == 2 else p + 9


@helper
def _after_text(words: Words, p: int) -> int:
    """Where the string or opaque whose length is at `p` ends."""
    return p + 1 + (load_int(words, p) + 3) // 4


@helper
def _after_value(words: Words, p: int) -> int:
    """Where the SCVal at `p` ends."""
    pending = 1
    while pending > 0:
        kind = load_int(words, p)
        p += 1
        pending -= 1
        if _BYTES <= kind <= _SYMBOL:
            p = _after_text(words, p)
        elif kind == _ADDRESS:
            p = _after_address(words, p)
        elif kind == _INSTANCE:
            p += 9 if load_int(words, p) == 0 else 1
            kind = _MAP
        else:
            p += _FIXED[kind]
        if kind in (_VEC, _MAP):
            present = load_int(words, p)
            p += 1
            if present == 1:
                pending += load_int(words, p) * (2 if kind == _MAP else 1)
                p += 1
    return p


@helper
def _key_at(raw: Bytes, start: int, decoded: Bytes) -> bool:
    """Decode the G strkey at byte `start` to its 35 bytes; whether version and checksum are right."""
    group, bits, o = np.int64(0), 0, 0
    for k in range(56):
        value = _BASE32[raw[np.uint64(start + k)]]
        if value < 0:
            return False
        group = ((group << 5) | value) & 0xFFFF
        bits += 5
        if bits >= 8:
            bits -= 8
            decoded[o] = (group >> bits) & 0xFF
            o += 1
    crc = np.int64(0)
    for k in range(33):
        crc = ((crc << 8) & 0xFFFF) ^ _TABLE[(crc >> 8) ^ np.int64(decoded[k])]
    return bool(decoded[0] == 48 and np.int64(decoded[33]) == crc & 0xFF and np.int64(decoded[34]) == crc >> 8)


@helper
def _asset_at(raw: Bytes, words: Words, p: int, decoded: Bytes, out: Bytes) -> bool:
    """Write the Asset that the string at word `p` names (SEP-11), big-endian; whether it names one."""
    for k in range(out.shape[0]):
        out[k] = 0
    length, start = load_int(words, p), (p + 1) * 4
    if _is_text(raw, words, p, _NATIVE, 0, 6):
        return True
    code = length - 57
    if code < 1 or code > 12 or raw[np.uint64(start + code)] != 58:  # :
        return False
    for k in range(code):
        letter = raw[np.uint64(start + k)]
        if not (48 <= letter <= 57 or 65 <= letter <= 90 or 97 <= letter <= 122):
            return False
        out[4 + k] = letter
    if not _key_at(raw, start + code + 1, decoded):
        return False
    out[3] = 1 if code <= 4 else 2
    issuer = 12 if code <= 4 else 20  # after the code, the key type and the key
    for k in range(32):
        out[issuer + k] = decoded[1 + k]
    return True


@helper
def _data_at(raw: Bytes, words: Words, p: int, maps: bool, row: Positions) -> int:
    """Find amount and muxed id in the data at `p`; returns a reason if there are none."""
    kind = load_int(words, p)
    if kind == _I128:
        row[AMOUNT_AT] = p + 1
        return 0
    if not maps or kind != _MAP or load_int(words, p + 1) == 0:
        return _WRONG_AMOUNT
    count = load_int(words, p + 2)
    p += 3
    for _ in range(count):
        if load_int(words, p) != _SYMBOL:
            return _WRONG_DATA
        value = _after_text(words, p + 1)
        kind = load_int(words, value)
        if _is_text(raw, words, p + 1, _AMOUNT_KEY, 0, 6):
            if kind != _I128:
                return _WRONG_AMOUNT
            row[AMOUNT_AT] = value + 1
        elif _is_text(raw, words, p + 1, _MUXED_KEY, 0, 11):
            row[MUX_AT] = value + 1
            if kind == _U64:
                row[MUX_KIND] = MUX_ID
            elif kind == _STRING:
                row[MUX_KIND] = MUX_TEXT
            elif kind == _BYTES and load_int(words, value + 1) == 32:
                row[MUX_KIND] = MUX_HASH
                row[MUX_AT] = value + 2
            elif kind == _VOID:
                row[MUX_KIND] = NO_MUX
            else:
                return _WRONG_DATA
        p = _after_value(words, value)
    return 0 if row[AMOUNT_AT] > 0 else _WRONG_AMOUNT


@helper
def _kind_of(raw: Bytes, words: Words, p: int) -> int:
    """The kind of event that the first topic at `p` names, -1 for none."""
    if load_int(words, p) != _SYMBOL:
        return _NOT_ONE
    for kind in range(5):
        if _is_text(raw, words, p + 1, _NAMES, 12 * kind, _LENGTHS[kind]):
            return kind
    return _NOT_ONE


@helper
def _parse(
    raw: Bytes,
    words: Words,
    topics: int,
    data: int,
    v3: bool,
    in_transaction: bool,
    row: Positions,
    decoded: Bytes,
    asset: Bytes,
) -> int:
    """Read topics and data; returns a reason if the event does not parse."""
    kind = row[KIND]
    count = load_int(words, topics)
    p = _after_text(words, topics + 2)
    if row[CONTRACT_AT] == 0:
        return _NO_CONTRACT
    # addresses named: of mint and clawback, version 3 names the administrator first
    with_admin = v3 and (kind in (MINT, CLAWBACK))
    needed = 2 if kind == TRANSFER or with_admin else 1
    if in_transaction and count != 2:
        return _WRONG_FEE
    if count < 1 + needed:
        return _TOPICS
    first = 0
    for k in range(needed):
        if load_int(words, p) != _ADDRESS:
            return _WRONG_ADDRESS
        at = p + 1
        p = _after_address(words, at)
        if k == 0:
            first = at
        if kind == MINT or (kind == TRANSFER and k == 1):
            row[TO_AT] = at
        else:
            row[FROM_AT] = at
    if kind == TRANSFER:
        row[FROM_AT] = first
    elif not with_admin and (kind in (MINT, CLAWBACK)) and count >= 3:
        row[ADMIN] = 1 if load_int(words, p) == _ADDRESS else 0
    reason = _data_at(raw, words, data, not v3, row)
    if reason > 0:
        return reason
    if kind in (BURN, CLAWBACK, FEE):
        row[MUX_KIND] = NO_MUX
    if in_transaction or (count == 2 + needed and load_int(words, p) == _STRING):
        row[HAS_ASSET] = 1 if in_transaction or _asset_at(raw, words, p + 1, decoded, asset) else 0
    return 0


@kernel
def parse_events(
    words: Words, event: Positions, topics: Positions, data: Positions, v3: NDArray[np.bool_],
    in_transaction: NDArray[np.bool_], parsed: NDArray[np.int64], assets: Bytes,
) -> None:  # fmt: skip
    """Read contract events.

    Args:
        event, topics, data: int64 (n,), positions of the ContractEvent, its topics and its data.
        v3: bool (n,), whether in a meta of version 3.
        in_transaction: bool (n,), whether of the transaction rather than an operation.
        parsed: int64 (n, PARSED), positions in the ledgers (out).
        assets: uint8 (n, 4 * ASSET_WORDS), the Asset that the last topic names (out).
    """
    raw = words.view(np.uint8)
    decoded = np.zeros(40, np.uint8)
    for i in range(event.shape[0]):
        row = parsed[i]
        for k in range(PARSED):
            row[k] = 0
        p = event[i]
        row[KIND] = _NOT_ONE
        has_contract = load_int(words, p + 1) == 1
        kind_at = p + 10 if has_contract else p + 2
        if load_int(words, kind_at) != _CONTRACT_EVENT or load32(words, topics[i]) == 0:
            continue
        kind = _kind_of(raw, words, topics[i] + 1)
        if kind < 0 or (kind == FEE) != in_transaction[i]:
            continue
        row[KIND] = kind
        row[CONTRACT_AT] = p + 2 if has_contract else 0
        reason = _parse(raw, words, topics[i], data[i], v3[i], in_transaction[i], row, decoded, assets[i])
        row[REASON] = reason
