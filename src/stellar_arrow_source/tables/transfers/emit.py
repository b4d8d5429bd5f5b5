"""Writes the token-transfer events of ledgers, in their order: ``emit_events``.

Source: CAP-67 for what each operation gives; stellar-core for the order of a trade's legs. An event is a record of
words and a row of facts (see :mod:`layout`); the last row of either is where events go that find no room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.transfers import contract_events as parsing
from stellar_arrow_source.tables.transfers.layout import (
    AMOUNT,
    ASSET,
    BURN,
    CLAIMED_ASSET,
    CLAWBACK,
    CONTRACT,
    FACTS,
    FEE,
    FROM,
    MINT,
    MUX,
    MUX_HASH,
    MUX_ID,
    MUX_TEXT,
    NO_ASSET,
    NO_MUX,
    OF_ASSET,
    RECORD_WORDS,
    TO,
    TRANSFER,
    Fact,
    Reason,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import Mask, Positions, Words, helper, kernel, load32, load64, load_int

# A jitted function sees enum members as objects; plain numbers compile to constants.
_KIND, _TRANSACTION, _ORDINAL, _HAS_FROM, _HAS_TO = (int(fact) for fact in list(Fact)[:5])
_ASSET_STATE, _MUX_KIND, _TEXT, _UNIFIED, _ADMIN = (int(fact) for fact in list(Fact)[5:10])
_REFUND, _DECIDE, _OPERATION, _POOL, _POOL_ASSET = (int(fact) for fact in list(Fact)[10:])
_LOST_BALANCE, _LOST_POOL, _WRONG_FEE = int(Reason.BALANCE), int(Reason.POOL), int(Reason.FEE)
_LUMENS = int(Reason.LUMENS)
_P_KIND, _P_REASON, _P_FROM, _P_TO, _P_AMOUNT = (
    parsing.KIND, parsing.REASON, parsing.FROM_AT, parsing.TO_AT, parsing.AMOUNT_AT
)  # fmt: skip
_P_MUX_KIND, _P_MUX, _P_CONTRACT, _P_HAS_ASSET, _P_ADMIN = (
    parsing.MUX_KIND, parsing.MUX_AT, parsing.CONTRACT_AT, parsing.HAS_ASSET, parsing.ADMIN
)  # fmt: skip
_ASSET_WORDS = parsing.ASSET_WORDS

# OperationType
_CREATE_ACCOUNT, _PAYMENT, _PATH_RECEIVE, _MANAGE_SELL, _PASSIVE_SELL = 0, 1, 2, 3, 4
_ALLOW_TRUST, _ACCOUNT_MERGE, _INFLATION, _MANAGE_BUY, _PATH_SEND = 7, 8, 9, 12, 13
_CREATE_BALANCE, _CLAIM_BALANCE, _CLAWBACK_OP, _CLAWBACK_BALANCE, _SET_FLAGS = 14, 15, 19, 20, 21
_DEPOSIT, _WITHDRAW, _INVOKE = 22, 23, 24
# LedgerEntryChangeType and LedgerEntryType
_CREATED, _UPDATED, _REMOVED, _STATE, _RESTORED = 0, 1, 2, 3, 4
_ACCOUNT_ENTRY, _BALANCE_ENTRY, _POOL_ENTRY = 0, 4, 5
_ACCOUNT_ADDRESS, _BALANCE_ADDRESS, _POOL_ADDRESS = 0, 3, 4
_RECONCILED_BEFORE = 8
_MOST_LUMENS = 1 << 61
_OUT_OF_RANGE = -(1 << 62)
_REFUNDS_LAST_FROM = 23
_MEMO_TEXT, _MEMO_ID, _MEMO_HASH = 1, 2, 3


class Transactions(NamedTuple):
    """int64 (transactions,), in apply order; ``at`` fields are positions, ``first``/``count`` runs of rows."""

    unified: Mask
    successful: Mask
    fee_key_at: Positions
    source_key_at: Positions
    charge: Positions
    refund: Positions
    memo_at: Positions
    first_operation: Positions
    operations: Positions
    first_fee: Positions
    fees: Positions
    first_soroban: Positions
    sorobans: Positions


class Operations(NamedTuple):
    """int64 (operations,), in apply order."""

    type: Positions
    source_key_at: Positions
    source_id_at: Positions
    destination_at: Positions
    asset_at: Positions
    amount_at: Positions
    balance_at: Positions
    pool_at: Positions
    trustor_at: Positions
    payouts_at: Positions
    first_atom: Positions
    atoms: Positions
    first_change: Positions
    changes: Positions
    first_event: Positions
    events: Positions


@helper
def _hyper(words: Words, p: int) -> int:
    """The hyper at p."""
    return np.int64(load64(words, p))  # type: ignore[return-value]  # int() would stay unsigned


@helper
def _same(a: Words, p: int, b: Words, q: int) -> bool:
    """Whether the eight words at p of a and at q of b are equal."""
    for k in range(8):  # noqa: SIM110 - numba compiles no generator
        if a[np.uint64(p + k)] != b[np.uint64(q + k)]:
            return False
    return True


@helper
def _big_endian(v: int) -> np.uint32:
    w = np.uint32(v & 0xFFFFFFFF)
    return np.uint32(
        (w >> np.uint32(24))
        | ((w >> np.uint32(8)) & np.uint32(0xFF00))
        | ((w << np.uint32(8)) & np.uint32(0xFF0000))
        | ((w << np.uint32(24)) & np.uint32(0xFF000000))
    )


@helper
def _copy(words: Words, p: int, n: int, out: Words, o: int) -> None:
    for k in range(n):
        out[np.uint64(o + k)] = words[np.uint64(p + k)]


@helper
def _asset_size(words: Words, p: int) -> int:
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
    records[np.uint64(o)] = _big_endian(kind)
    at = o + 2 if kind in (_ACCOUNT_ADDRESS, _BALANCE_ADDRESS) else o + 1
    if p > 0:
        _copy(words, p, 8, records, at)


@helper
def _put_named(words: Words, p: int, records: Words, o: int) -> None:
    """Write the SCAddress at word p, a muxed account without its id."""
    arm = load_int(words, p)
    if arm == 2:
        _copy(words, p + 3, 8, records, o + 2)
    else:
        _copy(words, p, 10 if arm == 0 or arm == 3 else 9, records, o)


@helper
def _put_amount(value: int, records: Words, row: int) -> None:
    o = (row + 1) * RECORD_WORDS + AMOUNT
    sign = -1 if value < 0 else 0
    records[np.uint64(o)] = _big_endian(sign)
    records[np.uint64(o + 1)] = _big_endian(sign)
    records[np.uint64(o + 2)] = _big_endian(value >> 32)
    records[np.uint64(o + 3)] = _big_endian(value)


@helper
def _decide(row: int, records: Words, facts: NDArray[np.int64]) -> None:
    """Make a transfer from or to the asset's issuer a mint or a burn."""
    base = (row + 1) * RECORD_WORDS
    kind = load_int(records, base + ASSET)
    if kind == 0 or facts[row, _KIND] != TRANSFER:
        return
    issuer = base + ASSET + (3 if kind == 1 else 5)
    by_from = load_int(records, base + FROM) == _ACCOUNT_ADDRESS and _same(records, base + FROM + 2, records, issuer)
    by_to = load_int(records, base + TO) == _ACCOUNT_ADDRESS and _same(records, base + TO + 2, records, issuer)
    if by_from and not by_to:
        facts[row, _KIND] = MINT
        facts[row, _HAS_FROM] = 0
    elif by_to and not by_from:
        facts[row, _KIND] = BURN
        facts[row, _HAS_TO] = 0
        facts[row, _MUX_KIND] = NO_MUX


@helper
def _transfer(
    n: int, t: int, ordinal: int, words: Words, from_kind: int, from_at: int, to_kind: int, to_at: int,
    asset_at: int, amount: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """A transfer, mint or burn; asset_at 0 is native. Returns its row."""
    row = _begin(n, TRANSFER, t, ordinal, records, facts)
    base = (row + 1) * RECORD_WORDS
    _put_address(from_kind, words, from_at, records, base + FROM)
    _put_address(to_kind, words, to_at, records, base + TO)
    if asset_at > 0:
        _copy(words, asset_at, _asset_size(words, asset_at), records, base + ASSET)
    _put_amount(amount, records, row)
    facts[row, _HAS_FROM] = 1
    facts[row, _HAS_TO] = 1
    facts[row, _ASSET_STATE] = OF_ASSET
    _decide(row, records, facts)
    return row


@helper
def _put_muxed(row: int, words: Words, id_at: int, memo_at: int, records: Words, facts: NDArray[np.int64]) -> None:
    """The receiver's muxed id, else what the memo says; only of a transfer or mint."""
    if facts[row, _HAS_TO] == 0:
        return
    base = (row + 1) * RECORD_WORDS + MUX
    memo = load_int(words, memo_at)
    if id_at > 0:
        facts[row, _MUX_KIND] = MUX_ID
        _copy(words, id_at, 2, records, base)
    elif memo == _MEMO_TEXT:
        facts[row, _MUX_KIND] = MUX_TEXT
        facts[row, _TEXT] = memo_at + 1
    elif memo == _MEMO_ID:
        facts[row, _MUX_KIND] = MUX_ID
        _copy(words, memo_at + 1, 2, records, base)
    elif memo >= _MEMO_HASH:
        facts[row, _MUX_KIND] = MUX_HASH
        _copy(words, memo_at + 1, 8, records, base)


@helper
def _fee(n: int, t: int, words: Words, key_at: int, amount: int, records: Words, facts: NDArray[np.int64]) -> int:
    row = _begin(n, FEE, t, -1, records, facts)
    _put_address(_ACCOUNT_ADDRESS, words, key_at, records, (row + 1) * RECORD_WORDS + FROM)
    _put_amount(amount, records, row)
    facts[row, _HAS_FROM] = 1
    facts[row, _ASSET_STATE] = OF_ASSET
    return row


@helper
def _parsed_event(
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
    _copy(words, parsed[_P_CONTRACT], 8, records, base + CONTRACT)
    _copy(words, parsed[_P_AMOUNT], 4, records, base + AMOUNT)
    facts[row, _UNIFIED] = 1 if unified else 0
    facts[row, _ADMIN] = parsed[_P_ADMIN]
    facts[row, _MUX_KIND] = parsed[_P_MUX_KIND]
    if parsed[_P_MUX_KIND] == MUX_TEXT:
        facts[row, _TEXT] = parsed[_P_MUX]
    elif parsed[_P_MUX_KIND] != NO_MUX:
        _copy(words, parsed[_P_MUX], 8 if parsed[_P_MUX_KIND] == MUX_HASH else 2, records, base + MUX)
    if parsed[_P_HAS_ASSET] == 1:
        facts[row, _ASSET_STATE] = CLAIMED_ASSET
        facts[row, _DECIDE] = 1 if decide and parsed[_P_KIND] == TRANSFER else 0
        _copy(asset, 0, _ASSET_WORDS, records, base + ASSET)


@helper
def _reserves_at(words: Words, d: int) -> int:
    """Where the reserves of the LiquidityPoolEntry whose LedgerEntryData is at d stand."""
    p = d + 10
    p += _asset_size(words, p)
    return p + _asset_size(words, p) + 1


@helper
def _next_pool(words: Words, change: Positions, first: int, count: int, last_at: int) -> int:
    """Position of the id of the first changed pool, by id, after the one at last_at (0: of all); 0 if none is left."""
    found = 0
    for i in range(first, first + count):
        kind = load_int(words, change[i])
        if kind == _REMOVED:
            continue
        d = change[i] + 2
        if load_int(words, d) != _POOL_ENTRY:
            continue
        if (last_at == 0 or _less(words, last_at, d + 1)) and (found == 0 or _less(words, d + 1, found)):
            found = d + 1
    return found


@helper
def _less(words: Words, p: int, q: int) -> bool:
    """Whether the 32 bytes at p sort before those at q."""
    for k in range(8):
        a, b = load32(words, p + k), load32(words, q + k)
        if a != b:
            return bool(a < b)
    return False


@helper
def _pool_change(words: Words, change: Positions, first: int, count: int, pool_at: int) -> tuple[int, int]:
    """Positions of the LedgerEntryData of a pool before and after an operation; 0 where there is none."""
    before, after = 0, 0
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == _REMOVED:
            if load_int(words, p + 1) == _POOL_ENTRY and _same(words, p + 2, words, pool_at):
                after = 0
        elif load_int(words, p + 2) == _POOL_ENTRY and _same(words, p + 3, words, pool_at):
            if kind in (_STATE, _RESTORED):
                before = p + 2 if before == 0 else before
            else:
                after = p + 2
    return before, after


@helper
def _reserve(words: Words, d: int, k: int) -> int:
    """Reserve k of a pool's entry, 0 where there is no entry."""
    return _hyper(words, _reserves_at(words, d) + 2 * k) if d > 0 else 0


@helper
def _moved(words: Words, before: int, after: int, k: int) -> int:
    """By how much reserve k changed; -1 if the entry holds what no reserve can be."""
    a, b = _reserve(words, before, k), _reserve(words, after, k)
    return -1 if a < 0 or b < 0 else max(a - b, b - a)


@helper
def _sum(total: int, step: int) -> int:
    """total + step, or _OUT_OF_RANGE once either is more than any lumens."""
    if total == _OUT_OF_RANGE or step <= -_MOST_LUMENS or step >= _MOST_LUMENS:
        return _OUT_OF_RANGE
    total += step
    return _OUT_OF_RANGE if total <= -_MOST_LUMENS or total >= _MOST_LUMENS else total


@helper
def _native_change(words: Words, change: Positions, first: int, count: int, key_at: int) -> int:
    """By how much an account's balance changed, or _OUT_OF_RANGE."""
    total, before = 0, 0
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == _REMOVED:
            if load_int(words, p + 1) == _ACCOUNT_ENTRY and _same(words, p + 3, words, key_at):
                total = _sum(total, -before)
                before = 0
            continue
        d = p + 2
        if load_int(words, d) != _ACCOUNT_ENTRY or not _same(words, d + 2, words, key_at):
            continue
        balance = _hyper(words, d + 10)
        if balance < 0 or balance >= _MOST_LUMENS:
            return _OUT_OF_RANGE
        if kind != _STATE and kind != _RESTORED:
            total = _sum(total, balance - before)
        before = balance
    return total


@helper
def _native_moved(first: int, last: int, words: Words, key_at: int, records: Words, facts: NDArray[np.int64]) -> int:
    """By how much events first … last - 1 change an account's balance, or _OUT_OF_RANGE."""
    total = 0
    for row in range(first, min(last, facts.shape[0] - 1)):
        base = (row + 1) * RECORD_WORDS
        if load_int(records, base + ASSET) != 0:
            continue
        amount = _hyper(records, base + AMOUNT + 2)
        for side in range(2):
            at = base + (FROM if side == 0 else TO)
            if (
                facts[row, _HAS_FROM if side == 0 else _HAS_TO] == 1
                and load_int(records, at) == _ACCOUNT_ADDRESS
                and _same(records, at + 2, words, key_at)
            ):
                if amount <= -_MOST_LUMENS or amount >= _MOST_LUMENS:
                    return _OUT_OF_RANGE
                total = _sum(total, -amount if side == 0 else amount)
    return total


@helper
def _lone(
    n: int, kind: int, t: int, ordinal: int, words: Words, side: int, address: int, at: int, asset_at: int,
    amount: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """A mint (side TO), burn or clawback (side FROM); asset_at 0 is native."""
    row = _begin(n, kind, t, ordinal, records, facts)
    base = (row + 1) * RECORD_WORDS
    _put_address(address, words, at, records, base + side)
    facts[row, _HAS_TO if side == TO else _HAS_FROM] = 1
    if asset_at > 0:
        _copy(words, asset_at, _asset_size(words, asset_at), records, base + ASSET)
    _put_amount(amount, records, row)
    facts[row, _ASSET_STATE] = OF_ASSET
    return row


@helper
def _trades(
    n: int, t: int, ordinal: int, words: Words, source_at: int, atom: Positions, first: int, count: int,
    records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    """Two legs of each claim atom, in core's order: what the source gives, then what it gets."""
    for i in range(first, first + count):
        p = atom[i]
        kind = load_int(words, p)
        if kind == 2:
            other, address, sold = p + 1, _POOL_ADDRESS, p + 9
        elif kind == 1:
            other, address, sold = p + 2, _ACCOUNT_ADDRESS, p + 12
        else:
            other, address, sold = p + 1, _ACCOUNT_ADDRESS, p + 11
        sold_amount = sold + _asset_size(words, sold)
        bought = sold_amount + 2
        bought_amount = bought + _asset_size(words, bought)
        _transfer(
            n, t, ordinal, words, _ACCOUNT_ADDRESS, source_at, address, other, bought,
            _hyper(words, bought_amount), records, facts,
        )  # fmt: skip
        _transfer(
            n + 1, t, ordinal, words, address, other, _ACCOUNT_ADDRESS, source_at, sold,
            _hyper(words, sold_amount), records, facts,
        )  # fmt: skip
        n += 2
    return n


@helper
def _claimed_asset(words: Words, change: Positions, claimed: Positions, first: int, count: int, balance_at: int) -> int:
    """Position of the asset of the claimable balance, before it was removed; 0 if the changes do not hold it."""
    found, removed = 0, False
    for i in range(first, first + count):
        p = change[i]
        kind = load_int(words, p)
        if kind == _REMOVED:
            removed = removed or (
                load_int(words, p + 1) == _BALANCE_ENTRY and _same(words, p + 3, words, balance_at + 1)
            )
        elif (
            (kind in (_STATE, _RESTORED))
            and load_int(words, p + 2) == _BALANCE_ENTRY
            and _same(words, p + 4, words, balance_at + 1)
        ):
            found = claimed[i]
    return found if removed else 0


@helper
def _revocation(
    n: int, t: int, ordinal: int, operation: int, words: Words, trustor_at: int, change: Positions,
    first: int, count: int, records: Words, facts: NDArray[np.int64], skipped: Positions,
) -> int:  # fmt: skip
    """What redeems pool shares into claimable balances (CAP-38): per pool by id, per asset A, then B."""
    pool = _next_pool(words, change, first, count, 0)
    while pool > 0:
        before, after = _pool_change(words, change, first, count, pool)
        d = before if before > 0 else after
        asset = d + 10
        for k in range(2):
            amount = _moved(words, before, after, k)
            if amount > 0:
                row = _transfer(
                    n, t, ordinal, words, _POOL_ADDRESS, pool, _BALANCE_ADDRESS, 0, asset, amount, records, facts
                )
                kind = load_int(words, asset)
                if kind > 0 and _same(words, asset + (3 if kind == 1 else 5), words, trustor_at):
                    facts[row, _KIND] = BURN
                    facts[row, _HAS_TO] = 0
                else:
                    facts[row, _OPERATION] = operation
                    facts[row, _POOL] = pool
                    facts[row, _POOL_ASSET] = asset
                n += 1
            elif amount < 0:
                skipped[_LOST_POOL] += 1
            asset += _asset_size(words, asset)
        pool = _next_pool(words, change, first, count, pool)
    return n


@helper
def _pool_movement(
    n: int, t: int, ordinal: int, words: Words, deposit: bool, source_at: int, pool_at: int, id_at: int, memo_at: int,
    before: int, after: int, records: Words, facts: NDArray[np.int64],
) -> int:  # fmt: skip
    d = before if before > 0 else after
    asset = d + 10
    for k in range(2):
        amount = _moved(words, before, after, k)
        if deposit:
            _transfer(
                n, t, ordinal, words, _ACCOUNT_ADDRESS, source_at, _POOL_ADDRESS, pool_at, asset, amount, records, facts
            )
        else:
            row = _transfer(
                n, t, ordinal, words, _POOL_ADDRESS, pool_at, _ACCOUNT_ADDRESS, source_at, asset, amount, records, facts
            )
            _put_muxed(row, words, id_at, memo_at, records, facts)
        n += 1
        asset += _asset_size(words, asset)
    return n


@helper
def _shift(first: int, n: int, records: Words, facts: NDArray[np.int64]) -> None:
    """Make room for an event before events first … n - 1."""
    last = min(n, facts.shape[0] - 1)
    for row in range(last, first, -1):
        for k in range(FACTS):
            facts[row, k] = facts[row - 1, k]
        for k in range(RECORD_WORDS):
            records[np.uint64((row + 1) * RECORD_WORDS + k)] = records[np.uint64(row * RECORD_WORDS + k)]


@kernel
def emit_events(
    words: Words, ledger_first: Positions, ledger_version: Positions, transactions: Transactions,
    operations: Operations, atom: Positions, change: Positions, claimed: Positions,
    parsed: NDArray[np.int64], assets: Words, records: Words, facts: NDArray[np.int64],
    ends: Positions, skipped: Positions,
) -> int:  # fmt: skip
    """Write the events of all ledgers.

    Args:
        ledger_first, ledger_version: int64 (ledgers + 1,) first transactions, (ledgers,) versions of the headers.
        atom, change: int64, positions of all claim atoms and changes; ``claimed`` that of a claimable balance's asset.
        parsed, assets: what :func:`parse_events` gave of all contract events, assets as uint32 (n, ASSET_WORDS).
        records: uint32 (capacity + 2 times RECORD_WORDS,) (out); facts: int64 (capacity + 1, FACTS) (out).
        ends: int64 (ledgers,), number of events up to and with each ledger (out).
        skipped: int64 (reasons,), what gave no event (out).

    Returns:
        the number of events; if it exceeds the capacity, some are missing.
    """
    tx, op = transactions, operations
    n = 0
    for k in range(skipped.shape[0]):
        skipped[k] = 0
    for ledger in range(ledger_version.shape[0]):
        version = ledger_version[ledger]
        for t in range(ledger_first[ledger], ledger_first[ledger + 1]):
            if tx.unified[t]:
                for e in range(tx.first_fee[t], tx.first_fee[t] + tx.fees[t]):
                    if parsed[e, _P_KIND] == FEE and parsed[e, _P_REASON] == 0:
                        _parsed_event(n, t, -1, words, parsed[e], assets[e], False, True, records, facts)
                        n += 1
                        break
                    if parsed[e, _P_KIND] >= 0:
                        skipped[parsed[e, _P_REASON]] += 1
            else:
                _fee(n, t, words, tx.fee_key_at[t], tx.charge[t], records, facts)
                n += 1
        for late in range(2):
            for t in range(ledger_first[ledger], ledger_first[ledger + 1]):
                if late == 0 and tx.successful[t]:
                    for ordinal in range(tx.operations[t]):
                        o = tx.first_operation[t] + ordinal
                        kind, source, start = op.type[o], op.source_key_at[o], n
                        first_change, changes = op.first_change[o], op.changes[o]
                        amount_at, memo_at = op.amount_at[o], tx.memo_at[t]
                        amount = _hyper(words, amount_at) if amount_at > 0 else 0
                        if tx.unified[t] or kind == _INVOKE:
                            first_event, events = op.first_event[o], op.events[o]
                            v3 = not tx.unified[t] and tx.sorobans[t] > 0
                            if v3:
                                first_event, events = tx.first_soroban[t], tx.sorobans[t]
                            for e in range(first_event, first_event + events):
                                if parsed[e, _P_KIND] < 0:
                                    continue
                                if parsed[e, _P_REASON] > 0:
                                    skipped[parsed[e, _P_REASON]] += 1
                                    continue
                                _parsed_event(
                                    n, t, ordinal, words, parsed[e], assets[e], v3, tx.unified[t], records, facts
                                )
                                n += 1
                            if tx.unified[t]:
                                continue
                        elif kind in (_CREATE_ACCOUNT, _PAYMENT, _ACCOUNT_MERGE, _PATH_RECEIVE, _PATH_SEND):
                            if kind in (_PATH_RECEIVE, _PATH_SEND):
                                n = _trades(
                                    n, t, ordinal, words, source, atom, op.first_atom[o], op.atoms[o], records, facts
                                )
                            to = op.destination_at[o]
                            muxed = load32(words, to) != 0
                            if amount_at > 0:
                                row = _transfer(
                                    n, t, ordinal, words, _ACCOUNT_ADDRESS, source, _ACCOUNT_ADDRESS,
                                    to + 3 if muxed else to + 1, op.asset_at[o], amount, records, facts,
                                )  # fmt: skip
                                _put_muxed(row, words, to + 1 if muxed else 0, memo_at, records, facts)
                                n += 1
                        elif kind in (_MANAGE_SELL, _MANAGE_BUY, _PASSIVE_SELL):
                            n = _trades(
                                n, t, ordinal, words, source, atom, op.first_atom[o], op.atoms[o], records, facts
                            )
                        elif kind == _CREATE_BALANCE:
                            _transfer(
                                n, t, ordinal, words, _ACCOUNT_ADDRESS, source, _BALANCE_ADDRESS,
                                op.balance_at[o] + 1, op.asset_at[o], amount, records, facts,
                            )  # fmt: skip
                            n += 1
                        elif kind in (_CLAIM_BALANCE, _CLAWBACK_BALANCE):
                            balance = op.balance_at[o]
                            asset = _claimed_asset(words, change, claimed, first_change, changes, balance)
                            if asset == 0:
                                skipped[_LOST_BALANCE] += 1
                                continue
                            amount = _hyper(words, asset + _asset_size(words, asset))
                            if kind == _CLAIM_BALANCE:
                                row = _transfer(
                                    n, t, ordinal, words, _BALANCE_ADDRESS, balance + 1, _ACCOUNT_ADDRESS, source,
                                    asset, amount, records, facts,
                                )  # fmt: skip
                                _put_muxed(row, words, op.source_id_at[o], memo_at, records, facts)
                            else:
                                _lone(
                                    n, CLAWBACK, t, ordinal, words, FROM, _BALANCE_ADDRESS, balance + 1, asset, amount,
                                    records, facts,
                                )  # fmt: skip
                            n += 1
                        elif kind == _CLAWBACK_OP:
                            holder = op.destination_at[o]
                            holder = holder + 3 if load32(words, holder) != 0 else holder + 1
                            _lone(
                                n, CLAWBACK, t, ordinal, words, FROM, _ACCOUNT_ADDRESS, holder, op.asset_at[o], amount,
                                records, facts,
                            )  # fmt: skip
                            n += 1
                        elif kind in (_DEPOSIT, _WITHDRAW):
                            before, after = _pool_change(words, change, first_change, changes, op.pool_at[o])
                            lost = (before == 0 and after == 0) or min(
                                _moved(words, before, after, 0), _moved(words, before, after, 1)
                            ) < (1 if kind == _DEPOSIT else 0)
                            if lost:
                                skipped[_LOST_POOL] += 1
                                continue
                            n = _pool_movement(
                                n, t, ordinal, words, kind == _DEPOSIT, source, op.pool_at[o], op.source_id_at[o],
                                memo_at, before, after, records, facts,
                            )  # fmt: skip
                        elif kind in (_ALLOW_TRUST, _SET_FLAGS):
                            n = _revocation(
                                n, t, ordinal, o, words, op.trustor_at[o], change, first_change, changes, records,
                                facts, skipped,
                            )  # fmt: skip
                        elif kind == _INFLATION:
                            payouts = op.payouts_at[o]
                            for k in range(load_int(words, payouts) if payouts > 0 else 0):
                                p = payouts + 1 + 11 * k
                                _lone(
                                    n, MINT, t, ordinal, words, TO, _ACCOUNT_ADDRESS, p + 1, 0,
                                    _hyper(words, p + 9), records, facts,
                                )  # fmt: skip
                                n += 1
                        else:
                            continue
                        if version < _RECONCILED_BEFORE:
                            # a bug before protocol 8 could make or destroy lumens of the operation's source
                            changed = _native_change(words, change, first_change, changes, source)
                            moved = _native_moved(start, n, words, source, records, facts)
                            surplus = changed - moved
                            if changed == _OUT_OF_RANGE or moved == _OUT_OF_RANGE:
                                skipped[_LUMENS] += 1
                            elif surplus > 0:
                                _shift(start, n, records, facts)
                                _lone(
                                    start, MINT, t, ordinal, words, TO, _ACCOUNT_ADDRESS, source, 0, surplus,
                                    records, facts,
                                )  # fmt: skip
                                n += 1
                            elif surplus < 0:
                                _lone(
                                    n, BURN, t, ordinal, words, FROM, _ACCOUNT_ADDRESS, source, 0, -surplus,
                                    records, facts,
                                )  # fmt: skip
                                n += 1
                if (late == 1) != (version >= _REFUNDS_LAST_FROM):
                    continue
                if tx.unified[t]:
                    charged = False
                    for e in range(tx.first_fee[t], tx.first_fee[t] + tx.fees[t]):
                        if parsed[e, _P_KIND] < 0:
                            continue
                        if parsed[e, _P_REASON] > 0:
                            skipped[parsed[e, _P_REASON]] += 1 if charged else 0
                        elif charged:
                            _parsed_event(n, t, -1, words, parsed[e], assets[e], False, True, records, facts)
                            facts[min(n, facts.shape[0] - 1), _REFUND] = 1
                            n += 1
                        else:
                            charged = True
                elif tx.refund[t] != 0:
                    row = _fee(n, t, words, tx.fee_key_at[t], -tx.refund[t], records, facts)
                    facts[row, _REFUND] = 1
                    n += 1
        ends[ledger] = n
    return n


@kernel
def stage_balances(
    words: Words, rows: Positions, facts: NDArray[np.int64], transaction_of: Positions, source_key_at: Positions,
    sequence_at: Positions, out: Words, end: Positions,
) -> None:  # fmt: skip
    """Write HashIDPreimage (ENVELOPE_TYPE_POOL_REVOKE_OP_ID, CAP-38) of the balances that events pay to.

    Args:
        rows: int64 (n,), events whose balance's id derives from the pool.
        out: uint32 (n * 48 + 1,), preimage i from word 48 i + 1 to end[i] (out).
    """
    for i in range(rows.shape[0]):
        row = rows[i]
        t = facts[row, _TRANSACTION]
        o = i * 48 + 1
        out[o] = _big_endian(7)
        out[o + 1] = 0
        _copy(words, source_key_at[t], 8, out, o + 2)
        _copy(words, sequence_at[t], 2, out, o + 10)
        out[o + 12] = _big_endian(facts[row, _ORDINAL])
        _copy(words, facts[row, _POOL], 8, out, o + 13)
        asset = facts[row, _POOL_ASSET]
        size = _asset_size(words, asset)
        _copy(words, asset, size, out, o + 21)
        end[i] = o + 21 + size


@kernel
def settle_events(
    n: int, contracts: Words, contract_of: Positions, records: Words, facts: NDArray[np.int64],
    dropped: Mask, skipped: Positions,
) -> None:  # fmt: skip
    """Write the contract ids of assets, and prove the assets that contracts name.

    Args:
        contracts: uint32 (assets, 8), contract ids; ``contract_of`` int64 (n,) the asset of each event.
        dropped: bool (n,), fee events of another asset than the native one (out).
    """
    for row in range(n):
        base = (row + 1) * RECORD_WORDS
        state = facts[row, _ASSET_STATE]
        dropped[row] = False
        if state == NO_ASSET:
            continue
        proved = True
        for k in range(8):
            word = contracts[np.uint64(contract_of[row]), k]
            if state == OF_ASSET:
                records[np.uint64(base + CONTRACT + k)] = word
            elif records[np.uint64(base + CONTRACT + k)] != word:
                proved = False
        if state == CLAIMED_ASSET:
            facts[row, _ASSET_STATE] = OF_ASSET if proved else NO_ASSET
            if facts[row, _KIND] == FEE and not proved:
                dropped[row] = True
                skipped[_WRONG_FEE] += 1
            elif proved and facts[row, _DECIDE] == 1:
                facts[row, _MUX_KIND] = NO_MUX
                _decide(row, records, facts)


@kernel
def number_assets(n: int, records: Words, facts: NDArray[np.int64], heads: Positions, asset_of: Positions) -> int:
    """Number the different assets of the events.

    Args:
        heads: int64, room of a power of two ≥ 2 n: scratch, all -1; on return heads[i] for i below the number of
            assets, after the table, is not defined.
        asset_of: int64 (n,), the first event that has the same asset; -1 for none (out).

    Returns:
        how many there are.
    """
    mask = heads.shape[0] - 1
    found = 0
    for row in range(n):
        asset_of[row] = -1
        if facts[row, _ASSET_STATE] == NO_ASSET:
            continue
        base = (row + 1) * RECORD_WORDS + ASSET
        size = _asset_size(records, base)
        h = 0
        for k in range(size):
            h = ((h * 31) & 0xFFFFFFFF) ^ int(np.int64(records[np.uint64(base + k)]))
        h = (h ^ (h >> 15)) & mask
        while heads[h] >= 0:
            other = (heads[h] + 1) * RECORD_WORDS + ASSET
            same = True
            for k in range(size):
                if records[np.uint64(base + k)] != records[np.uint64(other + k)]:
                    same = False
                    break
            if same:
                break
            h = (h + 1) & mask
        if heads[h] < 0:
            heads[h] = row
            found += 1
        asset_of[row] = heads[h]
    return found
