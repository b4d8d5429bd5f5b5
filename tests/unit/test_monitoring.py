"""Health pages, metrics and analytics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.http import MonitoringServer, Page, json_page
from stellar_arrow_source.monitoring.metrics import Metrics


def failing() -> Page:
    raise RuntimeError("secret of the inside")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = MonitoringServer("127.0.0.1", 0, {"/health": lambda: json_page({"status": "ok"}), "/failing": failing})
    server.start()
    yield server.port
    server.close()


def request(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    answer = response.status, response.headers["Content-Type"], response.read().decode()
    connection.close()
    return answer


def test_pages_are_served(port: int) -> None:
    assert request(port, "/health") == (200, "application/json", '{"status": "ok"}\n')
    assert request(port, "/health?x=1")[0] == 200
    assert request(port, "/health", "HEAD") == (200, "application/json", "")


def test_unknown_pages_and_methods_are_refused(port: int) -> None:
    status, _, body = request(port, "/../etc/passwd")
    assert status == 404
    assert json.loads(body)["pages"] == ["/failing", "/health"]
    assert request(port, "/health", "POST")[0] == 501


def test_failing_page_tells_nothing_of_the_inside(port: int) -> None:
    status, _, body = request(port, "/failing")
    assert status == 500
    assert "secret" not in body


@pytest.mark.parametrize("sent", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"x" * 70_000 + b"\r\n\r\n", b""])
def test_garbage_does_not_stop_the_server(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
    assert request(port, "/health")[0] == 200


def samples(exposition: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
    }


def test_metrics_add_up() -> None:
    metrics = Metrics()
    metrics.add_gauge("stellar_arrow_streams_open", "Open streams.", lambda: 3)
    metrics.stream_started("payments")
    metrics.served("payments", ledgers=2, rows=30, nbytes=400)
    metrics.served("payments", ledgers=1, rows=5, nbytes=50)
    metrics.served("ledgers", ledgers=1, rows=1, nbytes=5)
    metrics.decoded("payments", ledgers=3, xdr_bytes=900, seconds=0.03)
    metrics.failed("DecodeError")
    found = samples(metrics.exposition())
    assert found["stellar_arrow_streams_open", ()] == 3
    assert found["stellar_arrow_streams_started_total", ("payments",)] == 1
    assert found["stellar_arrow_ledgers_served_total", ("payments",)] == 3
    assert found["stellar_arrow_rows_served_total", ("payments",)] == 35
    assert found["stellar_arrow_bytes_served_total", ("payments",)] == 450
    assert found["stellar_arrow_rows_served_total", ("ledgers",)] == 1
    assert found["stellar_arrow_xdr_bytes_decoded_total", ("payments",)] == 900
    assert found["stellar_arrow_decode_seconds_sum", ("payments",)] == pytest.approx(0.03)
    assert found["stellar_arrow_errors_total", ("DecodeError",)] == 1


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
