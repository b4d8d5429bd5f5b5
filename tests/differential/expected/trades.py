"""Expected rows of ``trades``."""

from __future__ import annotations

from typing import Any

from stellar_sdk import StrKey

from .join import Operation
from .values import account, arm, asset_columns, muxed_columns, plain, pool_strkey


def trade_rows(op: Operation) -> list[dict[str, Any]]:
    effect = op.effect
    atoms = getattr(effect, "offers_claimed", None) or getattr(effect, "offers", None) or []
    return [trade_row(op, order, atom) for order, atom in enumerate(atoms)]


def trade_row(op: Operation, order: int, atom: Any) -> dict[str, Any]:
    tx, trade = op.transaction, arm(atom)
    pool = atom.liquidity_pool
    sold, bought = plain(trade.amount_sold), plain(trade.amount_bought)
    return {
        **tx.ledger.position_columns,
        "transaction_id": tx.id,
        "transaction_index": tx.index,
        "operation_id": op.id,
        "operation_index": op.index,
        "transaction_hash": tx.hash,
        "order": order,
        "trade_type": "orderbook" if pool is None else "liquidity_pool",
        "seller_account": seller(atom),
        "liquidity_pool_id": pool_strkey(plain(pool.liquidity_pool_id)) if pool is not None else None,
        "offer_id": plain(trade.offer_id) if pool is None else None,
        **asset_columns("sold_asset", trade.asset_sold),
        "sold_amount": sold,
        **muxed_columns("buyer_account", op.source),
        **asset_columns("bought_asset", trade.asset_bought),
        "bought_amount": bought,
        "price_n": bought if sold != 0 else None,
        "price_d": sold if sold != 0 else None,
        "operation_type_string": op.type.name.lower(),
    }


def seller(atom: Any) -> str | None:
    """Owner of the offer; a V0 atom carries the bare key."""
    if atom.v0 is not None:
        return StrKey.encode_ed25519_public_key(plain(atom.v0.seller_ed25519))
    return account(atom.order_book.seller_id) if atom.order_book is not None else None
