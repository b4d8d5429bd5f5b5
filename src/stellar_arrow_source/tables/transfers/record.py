"""Helpers that write one event: a record of words and a row of facts (see :mod:`layout`).

The last row of either is where events go that find no room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers import contract_events as parsing
from stellar_arrow_source.tables.transfers.layout import (
    ACCOUNT_ADDRESS,
    AMOUNT,
    ASSET,
    BALANCE_ADDRESS,
    BURN,
    CLAIMED_ASSET,
    CONTRACT,
    FACTS,
    FEE,
    FROM,
    MINT,
    MUX,
    MUX_HASH,
    MUX_ID,
    MUX_TEXT,
    NO_MUX,
    OF_ASSET,
    RECORD_WORDS,
    TO,
    TRANSFER,
    Fact,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import Positions, Words, helper, load64, load_int

# A jitted function sees enum members as objects; plain numbers compile to constants.
_KIND, _TRANSACTION, _ORDINAL, _HAS_FROM = int(Fact.KIND), int(Fact.TRANSACTION), int(Fact.ORDINAL), int(Fact.HAS_FROM)
_HAS_TO, _ASSET_STATE, _MUX_KIND, _TEXT = int(Fact.HAS_TO), int(Fact.ASSET_STATE), int(Fact.MUX_KIND), int(Fact.TEXT)
_UNIFIED, _ADMIN, _DECIDE = int(Fact.UNIFIED), int(Fact.ADMIN), int(Fact.DECIDE)
_P_KIND, _P_FROM, _P_TO, _P_AMOUNT = parsing.KIND, parsing.FROM_AT, parsing.TO_AT, parsing.AMOUNT_AT
_P_MUX_KIND, _P_MUX, _P_CONTRACT = parsing.MUX_KIND, parsing.MUX_AT, parsing.CONTRACT_AT
_P_HAS_ASSET, _P_ADMIN = parsing.HAS_ASSET, parsing.ADMIN
_ASSET_WORDS = parsing.ASSET_WORDS
_MEMO_TEXT, _MEMO_ID, _MEMO_HASH = 1, 2, 3  # MemoType


@helper
def load_hyper(words: Words, p: int) -> int:
    """The hyper at p."""
    return np.int64(load64(words, p))  # type: ignore[return-value]  # int() would stay unsigned


@helper
def same_hash(a: Words, p: int, b: Words, q: int) -> bool:
    """Whether the eight words at p of a and at q of b are equal."""
    for k in range(8):  # noqa: SIM110 - numba compiles no generator
        if a[np.uint64(p + k)] != b[np.uint64(q + k)]:
            return False
    return True


@helper
def big_endian(v: int) -> np.uint32:
    w = np.uint32(v & 0xFFFFFFFF)
    return np.uint32(
        (w >> np.uint32(24))
        | ((w >> np.uint32(8)) & np.uint32(0xFF00))
        | ((w << np.uint32(8)) & np.uint32(0xFF0000))
        | ((w << np.uint32(24)) & np.uint32(0xFF000000))
    )


@helper
def copy_words(words: Words, p: int, n: int, out: Words, o: int) -> None:
    for k in range(n):
        out[np.uint64(o + k)] = words[np.uint64(p + k)]


@helper
def asset_size(words: Words, p: int) -> int:
    """Words of the Asset at p."""
    kind = load_int(words, p)
    if kind == 0:
        return 1
    return 11 if kind == 1 else 13


@helper
def _begin(n: int, kind: int, t: int, ordinal: int, records: Words, facts: NDArray[np.int64]) -> int:
    """The row of a new event."""
    row: int = min(n, facts.shape[0] - 1)
    for k in range(FACTS):
        facts[row, k] = 0
    for k in range(RECORD_WORDS):
        records[np.uint64((row + 1) * RECORD_WORDS + k)] = 0
    facts[row, _KIND] = kind
    facts[row, _TRANSACTION] = t
    facts[row, _ORDINAL] = ordinal
    return row


@helper
def _put_address(kind: int, words: Words, p: int, records: Words, o: int) -> None:
    """Write an SCAddress of the 32 bytes at word p; p = 0 leaves them zero."""
    records[np.uint64(o)] = big_endian(kind)
    at = o + 2 if kind in (ACCOUNT_ADDRESS, BALANCE_ADDRESS) else o + 1
    if p > 0:
        copy_words(words, p, 8, records, at)


@helper
def _put_named(words: Words, p: int, records: Words, o: int) -> None:
    """Write the SCAddress at word p, a muxed account without its id."""
    arm = load_int(words, p)
    if arm == 2:
        copy_words(words, p + 3, 8, records, o + 2)
    else:
        copy_words(words, p, 10 if arm == 0 or arm == 3 else 9, records, o)


@helper
def _put_amount(value: int, records: Words, row: int) -> None:
    o = (row + 1) * RECORD_WORDS + AMOUNT
    sign = -1 if value < 0 else 0
    records[np.uint64(o)] = big_endian(sign)
    records[np.uint64(o + 1)] = big_endian(sign)
    records[np.uint64(o + 2)] = big_endian(value >> 32)
    records[np.uint64(o + 3)] = big_endian(value)


@helper
def decide_issuer(row: int, records: Words, facts: NDArray[np.int64]) -> None:
    """Make a transfer from or to the asset's issuer a mint or a burn."""
    base = (row + 1) * RECORD_WORDS
    kind = load_int(records, base + ASSET)
    if kind == 0 or facts[row, _KIND] != TRANSFER:
        return
    issuer = base + ASSET + (3 if kind == 1 else 5)
    by_from = load_int(records, base + FROM) == ACCOUNT_ADDRESS and same_hash(records, base + FROM + 2, records, issuer)
    by_to = load_int(records, base + TO) == ACCOUNT_ADDRESS and same_hash(records, base + TO + 2, records, issuer)
    if by_from and not by_to:
        facts[row, _KIND] = MINT
        facts[row, _HAS_FROM] = 0
    elif by_to and not by_from:
        facts[row, _KIND] = BURN
        facts[row, _HAS_TO] = 0
        facts[row, _MUX_KIND] = NO_MUX


@helper
def put_transfer(
    n: int, t: int, ordinal: int, words: Words, from_kind: int, from_at: int, to_kind: int, to_at: int,
    asset_at: int, amount: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """A transfer, mint or burn; asset_at 0 is native. Returns its row."""
    row = _begin(n, TRANSFER, t, ordinal, records, facts)
    base = (row + 1) * RECORD_WORDS
    _put_address(from_kind, words, from_at, records, base + FROM)
    _put_address(to_kind, words, to_at, records, base + TO)
    if asset_at > 0:
        copy_words(words, asset_at, asset_size(words, asset_at), records, base + ASSET)
    _put_amount(amount, records, row)
    facts[row, _HAS_FROM] = 1
    facts[row, _HAS_TO] = 1
    facts[row, _ASSET_STATE] = OF_ASSET
    decide_issuer(row, records, facts)
    return row


@helper
def put_muxed(row: int, words: Words, id_at: int, memo_at: int, records: Words, facts: NDArray[np.int64]) -> None:
    """The receiver's muxed id, else what the memo says; only of a transfer or mint."""
    if facts[row, _HAS_TO] == 0:
        return
    base = (row + 1) * RECORD_WORDS + MUX
    memo = load_int(words, memo_at)
    if id_at > 0:
        facts[row, _MUX_KIND] = MUX_ID
        copy_words(words, id_at, 2, records, base)
    elif memo == _MEMO_TEXT:
        facts[row, _MUX_KIND] = MUX_TEXT
        facts[row, _TEXT] = memo_at + 1
    elif memo == _MEMO_ID:
        facts[row, _MUX_KIND] = MUX_ID
        copy_words(words, memo_at + 1, 2, records, base)
    elif memo >= _MEMO_HASH:
        facts[row, _MUX_KIND] = MUX_HASH
        copy_words(words, memo_at + 1, 8, records, base)


@helper
def put_lone(
    n: int, kind: int, t: int, ordinal: int, words: Words, side: int, address: int, at: int, asset_at: int,
    amount: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """A mint (side TO), burn or clawback (side FROM); asset_at 0 is native."""
    row = _begin(n, kind, t, ordinal, records, facts)
    base = (row + 1) * RECORD_WORDS
    _put_address(address, words, at, records, base + side)
    facts[row, _HAS_TO if side == TO else _HAS_FROM] = 1
    if asset_at > 0:
        copy_words(words, asset_at, asset_size(words, asset_at), records, base + ASSET)
    _put_amount(amount, records, row)
    facts[row, _ASSET_STATE] = OF_ASSET
    return row


@helper
def put_fee(n: int, t: int, words: Words, key_at: int, amount: int, records: Words, facts: NDArray[np.int64]) -> int:
    row = _begin(n, FEE, t, -1, records, facts)
    _put_address(ACCOUNT_ADDRESS, words, key_at, records, (row + 1) * RECORD_WORDS + FROM)
    _put_amount(amount, records, row)
    facts[row, _HAS_FROM] = 1
    facts[row, _ASSET_STATE] = OF_ASSET
    return row


@helper
def put_parsed(
    n: int, t: int, ordinal: int, words: Words, parsed: Positions, asset: Words, decide: bool, unified: bool,
    records: Words, facts: NDArray[np.int64],
) -> None:  # fmt: skip
    """An event as its contract wrote it; ``decide`` whether the issuer's part is still to be decided."""
    row = _begin(n, parsed[_P_KIND], t, ordinal, records, facts)
    base = (row + 1) * RECORD_WORDS
    if parsed[_P_FROM] > 0:
        facts[row, _HAS_FROM] = 1
        _put_named(words, parsed[_P_FROM], records, base + FROM)
    if parsed[_P_TO] > 0:
        facts[row, _HAS_TO] = 1
        _put_named(words, parsed[_P_TO], records, base + TO)
    copy_words(words, parsed[_P_CONTRACT], 8, records, base + CONTRACT)
    copy_words(words, parsed[_P_AMOUNT], 4, records, base + AMOUNT)
    facts[row, _UNIFIED] = 1 if unified else 0
    facts[row, _ADMIN] = parsed[_P_ADMIN]
    facts[row, _MUX_KIND] = parsed[_P_MUX_KIND]
    if parsed[_P_MUX_KIND] == MUX_TEXT:
        facts[row, _TEXT] = parsed[_P_MUX]
    elif parsed[_P_MUX_KIND] != NO_MUX:
        copy_words(words, parsed[_P_MUX], 8 if parsed[_P_MUX_KIND] == MUX_HASH else 2, records, base + MUX)
    if parsed[_P_HAS_ASSET] == 1:
        facts[row, _ASSET_STATE] = CLAIMED_ASSET
        facts[row, _DECIDE] = 1 if decide and parsed[_P_KIND] == TRANSFER else 0
        copy_words(asset, 0, _ASSET_WORDS, records, base + ASSET)
