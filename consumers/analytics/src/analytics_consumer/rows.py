"""From rows of a stream to the rows that an analysis measures: ledger_sequence, its keys, and what it measures."""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.request import LEDGER

from .measures import WIDE, quotient
from .selection import NATIVE, AssetFilter, Selection

_NOBODY = pa.scalar(None, pa.string())


def asset_columns(prefix: str = "") -> tuple[str, str, str]:
    """The three columns that state an asset, such as ``source_asset_type``."""
    return (f"{prefix}asset_type", f"{prefix}asset_code", f"{prefix}asset_issuer")


def _asset(rows: pa.Table, prefix: str = "") -> pa.ChunkedArray:
    """``native`` or ``CODE:ISSUER``; null when the row has no asset or one of pool shares."""
    kind, code, issuer = (rows[column] for column in asset_columns(prefix))
    return pc.if_else(pc.equal(kind, NATIVE), NATIVE, pc.binary_join_element_wise(code, issuer, ":"))


def _table(rows: pa.Table, **columns: pa.ChunkedArray) -> pa.Table:
    return pa.table({LEDGER: rows[LEDGER], **columns})


def _only(table: pa.Table, assets: AssetFilter | None, code: pa.ChunkedArray) -> pa.Table:
    return table if assets is None else table.filter(assets.mask(table["asset"], code))


def _is(rows: pa.Table, *types: str) -> pa.ChunkedArray:
    return pc.is_in(rows["operation_type_string"], value_set=pa.array(types, pa.string()))


def _all(*masks: pa.ChunkedArray) -> pa.ChunkedArray:
    return reduce(pc.and_, masks)


def successful_payments(rows: pa.Table, selection: Selection) -> pa.Table:
    rows = rows.filter(rows["successful"])
    return _only(_table(rows, asset=_asset(rows), amount=rows["amount"]), selection.assets, rows["asset_code"])


def high_value_payments(rows: pa.Table, selection: Selection) -> pa.Table:
    large = pc.greater_equal(rows["amount"], pa.scalar(selection.threshold, pa.int64()))
    rows = rows.filter(pc.and_(rows["successful"], pc.fill_null(large, False)))
    table = _table(
        rows,
        source_account=rows["source_account"],
        asset=_asset(rows),
        amount=rows["amount"],
        destination=rows["destination"],
    )
    return _only(table, selection.assets or AssetFilter(frozenset({NATIVE})), rows["asset_code"])


def account_operations(rows: pa.Table, selection: Selection) -> pa.Table:
    return _table(
        rows,
        source_account=rows["source_account"],
        operation_type=rows["operation_type_string"],
        succeeded=rows["successful"],
        failed=pc.invert(rows["successful"]),
    )


def fees(rows: pa.Table, selection: Selection) -> pa.Table:
    return _table(
        rows,
        kind=pc.if_else(pc.is_valid(rows["resource_fee"]), "soroban", "classic"),
        succeeded=rows["successful"],
        failed=pc.invert(rows["successful"]),
        fee_charged=rows["fee_charged"],
        bid=pc.coalesce(rows["new_max_fee"], rows["max_fee"]),
    )


_PAYMENT_TYPES = (
    "create_account",
    "payment",
    "path_payment_strict_receive",
    "path_payment_strict_send",
    "account_merge",
)


def asset_use(rows: pa.Table, selection: Selection) -> pa.Table:
    rows = rows.filter(pc.and_(rows["successful"], _is(rows, *_PAYMENT_TYPES, "change_trust")))
    trust = _is(rows, "change_trust")
    opens = pc.fill_null(pc.greater(rows["limit"], 0), False)
    payment = pc.invert(trust)
    table = _table(
        rows,
        asset=_asset(rows),
        payment=payment,
        payer=pc.if_else(payment, rows["source_account"], _NOBODY),
        receiver=pc.if_else(payment, rows["destination"], _NOBODY),
        trust_set=pc.and_(trust, opens),
        trust_removed=pc.and_not(trust, opens),
        truster=pc.if_else(pc.and_(trust, opens), rows["source_account"], _NOBODY),
    )
    code = rows["asset_code"].filter(pc.is_valid(table["asset"]))
    return _only(table.filter(pc.is_valid(table["asset"])), selection.assets, code)


def contract_calls(rows: pa.Table, selection: Selection) -> pa.Table:
    invoked = pc.equal(rows["host_function_type"], "HOST_FUNCTION_TYPE_INVOKE_CONTRACT")
    rows = rows.filter(pc.fill_null(invoked, False))
    return _table(
        rows,
        contract_id=rows["contract_id"],
        function_name=rows["function_name"],
        succeeded=rows["successful"],
        failed=pc.invert(rows["successful"]),
        caller=rows["source_account"],
    )


_OFFER_TYPES = ("manage_sell_offer", "manage_buy_offer", "create_passive_sell_offer")
_PATH_TYPES = ("path_payment_strict_receive", "path_payment_strict_send")


def exchanges(rows: pa.Table, selection: Selection) -> pa.Table:
    rows = rows.filter(pc.and_(rows["successful"], _is(rows, *_OFFER_TYPES, *_PATH_TYPES)))
    path = _is(rows, *_PATH_TYPES)
    offer = pc.invert(path)
    new = pc.fill_null(pc.equal(rows["offer_id"], 0), True)  # create_passive_sell_offer knows no offer_id
    ends = pc.fill_null(pc.equal(rows["amount"], 0), False)
    return _table(
        rows,
        sold=pc.if_else(path, _asset(rows, "source_"), _asset(rows, "selling_")),
        bought=pc.if_else(path, _asset(rows), _asset(rows, "buying_")),
        placed=_all(offer, new, pc.invert(ends)),
        updated=_all(offer, pc.invert(new), pc.invert(ends)),
        cancelled=_all(offer, ends),
        path_payment=path,
        account=rows["source_account"],
    )


def token_flows(rows: pa.Table, selection: Selection) -> pa.Table:
    """Amounts stand in a column for each kind of event, as :data:`WIDE`; a clawback destroys as a burn does."""
    rows = rows.filter(pc.not_equal(rows["event_type"], "fee"))
    amount = pc.cast(rows["amount_raw"], WIDE)
    transfer, mint, burn, clawback = (pc.equal(rows["event_type"], t) for t in ("transfer", "mint", "burn", "clawback"))
    destroyed = pc.or_(burn, clawback)
    nothing = pa.scalar(None, WIDE)
    table = _table(
        rows,
        asset=pc.coalesce(_asset(rows), rows["contract_id"]),
        transfer=transfer,
        mint=mint,
        burn=burn,
        clawback=clawback,
        moved=pc.if_else(transfer, amount, nothing),
        minted=pc.if_else(mint, amount, nothing),
        destroyed=pc.if_else(destroyed, amount, nothing),
        change=pc.if_else(mint, amount, pc.if_else(destroyed, pc.negate(amount), nothing)),
        sender=pc.if_else(transfer, rows["from_address"], _NOBODY),
        receiver=pc.if_else(transfer, rows["to_address"], _NOBODY),
    )
    return _only(table, selection.assets, rows["asset_code"])


def traded_pairs(rows: pa.Table, selection: Selection) -> pa.Table:
    """Every trade seen from the same side: ``base`` is native, or else what comes first in the alphabet."""
    sold, bought = _asset(rows, "sold_"), _asset(rows, "bought_")
    forward = pc.or_(pc.equal(sold, NATIVE), pc.and_(pc.less(sold, bought), pc.not_equal(bought, NATIVE)))
    base_amount = pc.if_else(forward, rows["sold_amount"], rows["bought_amount"])
    counter_amount = pc.if_else(forward, rows["bought_amount"], rows["sold_amount"])
    table = _table(
        rows,
        base=pc.if_else(forward, sold, bought),
        counter=pc.if_else(forward, bought, sold),
        base_amount=base_amount,
        counter_amount=counter_amount,
        price=quotient(counter_amount, base_amount),
        pool=pc.equal(rows["trade_type"], "liquidity_pool"),
        taker=rows["buyer_account"],
    )
    if selection.assets is None:
        return table
    wanted = selection.assets.mask
    return table.filter(pc.or_(wanted(sold, rows["sold_asset_code"]), wanted(bought, rows["bought_asset_code"])))


def contract_events(rows: pa.Table, selection: Selection) -> pa.Table:
    return _table(
        rows,
        contract_id=rows["contract_id"],
        effective=rows["in_successful_contract_call"],
        event_name=rows["topic0"],
        transaction=rows["transaction_id"],
    )
