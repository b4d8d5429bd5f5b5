"""Every analysis against plain Python over the rows, and against SQL, on made-up ledgers."""

from __future__ import annotations

import random

import duckdb
import pyarrow as pa
import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.selection import AssetFilter, Selection

from consumers.analytics.tests.made import make_ledgers, run_sink, to_batch
from consumers.analytics.tests.oracle import ORACLES, expected_windows, in_order

BY_NAME = {analysis.name: analysis for analysis in ANALYSES}


def random_cuts(rng: random.Random, count: int) -> list[int]:
    return sorted(rng.sample(range(count), rng.randrange(count)))


SELECTIONS = [
    Selection(),
    Selection(AssetFilter(frozenset({"native"}), frozenset({"USDC"})), threshold=20),
    Selection(AssetFilter(frozenset(), frozenset({"XLM"})), threshold=2**63 - 1),
]


@pytest.mark.parametrize("seed", range(6))
def test_every_result_equals_plain_python(analysis: Analysis, seed: int) -> None:
    rng = random.Random(f"{analysis.name} {seed}")
    ledgers = make_ledgers(rng, analysis.stream, rng.randrange(1, 60))
    minutes, every = rng.choice([1, 2, 7]), rng.choice([1, 30, 60, 600])
    selection = SELECTIONS[seed % len(SELECTIONS)] if "asset" in analysis.options else Selection()
    recorder = run_sink(
        analysis,
        ledgers,
        minutes=minutes,
        every=every,
        selection=selection,
        cuts=random_cuts(rng, len(ledgers)),
    )

    windows = expected_windows(ledgers, minutes, every)
    assert len(recorder.results) == len(windows)
    for result, window in zip(recorder.results, windows, strict=True):
        rows = [row for ledger in window for row in ledger.rows]
        assert result.rows == in_order(analysis, ORACLES[analysis.name](rows, selection))
        assert result.groups == len(result.rows)
        span = result.span
        assert (span.first.sequence, span.last.sequence) == (window[0].sequence, window[-1].sequence)
        assert span.ledgers == len(window)
        assert span.full == (window[0] is not ledgers[0])
    assert [result.final for result in recorder.results] == [False] * (len(windows) - 1) + [True]


@pytest.mark.parametrize("seed", range(3))
def test_batch_boundaries_do_not_matter(analysis: Analysis, seed: int) -> None:
    rng = random.Random(seed)
    ledgers = make_ledgers(rng, analysis.stream, 50)
    outputs = {
        tuple(result.to_json() for result in run_sink(analysis, ledgers, cuts=cuts).results)
        for cuts in ([], range(len(ledgers)), random_cuts(rng, len(ledgers)), random_cuts(rng, len(ledgers)))
    }
    assert len(outputs) == 1


SQL = {
    "payment-volume": """
        SELECT CASE WHEN asset_type = 'native' THEN 'native' ELSE asset_code || ':' || asset_issuer END AS asset,
               count(*) AS payments, sum(amount)::HUGEINT AS amount, max(amount) AS largest
        FROM rows WHERE successful GROUP BY 1""",
    "high-value": """
        SELECT source_account, 'native' AS asset, count(*) AS payments, sum(amount)::HUGEINT AS amount,
               max(amount) AS largest, count(DISTINCT destination) AS receivers
        FROM rows WHERE successful AND asset_type = 'native' AND amount >= 10000000000 GROUP BY 1""",
    "account-activity": """
        SELECT source_account, operation_type_string AS operation_type, count(*) AS operations,
               count(*) FILTER (successful) AS succeeded, count(*) FILTER (NOT successful) AS failed
        FROM rows GROUP BY ALL""",
    "contract-activity": """
        SELECT contract_id, function_name, count(*) AS calls, count(*) FILTER (successful) AS succeeded,
               count(*) FILTER (NOT successful) AS failed,
               round(count(*) FILTER (successful) / count(*), 6) AS success_rate,
               count(DISTINCT source_account) AS callers
        FROM rows WHERE host_function_type = 'HOST_FUNCTION_TYPE_INVOKE_CONTRACT' GROUP BY ALL""",
}


@pytest.mark.parametrize("name", SQL)
def test_final_result_equals_sql(name: str) -> None:
    analysis, rng = BY_NAME[name], random.Random(name)
    ledgers = make_ledgers(rng, analysis.stream, 120, most_rows=40)
    result = run_sink(analysis, ledgers, minutes=60, cuts=random_cuts(rng, len(ledgers))).results[-1]
    batch, _ = to_batch(analysis, ledgers)
    last = ledgers[-1].closed
    rows = pa.Table.from_batches([batch])
    with duckdb.connect() as connection:
        connection.register("everything", rows)
        connection.execute(
            "CREATE TEMP VIEW rows AS SELECT * FROM everything "
            f"WHERE ledger_close_time > TIMESTAMPTZ '{last}' - INTERVAL 60 MINUTE"
        )
        answer = connection.sql(SQL[name])
        found = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    assert result.rows == in_order(analysis, found)
    assert result.groups > 1


def test_percentiles_equal_sql() -> None:
    analysis, rng = BY_NAME["fees"], random.Random("fees")
    ledgers = make_ledgers(rng, "transactions", 60, most_rows=30)
    result = run_sink(analysis, ledgers, minutes=600).results[-1]
    batch, _ = to_batch(analysis, ledgers)
    with duckdb.connect() as connection:
        connection.register("rows", pa.Table.from_batches([batch]))
        answer = connection.sql(
            "SELECT quantile_disc(fee_charged, [0.5, 0.9, 0.99]) FROM rows "
            "GROUP BY resource_fee IS NULL ORDER BY count(*) DESC"
        ).fetchall()
    assert [[row["p50"], row["p90"], row["p99"]] for row in result.rows] == [row[0] for row in answer]
