"""The stream ``trades``: one row per claim atom of successful operations, in apply order.

A claim atom (XDR ClaimAtom) tells what an operation took from one offer or liquidity pool, and what it gave for it.
Atoms in the results of failed transactions never took effect and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import ClaimAtomType

from stellar_arrow_source.tables.columns import (
    account,
    amount,
    asset,
    derived,
    enum_table,
    enumeration,
    number,
    strings,
)  # fmt: skip
from stellar_arrow_source.tables.common import LEDGER_COLUMNS, TRANSACTION_COLUMNS, TRANSACTION_HASH
from stellar_arrow_source.tables.expressions import At, Expression, FirstOf, Plus, Where
from stellar_arrow_source.tables.frame import OPERATION_NEEDS, Batch, Frame
from stellar_arrow_source.tables.operation_facts import OPERATION_COLUMNS, OPERATION_TYPE, SOURCE_COLUMNS
from stellar_arrow_source.tables.relations import CLAIM_ATOM, OP_RESULT
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.strkey import Version

_TRADE_TYPES: Final = {
    "CLAIM_ATOM_TYPE_V0": "orderbook",
    "CLAIM_ATOM_TYPE_ORDER_BOOK": "orderbook",
    "CLAIM_ATOM_TYPE_LIQUIDITY_POOL": "liquidity_pool",
}
_ATOM = At(CLAIM_ATOM)


def _of(type: ClaimAtomType, path: str) -> Where:
    """A field of that arm only: the arms share where they begin."""
    return Where(At(CLAIM_ATOM, path), lambda frame: frame.words(_ATOM) == type, (_ATOM,))


_SELLER = FirstOf(
    _of(ClaimAtomType.CLAIM_ATOM_TYPE_V0, "sellerEd25519"),
    Plus(_of(ClaimAtomType.CLAIM_ATOM_TYPE_ORDER_BOOK, "sellerID"), 1),
)
_POOL = _of(ClaimAtomType.CLAIM_ATOM_TYPE_LIQUIDITY_POOL, "liquidityPoolID")
_SOLD = At(CLAIM_ATOM, "amountSold")
_BOUGHT = At(CLAIM_ATOM, "amountBought")
_BUYER, _BUYER_MUXED = SOURCE_COLUMNS


def _trades(batch: Batch) -> Frame:
    operations = batch.operations
    results = operations.rows[OP_RESULT.name]
    operation_of_result = np.empty(batch.arena.count(OP_RESULT.name), np.int64)
    operation_of_result[results[results >= 0]] = np.flatnonzero(results >= 0)
    operation = operation_of_result[batch.arena.rows(CLAIM_ATOM.name)[:, 1]]
    atoms = np.flatnonzero(operations.operation_successful[operation])
    frame = batch.take(operations, operation[atoms])
    frame.rows[CLAIM_ATOM.name] = atoms
    return frame


def _read_order(frame: Frame) -> pa.Array:
    first = frame.batch.runs(CLAIM_ATOM, OP_RESULT)[0][frame.rows[OP_RESULT.name]]
    return readers.from_numpy((frame.rows[CLAIM_ATOM.name] - first).astype(np.uint32), pa.uint32())


def _price_part(part: Expression) -> Callable[[Frame], pa.Array]:
    return lambda frame: readers.from_numpy(frame.hypers(part), pa.int64(), frame.hypers(_SOLD) != 0)


TRADES: Final = Stream(
    name="trades",
    description="one row per claim atom of a successful operation (an offer or pool it traded with), in apply order",
    frame=_trades,
    reads=(*OPERATION_NEEDS, CLAIM_ATOM),
    columns=(
        *LEDGER_COLUMNS,
        *TRANSACTION_COLUMNS,
        *OPERATION_COLUMNS,
        TRANSACTION_HASH,
        derived(
            "order",
            pa.uint32(),
            _read_order,
            "position of the trade in its operation, from 0",
        ),
        enumeration(
            "trade_type",
            enum_table("ClaimAtomType", _TRADE_TYPES.__getitem__),
            _ATOM,
            "whom the operation traded with: orderbook or liquidity_pool",
        ),
        account("seller_account", _SELLER, "owner of the offer; null for a pool", nullable=True),
        strings(
            "liquidity_pool_id",
            readers.strkey,
            _POOL,
            "the pool (L strkey); null for an offer",
            Version.LIQUIDITY_POOL,
            nullable=True,
        ),
        number("offer_id", pa.int64(), At(CLAIM_ATOM, "offerID"), "the offer; null for a pool", nullable=True),
        *asset(At(CLAIM_ATOM, "assetSold"), "the asset that the seller or pool gave", "sold_", nullable=False),
        amount("sold_amount", _SOLD, "what the seller or pool gave"),
        replace(_BUYER, name="buyer_account", description="source of the operation, which traded"),
        replace(_BUYER_MUXED, name="buyer_account_muxed", description="M address of buyer_account, where it has one"),
        *asset(At(CLAIM_ATOM, "assetBought"), "the asset that the seller or pool got", "bought_", nullable=False),
        amount("bought_amount", _BOUGHT, "what the seller or pool got"),
        derived(
            "price_n",
            pa.int64(),
            _price_part(_BOUGHT),
            "price that was paid for one unit of the asset sold, exactly price_n / price_d: bought_amount;"
            " null where nothing was sold",
            _BOUGHT,
            _SOLD,
            nullable=True,
        ),
        derived(
            "price_d",
            pa.int64(),
            _price_part(_SOLD),
            "denominator of the price: sold_amount; null where nothing was sold",
            _SOLD,
            nullable=True,
        ),
        OPERATION_TYPE,
    ),
)
