"""What the data that passes tells: rates, success, mix, by sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.merging import merged_analytics
from stellar_arrow_source.monitoring.metrics import Metrics
from tests.support.metrics import Clock, samples


def observe_operations(analytics: LedgerAnalytics, first: int, ledgers: int) -> None:
    """Each ledger has two payments, of which one succeeds, and one failed create_account."""
    types = ["payment", "payment", "create_account"] * ledgers
    batch = pa.RecordBatch.from_pydict({"successful": [True, False, False] * ledgers, "operation_type_string": types})
    sequences = np.arange(first, first + ledgers, dtype=np.uint32)
    analytics.observe("operations", sequences, batch, np.arange(1, ledgers + 1, dtype=np.int64) * 3)


def window(analytics: LedgerAnalytics, name: str, stream: str = "operations") -> dict[str, Any]:
    figures: dict[str, Any] = analytics.report()["streams"][stream][name]
    return figures


def test_analytics_tell_rates_success_and_mix() -> None:
    clock = Clock()
    analytics = LedgerAnalytics(clock)
    observe_operations(analytics, 100, 10)
    clock.now += 20
    observe_operations(analytics, 110, 10)
    assert window(analytics, "1m") == {
        "ledgers": 20,
        "ledgers_per_second": 1.0,
        "rows": 60,
        "operations": {
            "total": 60,
            "successful": 20,
            "success_rate": pytest.approx(1 / 3),
            "by_type": {"payment": 40, "create_account": 20},
        },
    }


def test_a_ledger_counts_once_however_many_clients_read_it() -> None:
    clock = Clock()
    analytics = LedgerAnalytics(clock)
    observe_operations(analytics, 100, 10)
    observe_operations(analytics, 100, 10)
    observe_operations(analytics, 95, 20)
    clock.now += 30
    observe_operations(analytics, 90, 30)
    figures = window(analytics, "5m")
    assert figures["ledgers"] == 30
    assert figures["operations"]["by_type"] == {"payment": 60, "create_account": 30}


def test_windows_slide() -> None:
    clock = Clock()
    analytics = LedgerAnalytics(clock)
    observe_operations(analytics, 100, 10)
    clock.now += 100
    observe_operations(analytics, 110, 5)
    assert [window(analytics, name)["ledgers"] for name in ("1m", "5m", "15m")] == [5, 15, 15]
    clock.now += 250
    assert [window(analytics, name)["ledgers"] for name in ("1m", "5m", "15m")] == [0, 5, 15]
    assert "operations" not in window(analytics, "1m")
    clock.now += 600
    observe_operations(analytics, 110, 5)
    assert [window(analytics, name)["ledgers"] for name in ("1m", "5m", "15m")] == [0, 0, 5]


def test_each_stream_tells_what_it_can() -> None:
    analytics = LedgerAnalytics(Clock())
    sequences, ends = np.array([7, 8], np.uint32), np.array([1, 2])
    counts = {"transaction_count": [10, 20], "successful_transaction_count": [5, 10]}
    analytics.observe("ledgers", sequences, pa.RecordBatch.from_pydict(counts), ends)
    analytics.observe("transactions", sequences, pa.RecordBatch.from_pydict({"successful": [True, False]}), ends)
    analytics.observe("others", sequences, pa.RecordBatch.from_pydict({"x": [1, 2]}), ends)
    assert window(analytics, "1m", "ledgers")["transactions"] == {
        "total": 30, "successful": 15, "success_rate": 0.5
    }  # fmt: skip
    assert window(analytics, "1m", "transactions")["transactions"]["total"] == 2
    assert window(analytics, "1m", "others") == {"ledgers": 2, "ledgers_per_second": 2.0, "rows": 2}


def test_analytics_are_among_the_metrics() -> None:
    metrics, analytics = Metrics(), LedgerAnalytics(Clock())
    metrics.add_collector(analytics)
    observe_operations(analytics, 100, 10)
    found = samples(metrics.exposition())
    # Labels come in alphabetical order: of, operation_type, stream, window.
    assert found["stellar_arrow_analytics_ledgers_per_second", ("operations", "1m")] == 10
    assert found["stellar_arrow_analytics_count", ("operations", "operations", "5m")] == 30
    assert found["stellar_arrow_analytics_success_ratio", ("operations", "operations", "5m")] == pytest.approx(1 / 3)
    assert found["stellar_arrow_analytics_operations", ("payment", "operations", "15m")] == 20


def test_a_long_backfill_needs_little_memory() -> None:
    clock = Clock()
    analytics = LedgerAnalytics(clock)
    for first in range(100, 20_100, 20):
        clock.now += 1
        observe_operations(analytics, first, 20)
    kept = analytics._windows["operations"]._seconds
    assert len(kept) == 900
    assert all(len(second.spans) == 1 for second in kept)
    assert window(analytics, "15m")["ledgers"] == 18_000


def test_figures_of_several_processes_are_one() -> None:
    clock = Clock()
    one, two, three = LedgerAnalytics(clock), LedgerAnalytics(clock), LedgerAnalytics(clock)
    observe_operations(one, 100, 10)
    observe_operations(two, 110, 30)
    sequences, ends = np.array([7, 8], np.uint32), np.array([1, 2])
    two.observe("others", sequences, pa.RecordBatch.from_pydict({"x": [1, 2]}), ends)
    clock.now += 20
    whole = merged_analytics([one.report(), two.report(), three.report()])["streams"]
    assert whole["operations"]["1m"] == {
        "ledgers": 40,
        "ledgers_per_second": 2.0,
        "rows": 120,
        "operations": {
            "total": 120,
            "successful": 40,
            "success_rate": pytest.approx(1 / 3),
            "by_type": {"payment": 80, "create_account": 40},
        },
    }
    assert whole["others"]["15m"]["rows"] == 2
    assert merged_analytics([one.report()]) == one.report()
