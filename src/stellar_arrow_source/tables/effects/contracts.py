"""Effects of the operations of smart contracts: of events of the Stellar Asset Contract, and of footprints."""

from __future__ import annotations

from typing import NamedTuple

from stellar_arrow_source.tables.effects.entries import ACCOUNT, TRUSTLINE, TTL, after, before, moved_at
from stellar_arrow_source.tables.effects.layout import AMOUNT_WORDS, ASSET_WORDS, EffectType, Fact, Given
from stellar_arrow_source.tables.effects.work import (
    NATIVE_AT,
    Work,
    asset_size,
    begin,
    begin_source,
    first_signer,
    put_asset,
    stage_words,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import Positions, Words, helper, load_int

_ACCOUNT_ADDRESS, _MUXED_ADDRESS = 0, 2  # SCAddressType


class Events(NamedTuple):
    """Token-transfer events of operations.

    Attributes:
        kind: int64 (n,), one more than the kind of event; 0 for what is none of a proved asset.
        giver, taker: positions of their SCAddresses, or 0.
        muxed_id: of the taker, or 0.
        amount: positions of Int128Parts.
        assets: uint32, the asset of event e from word (1 + e) * ASSET_WORDS on.
    """

    kind: Positions
    giver: Positions
    taker: Positions
    muxed_id: Positions
    amount: Positions
    assets: Words


@helper
def tell_event(w: Work, o: int, e: int, events: Events) -> None:
    """Debit who gives, credit who gets, by the e-th event."""
    asset, amount = 0, 0
    for side in range(2):
        holder = events.giver[e] if side == 0 else events.taker[e]
        if events.kind[e] == 0 or holder == 0:
            continue
        arm = load_int(w.words, holder)
        if arm in (_ACCOUNT_ADDRESS, _MUXED_ADDRESS):
            key, muxed_id = (holder + 2, 0) if arm == _ACCOUNT_ADDRESS else (holder + 3, holder + 1)
            if side == 1 and events.muxed_id[e] > 0:
                muxed_id = events.muxed_id[e]
            row = begin(w, EffectType.ACCOUNT_DEBITED if side == 0 else EffectType.ACCOUNT_CREDITED, o, key, muxed_id)
        else:
            row = begin_source(w, EffectType.CONTRACT_DEBITED if side == 0 else EffectType.CONTRACT_CREDITED, o)
            w.facts[Fact.CONTRACT, row] = holder
        if asset == 0:
            at = (1 + e) * ASSET_WORDS
            native = load_int(events.assets, at) == 0
            asset = NATIVE_AT if native else stage_words(w, row, events.assets, at, asset_size(events.assets, at))
            amount = stage_words(w, row, w.words, events.amount[e], AMOUNT_WORDS)
        w.facts[Fact.ASSET, row] = asset
        w.facts[Fact.AMOUNT, row] = amount
        w.facts[Fact.EVENT_KIND, row] = events.kind[e]


@helper
def tell_creations(w: Work, o: int, n: int) -> None:
    """Trust lines, then accounts, that a contract created (CAP-73): no event tells of them."""
    for k in range(n):
        d = moved_at(w, k)
        if load_int(w.words, d) == TRUSTLINE and before(w, k) < 0 and after(w, k) >= 0:
            row = begin(w, EffectType.TRUSTLINE_CREATED, o, d + 2, 0)
            put_asset(w, row, d + 10)
            w.facts[Fact.LIMIT, row] = d + 10 + asset_size(w.words, d + 10) + 2  # after asset and balance
    for k in range(n):
        d = moved_at(w, k)
        if load_int(w.words, d) == ACCOUNT and before(w, k) < 0 and after(w, k) >= 0:
            row = begin(w, EffectType.ACCOUNT_CREATED, o, d + 2, 0)
            w.facts[Fact.STARTING_BALANCE, row] = d + 10
            first_signer(w, o, d + 1)


@helper
def change_footprint(w: Work, effect: int, o: int, n: int) -> None:
    """The entries whose time to live was changed."""
    row = begin_source(w, effect, o)
    count = 0
    for k in range(n):
        if load_int(w.words, moved_at(w, k)) == TTL and after(w, k) >= 0:
            w.entries[w.used[2] + count] = moved_at(w, k) + 1
            count += 1
    w.used[2] += count
    w.facts[Fact.ENTRIES, row] = 1 + count
    w.facts[Fact.EXTEND_TO, row] = w.given[Given.EXTEND_TO, o]
