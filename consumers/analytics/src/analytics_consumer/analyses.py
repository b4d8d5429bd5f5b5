"""The analyses: each one a declaration of what it reads, what it groups by and what it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from .measures import LEDGER, Aggregation, Count, Distinct, Extreme, Measure, Percentile, Ratio, Total
from .selection import NATIVE, AssetFilter, Selection

CLOSE_TIME = "ledger_close_time"
Option = Literal["asset", "threshold"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """A question that a sliding window answers.

    Attributes:
        stream: the stream it reads, and ``columns`` those it reads of it, besides ledger and close time.
        keys: what a row of the result is about.
        measures: what a row says; ``order`` names the one that rows are sorted by, largest first.
        rows: from rows of the stream to rows with ledger_sequence, the keys and the columns that are measured.
        options: the options of the command that it honours.
    """

    name: str
    description: str
    stream: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    order: str
    rows: Callable[[pa.Table, Selection], pa.Table]
    options: frozenset[Option] = frozenset()

    @property
    def request_columns(self) -> tuple[str, ...]:
        """The columns to ask the server for."""
        return (LEDGER, CLOSE_TIME, *self.columns)

    @property
    def aggregation(self) -> Aggregation:
        return Aggregation(self.keys, self.measures)


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


def _successful_payments(rows: pa.Table, selection: Selection) -> pa.Table:
    rows = rows.filter(rows["successful"])
    return _only(_table(rows, asset=_asset(rows), amount=rows["amount"]), selection.assets, rows["asset_code"])


def _high_value_payments(rows: pa.Table, selection: Selection) -> pa.Table:
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


def _account_operations(rows: pa.Table, selection: Selection) -> pa.Table:
    return _table(
        rows,
        source_account=rows["source_account"],
        operation_type=rows["operation_type_string"],
        succeeded=rows["successful"],
        failed=pc.invert(rows["successful"]),
    )


def _fees(rows: pa.Table, selection: Selection) -> pa.Table:
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


def _asset_use(rows: pa.Table, selection: Selection) -> pa.Table:
    rows = rows.filter(pc.and_(rows["successful"], _is(rows, *_PAYMENT_TYPES, "change_trust")))
    trust = _is(rows, "change_trust")
    opens = pc.fill_null(pc.greater(rows["limit"], 0), False)
    payment = pc.invert(trust)
    nobody = pa.scalar(None, pa.string())
    table = _table(
        rows,
        asset=_asset(rows),
        payment=payment,
        payer=pc.if_else(payment, rows["source_account"], nobody),
        receiver=pc.if_else(payment, rows["destination"], nobody),
        trust_set=pc.and_(trust, opens),
        trust_removed=pc.and_not(trust, opens),
        truster=pc.if_else(pc.and_(trust, opens), rows["source_account"], nobody),
    )
    code = rows["asset_code"].filter(pc.is_valid(table["asset"]))
    return _only(table.filter(pc.is_valid(table["asset"])), selection.assets, code)


def _contract_calls(rows: pa.Table, selection: Selection) -> pa.Table:
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


def _exchanges(rows: pa.Table, selection: Selection) -> pa.Table:
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


def _all(*masks: pa.ChunkedArray) -> pa.ChunkedArray:
    return reduce(pc.and_, masks)


_SUCCESS = (
    Count("succeeded", "of them successful", "succeeded"),
    Count("failed", "of them failed", "failed"),
)

ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        name="payment-volume",
        description="Successful payments per asset: how many, how much, the largest.",
        stream="payments",
        columns=(*asset_columns(), "amount", "successful"),
        keys=("asset",),
        measures=(
            Count("payments", "payments, path payments, account creations and merges"),
            Total("amount", "what the receivers got", "amount"),
            Extreme("largest", "the largest single amount", "amount"),
        ),
        order="payments",
        rows=_successful_payments,
        options=frozenset({"asset"}),
    ),
    Analysis(
        name="high-value",
        description="Successful payments of at least --threshold units, per payer and asset (native by default).",
        stream="payments",
        columns=("source_account", "destination", *asset_columns(), "amount", "successful"),
        keys=("source_account", "asset"),
        measures=(
            Count("payments", "payments of at least the threshold"),
            Total("amount", "what the receivers got", "amount"),
            Extreme("largest", "the largest single amount", "amount"),
            Distinct("receivers", "different accounts that were paid", "destination"),
        ),
        order="amount",
        rows=_high_value_payments,
        options=frozenset({"asset", "threshold"}),
    ),
    Analysis(
        name="account-activity",
        description="Operations per source account and type, and how many of them succeeded.",
        stream="operations",
        columns=("source_account", "operation_type_string", "successful"),
        keys=("source_account", "operation_type"),
        measures=(Count("operations", "operations, those of failed transactions too"), *_SUCCESS),
        order="operations",
        rows=_account_operations,
    ),
    Analysis(
        name="fees",
        description="Fees and success of transactions, classic and Soroban: charged, percentiles, bid against charged.",
        stream="transactions",
        columns=("successful", "fee_charged", "max_fee", "new_max_fee", "resource_fee"),
        keys=("kind",),
        measures=(
            Count("transactions", "transactions, failed ones too"),
            *_SUCCESS,
            Ratio("success_rate", "successful transactions of all", "succeeded", "transactions"),
            Total("fees", "fees charged, as the results of the transactions say", "fee_charged"),
            Extreme("least", "the smallest fee charged for a transaction", "fee_charged", "min"),
            Percentile("p50", "median fee charged (nearest rank)", "fee_charged", 50),
            Percentile("p90", "90th percentile of the fee charged (nearest rank)", "fee_charged", 90),
            Percentile("p99", "99th percentile of the fee charged (nearest rank)", "fee_charged", 99),
            Extreme("largest", "the largest fee charged for a transaction", "fee_charged"),
            Total("bids", "the most that was offered (of a fee bump: the bump's fee)", "bid"),
            Ratio("bid_to_charged", "how many times the fees charged the bids were", "bids", "fees"),
        ),
        order="transactions",
        rows=_fees,
    ),
    Analysis(
        name="asset-adoption",
        description="Who uses an asset: payers, receivers, and trust lines set and removed.",
        stream="operations",
        columns=(
            "operation_type_string",
            "source_account",
            "destination",
            *asset_columns(),
            "limit",
            "successful",
        ),
        keys=("asset",),
        measures=(
            Count("payments", "successful payments that delivered the asset", "payment"),
            Distinct("payers", "different accounts that paid", "payer"),
            Distinct("receivers", "different accounts that were paid", "receiver"),
            Count("trust_lines_set", "change_trust with a limit: new trust lines and new limits", "trust_set"),
            Distinct("trusters", "different accounts that set a trust line", "truster"),
            Count("trust_lines_removed", "change_trust with limit 0", "trust_removed"),
        ),
        order="receivers",
        rows=_asset_use,
        options=frozenset({"asset"}),
    ),
    Analysis(
        name="contract-activity",
        description="Calls of contracts by operations, per contract and function; not those by contracts.",
        stream="operations",
        columns=("host_function_type", "contract_id", "function_name", "source_account", "successful"),
        keys=("contract_id", "function_name"),
        measures=(
            Count("calls", "invoke_host_function operations, failed ones too"),
            *_SUCCESS,
            Ratio("success_rate", "successful calls of all", "succeeded", "calls"),
            Distinct("callers", "different source accounts", "caller"),
        ),
        order="calls",
        rows=_contract_calls,
    ),
    Analysis(
        name="dex-activity",
        description="Successful offers and path payments per pair of assets; a path payment counts for its two ends.",
        stream="operations",
        columns=(
            "operation_type_string",
            "source_account",
            *asset_columns(),
            *asset_columns("source_"),
            *asset_columns("selling_"),
            *asset_columns("buying_"),
            "offer_id",
            "amount",
            "successful",
        ),
        keys=("sold", "bought"),
        measures=(
            Count("operations", "offers and path payments"),
            Count("offers_placed", "new offers", "placed"),
            Count("offers_updated", "offers changed", "updated"),
            Count("offers_cancelled", "offers withdrawn", "cancelled"),
            Count("path_payments", "path payments from the one to the other", "path_payment"),
            Distinct("accounts", "different source accounts", "account"),
        ),
        order="operations",
        rows=_exchanges,
    ),
)
