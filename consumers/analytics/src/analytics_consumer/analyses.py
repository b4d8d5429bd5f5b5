"""The analyses: each one a declaration of what it reads, what it groups by and what it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from stellar_arrow_client.request import LEDGER, TIME

from .measures import (
    Aggregation,
    Count,
    Distinct,
    Edge,
    Extreme,
    Measure,
    Percentile,
    Price,
    Ratio,
    Total,
)  # fmt: skip
from .rows import (
    account_operations,
    asset_columns,
    asset_use,
    contract_calls,
    contract_events,
    exchanges,
    fees,
    high_value_payments,
    successful_payments,
    token_flows,
    traded_pairs,
)  # fmt: skip
from .selection import Selection

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
        return (LEDGER, TIME, *self.columns)

    @property
    def aggregation(self) -> Aggregation:
        return Aggregation(self.keys, self.measures)


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
        rows=successful_payments,
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
        rows=high_value_payments,
        options=frozenset({"asset", "threshold"}),
    ),
    Analysis(
        name="token-volume",
        description="Token transfers per asset, those by contracts and of contracts' own tokens too; what was issued.",
        stream="ttp_events",
        columns=(
            "event_type",
            "from_address",
            "to_address",
            *asset_columns(),
            "contract_id",
            "amount_raw",
        ),
        keys=("asset",),
        measures=(
            Count("transfers", "transfers, by classic operations and by contracts", "transfer"),
            Total("amount", "what was transferred", "moved", "tokens"),
            Extreme("largest", "the largest single transfer", "moved", unit="tokens"),
            Distinct("senders", "different addresses that transferred", "sender"),
            Distinct("receivers", "different addresses that were transferred to", "receiver"),
            Count("mints", "mints", "mint"),
            Count("burns", "burns", "burn"),
            Count("clawbacks", "clawbacks", "clawback"),
            Total("minted", "what was minted", "minted", "tokens"),
            Total("destroyed", "what was burnt or clawed back", "destroyed", "tokens"),
            Total("supply_change", "minted less destroyed", "change", "tokens"),
        ),
        order="transfers",
        rows=token_flows,
        options=frozenset({"asset"}),
    ),
    Analysis(
        name="account-activity",
        description="Operations per source account and type, and how many of them succeeded.",
        stream="operations",
        columns=("source_account", "operation_type_string", "successful"),
        keys=("source_account", "operation_type"),
        measures=(Count("operations", "operations, those of failed transactions too"), *_SUCCESS),
        order="operations",
        rows=account_operations,
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
        rows=fees,
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
        rows=asset_use,
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
        rows=contract_calls,
    ),
    Analysis(
        name="contract-events",
        description="Events of contracts, those that contracts called and those of assets too.",
        stream="contract_events",
        columns=("transaction_id", "contract_id", "in_successful_contract_call", "topic0"),
        keys=("contract_id",),
        measures=(
            Count("events", "contract and system events"),
            Count("effective", "of them those that tell of what took effect", "effective"),
            Distinct("names", "different names (first topics) of events", "event_name"),
            Distinct("transactions", "different transactions", "transaction"),
        ),
        order="events",
        rows=contract_events,
    ),
    Analysis(
        name="dex-volume",
        description="Trades per pair of assets, with offers and pools: volumes, and prices as counter per base.",
        stream="trades",
        columns=(
            "trade_type",
            *asset_columns("sold_"),
            "sold_amount",
            "buyer_account",
            *asset_columns("bought_"),
            "bought_amount",
        ),
        keys=("base", "counter"),
        measures=(
            Count("trades", "trades, each with one offer or pool"),
            Count("pool_trades", "of them those with a liquidity pool", "pool"),
            Distinct("takers", "different accounts whose operations traded", "taker"),
            Total("base_volume", "of the base asset that changed hands", "base_amount"),
            Total("counter_volume", "of the counter asset that changed hands", "counter_amount"),
            Price("average", "counter_volume / base_volume", "counter_volume", "base_volume"),
            Edge("open", "price of the first trade", "price", "first"),
            Extreme("high", "the highest price", "price", unit="price"),
            Extreme("low", "the lowest price", "price", "min", "price"),
            Edge("close", "price of the last trade", "price", "last"),
        ),
        order="trades",
        rows=traded_pairs,
        options=frozenset({"asset"}),
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
        rows=exchanges,
    ),
)
