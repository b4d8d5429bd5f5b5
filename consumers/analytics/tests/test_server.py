"""The command against the real server: its decoder, its streams, its clock; beside plain Python and beside SQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.selection import Selection

from consumers.analytics.tests.made import EPOCH, Made, Row
from consumers.analytics.tests.oracle import ORACLES, expected_windows, in_order
from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from tests.support.corpus import ROOT, requires_corpus

BIN = Path(sys.executable).parent
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("ANALYTICS_", "STELLAR_", "LOG_"))}
NO_CONTRACTS = ("contract-activity", "contract-events")  # what has nothing to tell of the testnet's ledgers
SOURCES = [
    pytest.param(str(ROOT / "testnet-2022"), id="testnet", marks=requires_corpus),
    pytest.param("synthetic://?ledgers=200", id="synthetic"),
]


@contextmanager
def serving(source: str) -> Iterator[str]:
    """Runs a server and gives its address."""
    process = subprocess.Popen(
        [
            str(BIN / "stellar-arrow-source"),
            *("--source", source, "--port", "0", "--health-port", "0", "--log-format", "json"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    try:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        yield first["flight"].removeprefix("grpc://")
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module", params=SOURCES)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server of some two hundred ledgers."""
    with serving(request.param) as address:
        yield address


@pytest.fixture(scope="module")
def pubnet() -> Iterator[str]:
    """Address of a server of single ledgers of pubnet, and eleven in a row."""
    with serving(str(ROOT / "pubnet")) as address:
        yield address


def read(client: Client, analysis: Analysis, first: int, last: int) -> list[Made]:
    """The ledgers of a range with their rows, as the server tells them."""
    rows = client.read_table(StreamRequest(analysis.stream, first, last, analysis.request_columns)).to_pylist()
    closes = client.read_table(StreamRequest("ledgers", first, last, ("ledger_sequence", "ledger_close_time")))
    by_ledger = {sequence: list(group) for sequence, group in groupby(rows, lambda row: row["ledger_sequence"])}
    return [
        Made(row["ledger_sequence"], int((row["ledger_close_time"] - EPOCH).total_seconds()), found)
        for row in closes.to_pylist()
        for found in [by_ledger.get(row["ledger_sequence"], [])]
    ]


def analyse(server: str, analysis: Analysis, first: int, last: int) -> list[Any]:
    """The results that the command prints."""
    done = subprocess.run(
        [
            str(BIN / "analytics-consumer"),
            *(server, analysis.name, "5", "--from", str(first), "--to", str(last)),
            *(("--threshold", "10") if "threshold" in analysis.options else ()),
            *("--top", "100000"),
        ],
        capture_output=True,
        text=True,
        env=ENV,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "aligned" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def expected_rows(analysis: Analysis, window: list[Made]) -> list[Row]:
    """The rows of a window as JSON has them, by plain Python."""
    oracle = ORACLES[analysis.name]
    rows = in_order(analysis, oracle([row for ledger in window for row in ledger.rows], Selection(threshold=10**8)))
    exact = [measure.name for measure in analysis.measures if measure.unit in ("stroops", "tokens", "price")]
    for row in rows:
        for name in exact:
            if row[name] is not None:
                row[name] = f"{row[name]:f}" if isinstance(row[name], Decimal) else str(row[name])
    return rows


def test_results_of_the_real_server_equal_plain_python(
    request: pytest.FixtureRequest, server: str, analysis: Analysis
) -> None:
    with Client(server) as client:
        last = client.latest_ledger()
        assert last is not None
        first = last - 149
        ledgers = read(client, analysis, first, last)
    results = analyse(server, analysis, first, last)
    windows = expected_windows(ledgers, minutes=5, every=60)
    assert len(results) == len(windows) > 5
    for result, window in zip(results, windows, strict=True):
        assert result["rows"] == expected_rows(analysis, window)
        assert (result["from_ledger"], result["to_ledger"]) == (window[0].sequence, window[-1].sequence)
    before_contracts = "testnet" in request.node.name and analysis.name in NO_CONTRACTS
    assert any(result["rows"] for result in results) != before_contracts


PUBNET = [(30822015, 30822025), (60659332, 60659332)]  # of 2020, with events that core emitted later; of 2025


@requires_corpus
@pytest.mark.parametrize(("first", "last"), PUBNET)
def test_results_of_pubnet_equal_plain_python(pubnet: str, analysis: Analysis, first: int, last: int) -> None:
    with Client(pubnet) as client:
        ledgers = read(client, analysis, first, last)
    result = analyse(pubnet, analysis, first, last)[-1]
    assert result["rows"] == expected_rows(analysis, ledgers)
    assert result["ledgers"] == last - first + 1
    assert bool(result["rows"]) != (first < 50_000_000 and analysis.name == "contract-activity")


ASSET = "CASE WHEN {0}asset_type = 'native' THEN 'native' ELSE {0}asset_code || ':' || {0}asset_issuer END"
PAIR = f"[{ASSET.format('sold_')}, {ASSET.format('bought_')}]"
SQL = {
    "token-volume": f"""
        WITH flows AS (SELECT *, amount_raw::HUGEINT AS units FROM rows WHERE NOT is_fee)
        SELECT coalesce({ASSET.format("")}, contract_id) AS asset,
            count(*) FILTER (event_type = 'transfer') AS transfers,
            coalesce(sum(units) FILTER (event_type = 'transfer'), 0) AS amount,
            max(units) FILTER (event_type = 'transfer') AS largest,
            count(DISTINCT from_address) FILTER (event_type = 'transfer') AS senders,
            count(DISTINCT to_address) FILTER (event_type = 'transfer') AS receivers,
            count(*) FILTER (event_type = 'mint') AS mints,
            count(*) FILTER (event_type = 'burn') AS burns,
            count(*) FILTER (event_type = 'clawback') AS clawbacks,
            coalesce(sum(units) FILTER (event_type = 'mint'), 0) AS minted,
            coalesce(sum(units) FILTER (event_type IN ('burn', 'clawback')), 0) AS destroyed,
            minted - destroyed AS supply_change
        FROM flows GROUP BY 1""",
    "dex-volume": f"""
        WITH pairs AS (
            SELECT *, {ASSET.format("sold_")} AS sold, {ASSET.format("bought_")} AS bought,
                sold = 'native' OR (bought != 'native' AND sold < bought) AS forward
            FROM rows
        ), sides AS (
            SELECT *, if(forward, sold, bought) AS base, if(forward, bought, sold) AS counter,
                if(forward, sold_amount, bought_amount) AS given, if(forward, bought_amount, sold_amount) AS got,
                got / nullif(given, 0) AS price
            FROM pairs
        )
        SELECT base, counter, count(*) AS trades, count(liquidity_pool_id) AS pool_trades,
            count(DISTINCT buyer_account) AS takers, sum(given) AS base_volume, sum(got) AS counter_volume,
            sum(got) / nullif(sum(given), 0) AS average,
            first(price ORDER BY operation_id, "order") FILTER (price IS NOT NULL) AS open,
            max(price) AS high, min(price) AS low,
            last(price ORDER BY operation_id, "order") FILTER (price IS NOT NULL) AS close
        FROM sides GROUP BY 1, 2""",
    "contract-events": """
        SELECT contract_id, count(*) AS events, count(*) FILTER (in_successful_contract_call) AS effective,
            count(DISTINCT topic0) AS names, count(DISTINCT transaction_hash) AS transactions
        FROM rows GROUP BY 1""",
}


@requires_corpus
@pytest.mark.parametrize(("first", "last"), PUBNET)
@pytest.mark.parametrize("name", SQL)
def test_results_of_pubnet_equal_sql(pubnet: str, name: str, first: int, last: int) -> None:
    """SQL over all columns of the stream; its prices are doubles."""
    analysis = next(found for found in ANALYSES if found.name == name)
    with Client(pubnet) as client, duckdb.connect() as connection:
        rows = client.read_table(StreamRequest(analysis.stream, first, last))
        connection.register("rows", rows)
        answer = connection.sql(SQL[name])
        expected = in_order(analysis, [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()])
    prices = {measure.name for measure in analysis.measures if measure.unit == "price"}
    exact = {measure.name for measure in analysis.measures if measure.unit in ("tokens", "stroops")}
    found = analyse(pubnet, analysis, first, last)[-1]["rows"]
    for row in found:
        row.update({name: int(row[name]) for name in exact if row[name] is not None})
        row.update({name: pytest.approx(float(row[name]), rel=1e-14) for name in prices if row[name] is not None})
    assert found == expected
    assert len(found) > 3
