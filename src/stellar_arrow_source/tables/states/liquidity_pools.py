"""The stream ``liquidity_pools``: LiquidityPoolEntry."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry, in_key
from stellar_arrow_source.tables.columns import amount, asset, enum_table, enumeration, number, strings
from stellar_arrow_source.tables.expressions import Expression
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import state_stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.strkey import Version


def _of_pool(path: str) -> Expression:
    return in_entry({LedgerEntryType.LIQUIDITY_POOL: f"liquidityPool.body{path}"})


def _reserve(letter: str) -> tuple[Column, ...]:
    """What the pool holds of one of its assets, named as the peers do: ``asset_a_type``, …, ``asset_a_amount``."""
    columns = asset(_of_pool(f".constantProduct.params.asset{letter}"), f"asset {letter}")
    prefix = f"asset_{letter.lower()}_"
    return (
        *(replace(column, name=column.name.replace("asset_", prefix)) for column in columns),
        amount(
            f"{prefix}amount",
            _of_pool(f".constantProduct.reserve{letter}"),
            f"what the pool holds of asset {letter}",
            nullable=True,
        ),
    )


LIQUIDITY_POOLS: Final = state_stream(
    "liquidity_pools",
    LedgerEntryType.LIQUIDITY_POOL,
    "liquidity pool",
    (
        strings(
            "liquidity_pool_id",
            readers.strkey,
            in_key({LedgerEntryType.LIQUIDITY_POOL: "liquidityPool.liquidityPoolID"}),
            "the pool; an L strkey",
            Version.LIQUIDITY_POOL,
        ),
        enumeration(
            "type",
            enum_table("LiquidityPoolType", lambda name: name.removeprefix("LIQUIDITY_POOL_").lower()),
            _of_pool(""),
            "kind of pool, such as constant_product",
            nullable=True,
        ),
        number(
            "fee",
            pa.int32(),
            _of_pool(".constantProduct.params.fee"),
            "what the pool keeps of a trade",
            nullable=True,
            unit="basis point",
        ),
        number(
            "trustline_count",
            pa.int64(),
            _of_pool(".constantProduct.poolSharesTrustLineCount"),
            "trust lines for the pool's shares",
            nullable=True,
        ),
        amount(
            "pool_share_count", _of_pool(".constantProduct.totalPoolShares"), "shares that there are", nullable=True
        ),
        *_reserve("A"),
        *_reserve("B"),
    ),
)
