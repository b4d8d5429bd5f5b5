"""Made-up ledgers of the streams that are analysed, and a way to run them through the consumer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
from analytics_consumer.analyses import Analysis
from analytics_consumer.result import Result
from analytics_consumer.selection import Selection
from analytics_consumer.sink import AnalyticsSink

from stellar_arrow_client.request import Cursor, StreamRequest

EPOCH = datetime(2024, 10, 1, tzinfo=UTC)
MINUTE = 60_000_000
Row = dict[str, Any]

_INT64 = {
    "amount",
    "fee_charged",
    "max_fee",
    "new_max_fee",
    "resource_fee",
    "limit",
    "offer_id",
    "sold_amount",
    "bought_amount",
    "transaction_id",
}
_TYPES: dict[str, pa.DataType] = {
    "ledger_sequence": pa.uint32(),
    "ledger_close_time": pa.timestamp("us", "UTC"),
    "successful": pa.bool_(),
    "in_successful_contract_call": pa.bool_(),
    **dict.fromkeys(_INT64, pa.int64()),
}
_ACCOUNTS = [f"G{letter * 55}" for letter in "ABCDEFGH"]
_ASSETS = [
    ("native", "XLM", None),
    ("credit_alphanum4", "USDC", _ACCOUNTS[0]),
    ("credit_alphanum4", "USDC", _ACCOUNTS[1]),
    ("credit_alphanum12", "LONGERCODE", _ACCOUNTS[0]),
    ("credit_alphanum4", "XLM", _ACCOUNTS[2]),
]
_PAYMENTS = (
    "create_account",
    "payment",
    "path_payment_strict_receive",
    "path_payment_strict_send",
    "account_merge",
)
_OFFERS = ("manage_sell_offer", "manage_buy_offer", "create_passive_sell_offer")
_OTHERS = ("change_trust", "invoke_host_function", "set_options")


def schema_of(analysis: Analysis) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in analysis.request_columns])


@dataclass(frozen=True)
class Made:
    """A ledger: its close time in whole seconds after the epoch of the tests, and its rows."""

    sequence: int
    seconds: int
    rows: list[Row]

    @property
    def closed(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)


def _asset(row: Row, prefix: str, asset: tuple[str | None, str | None, str | None]) -> None:
    row[f"{prefix}asset_type"], row[f"{prefix}asset_code"], row[f"{prefix}asset_issuer"] = asset


def _amount(rng: random.Random) -> int:
    return rng.choice([rng.randrange(1, 50), 10**10, rng.randrange(2**63), 2**63 - 1])


def _payment(rng: random.Random) -> Row:
    row: Row = {
        "source_account": rng.choice(_ACCOUNTS),
        "destination": rng.choice(_ACCOUNTS),
        "successful": rng.random() < 0.8,
    }
    _asset(row, "", rng.choice(_ASSETS))
    row["amount"] = _amount(rng) if row["successful"] or rng.random() < 0.7 else None
    return row


def _operation(rng: random.Random) -> Row:
    row: Row = {
        "operation_type_string": rng.choice(_PAYMENTS + _OFFERS + _OTHERS + ("change_trust",)),
        "source_account": rng.choice(_ACCOUNTS),
        "successful": rng.random() < 0.7,
    }
    kind = row["operation_type_string"]
    if kind in _PAYMENTS:
        row["destination"], row["amount"] = rng.choice(_ACCOUNTS), _amount(rng)
        _asset(row, "", rng.choice(_ASSETS))
    if kind.startswith("path_"):
        _asset(row, "source_", rng.choice(_ASSETS))
    if kind in _OFFERS:
        row["amount"] = rng.choice([0, 5, 7])
        row["offer_id"] = None if kind.startswith("create") else rng.choice([0, 0, 9])
        _asset(row, "selling_", rng.choice(_ASSETS))
        _asset(row, "buying_", rng.choice(_ASSETS))
    if kind == "change_trust":
        row["limit"] = rng.choice([0, 1, 2**63 - 1])
        _asset(row, "", rng.choice([*_ASSETS[1:], ("liquidity_pool_shares", None, None)]))
    if kind == "invoke_host_function":
        invokes = rng.random() < 0.7
        row["host_function_type"] = f"HOST_FUNCTION_TYPE_{'INVOKE' if invokes else 'CREATE'}_CONTRACT"
        row["contract_id"] = rng.choice(["CA", "CB", None])
        row["function_name"] = rng.choice(["swap", "transfer"]) if invokes else None
    return row


def _transaction(rng: random.Random) -> Row:
    return {
        "successful": rng.random() < 0.7,
        "fee_charged": rng.choice([100, 200, rng.randrange(100, 100_000), 2**63 - 1]),
        "max_fee": rng.randrange(100, 2**63),
        "new_max_fee": rng.choice([None, None, 2**63 - 1]),
        "resource_fee": rng.choice([None, None, 0, 50_000]),
    }


_CONTRACTS = [f"C{letter * 55}" for letter in "ABC"]
_I128 = 2**127


def _token_event(rng: random.Random) -> Row:
    kind = rng.choice(["transfer", "transfer", "transfer", "mint", "burn", "clawback", "fee"])
    row: Row = {
        "event_type": kind,
        "from_address": None if kind == "mint" else rng.choice(_ACCOUNTS + _CONTRACTS),
        "to_address": rng.choice(_ACCOUNTS + _CONTRACTS) if kind in ("transfer", "mint") else None,
        "contract_id": rng.choice(_CONTRACTS),
        "amount_raw": str(rng.choice([rng.randrange(50), 2**63, _I128 - 1, -_I128, rng.randrange(_I128)])),
    }
    _asset(row, "", rng.choice([*_ASSETS, (None, None, None)]))
    return row


def _trade(rng: random.Random) -> Row:
    row: Row = {
        "trade_type": rng.choice(["orderbook", "liquidity_pool"]),
        "buyer_account": rng.choice(_ACCOUNTS),
        "sold_amount": rng.choice([0, 1, 3, rng.randrange(1, 10**6), 2**63 - 1]),
        "bought_amount": rng.choice([0, 1, 3, rng.randrange(1, 10**6), 2**63 - 1]),
    }
    sold, bought = rng.sample(_ASSETS, 2)
    _asset(row, "sold_", sold)
    _asset(row, "bought_", bought)
    return row


def _contract_event(rng: random.Random) -> Row:
    return {
        "transaction_id": rng.randrange(6),
        "contract_id": rng.choice([*_CONTRACTS, None]),
        "in_successful_contract_call": rng.random() < 0.7,
        "topic0": rng.choice(["transfer", "swap", None]),
    }


_MAKERS = {
    "payments": _payment,
    "operations": _operation,
    "transactions": _transaction,
    "ttp_events": _token_event,
    "trades": _trade,
    "contract_events": _contract_event,
}


def make_ledgers(rng: random.Random, stream: str, count: int, most_rows: int = 8) -> list[Made]:
    """Ledgers that close 0 to a few seconds apart, sometimes minutes; some have no row."""
    seconds, made = rng.randrange(100), []
    for sequence in range(1000, 1000 + count):
        seconds += rng.choice([0, 1, 5, 5, 5, 6, 30, 60, 61, 400])
        rows = [_MAKERS[stream](rng) for _ in range(rng.choice([0, 1, most_rows]))]
        made.append(Made(sequence, seconds, rows))
    return made


def to_batch(analysis: Analysis, ledgers: Sequence[Made]) -> tuple[pa.RecordBatch, Cursor]:
    rows = [
        {"ledger_sequence": ledger.sequence, "ledger_close_time": ledger.closed, **row}
        for ledger in ledgers
        for row in ledger.rows
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema_of(analysis))
    return batch, Cursor(ledgers[0].sequence, ledgers[-1].sequence)


class Recorder:
    """An output that keeps the results that were due, the last one included."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.closed = 0

    def update(self, result: Callable[[], Result], *, due: bool) -> None:
        if due:
            self.results.append(result())

    def finish(self, result: Result) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


def run_sink(
    analysis: Analysis,
    ledgers: Sequence[Made],
    *,
    minutes: int = 5,
    every: int = 60,
    top: int = 10_000,
    selection: Selection | None = None,
    cuts: Sequence[int] = (),
    complete: bool = True,
) -> Recorder:
    """Feed the ledgers in batches that end before the indices ``cuts``; ``every`` is in seconds."""
    times = {ledger.sequence: int(ledger.closed.timestamp()) * 1_000_000 for ledger in ledgers}

    def clock(first: int, last: int) -> Mapping[int, int]:
        return {sequence: times[sequence] for sequence in range(first, last + 1)}

    recorder = Recorder()
    sink = AnalyticsSink(
        analysis,
        selection or Selection(),
        length=minutes * MINUTE,
        every=every * 1_000_000,
        top=top,
        clock=clock,
        output=recorder,
    )
    sink.open(schema_of(analysis), StreamRequest(analysis.stream))
    edges = [0, *cuts, len(ledgers)]
    for begin, end in pairwise(edges):
        if begin < end:
            sink.write(*to_batch(analysis, ledgers[begin:end]))
    sink.close(complete=complete)
    return recorder
