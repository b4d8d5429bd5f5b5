"""Columns of ``effects`` that tell of liquidity pools: their state after the operation, and what moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.tables.columns import enum_table
from stellar_arrow_source.tables.effects.assemble import effects_of
from stellar_arrow_source.tables.effects.facts import (
    AssetParts,
    after_asset,
    asset,
    at,
    further,
    number,
    shown,
    split_at,
    stroops,
    text,
    words_of,
)  # fmt: skip
from stellar_arrow_source.tables.effects.layout import UNKNOWN, EffectType, Fact
from stellar_arrow_source.tables.frame import Frame, Integers
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.positions import words_at
from stellar_arrow_source.xdr.strkey import Version

_TYPES: Final = enum_table("LiquidityPoolType", lambda name: name.removeprefix("LIQUIDITY_POOL_").lower())
_TYPE: Final = at(Fact.POOL, 9)  # after the entry's type and the pool's id
_ASSET_A: Final = at(Fact.POOL, 10)
_SPLIT_A: Final = split_at(_ASSET_A)
_ASSET_B: Final = after_asset(_ASSET_A, _SPLIT_A)
_SPLIT_B: Final = split_at(_ASSET_B)
_FEE: Final = after_asset(_ASSET_B, _SPLIT_B)


def _read_type(frame: Frame) -> pa.Array:
    positions = _TYPE(frame)
    types = np.empty(len(positions), np.int64)
    words_at(frame.batch.words, positions, types)
    return readers.enum(np.where(positions > 0, types, -1), _TYPES)


def _moved(name: str, effect: EffectType, fact: Fact, description: str, needed: Fact = Fact.POOL) -> Column:
    """Stroops that moved, of one type of effect; null where the entries do not tell, or another fact is absent."""

    def read(frame: Frame) -> pa.Array:
        effects = effects_of(frame)
        values: Integers = effects[fact]
        known = (effects[Fact.TYPE] == effect) & (effects[needed] > 0) & (values != UNKNOWN)
        return readers.from_numpy(values.copy(), pa.int64(), known) if known.any() else frame.nulls(pa.int64())

    return shown(name, pa.int64(), read, description, unit="stroop")


def _state(letter: str, split: Callable[[Frame], AssetParts], reserve: int) -> tuple[Column, ...]:
    prefix, what = f"asset_{letter}_", f"asset {letter.upper()}"
    return (
        *asset(prefix, f"the pool's {what}", split, words_of),
        stroops(f"{prefix}amount", further(_FEE, reserve), f"what the pool holds of {what}"),
    )


_DEPOSITED, _WITHDREW, _REVOKED = (
    EffectType.LIQUIDITY_POOL_DEPOSITED,
    EffectType.LIQUIDITY_POOL_WITHDREW,
    EffectType.LIQUIDITY_POOL_REVOKED,
)

POOL_COLUMNS: Final[tuple[Column, ...]] = (
    text(
        "liquidity_pool_id",
        readers.strkey,
        Fact.POOL_ID,
        "liquidity pool, also of a trust line for its shares; an L strkey",
        Version.LIQUIDITY_POOL,
    ),
    shown("liquidity_pool_type", pa.string(), _read_type, "kind of pool, such as constant_product"),
    number("liquidity_pool_fee", pa.int32(), _FEE, "what the pool keeps of a trade", unit="basis point"),
    number(
        "trustline_count",
        pa.int64(),
        further(_FEE, 7),
        "trust lines for the pool's shares after the operation, as are the numbers that follow",
    ),
    stroops("pool_share_count", further(_FEE, 5), "shares that there are"),
    *_state("a", _SPLIT_A, 1),
    *_state("b", _SPLIT_B, 3),
    _moved("reserve_a_deposited", _DEPOSITED, Fact.MOVED_A, "what was deposited of asset A"),
    _moved("reserve_b_deposited", _DEPOSITED, Fact.MOVED_B, "what was deposited of asset B"),
    _moved("shares_received", _DEPOSITED, Fact.MOVED_SHARES, "shares got for a deposit"),
    _moved("reserve_a_received", _WITHDREW, Fact.MOVED_A, "what was withdrawn of asset A"),
    _moved("reserve_b_received", _WITHDREW, Fact.MOVED_B, "what was withdrawn of asset B"),
    _moved("shares_redeemed", _WITHDREW, Fact.MOVED_SHARES, "shares given for a withdrawal"),
    _moved(
        "reserve_a_revoked", _REVOKED, Fact.MOVED_A, "what went of asset A into reserve_a_balance_id", Fact.BALANCE_A
    ),
    _moved(
        "reserve_b_revoked", _REVOKED, Fact.MOVED_B, "what went of asset B into reserve_b_balance_id", Fact.BALANCE_B
    ),
    text("reserve_a_balance_id", readers.claimable_balance, Fact.BALANCE_A, "claimable balance that got asset A"),
    text("reserve_b_balance_id", readers.claimable_balance, Fact.BALANCE_B, "claimable balance that got asset B"),
    _moved("shares_revoked", _REVOKED, Fact.MOVED_SHARES, "shares that the pool lost by a revocation"),
)
