"""Health pages, metrics and analytics."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stellar_arrow_client.errors import (
    AuthenticationError,
    GapError,
    LimitError,
    PermissionDeniedError,
    UnavailableError,
)
from stellar_arrow_client.request import Cursor
from stellar_arrow_source.errors import DecodeError, SourceUnavailableError
from stellar_arrow_source.monitoring import families
from stellar_arrow_source.monitoring.activity import IDLE_SECONDS, MOST_CLIENTS, Activity, OpenStream
from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.history import History, summed
from stellar_arrow_source.monitoring.http import MonitoringServer, Page, json_page
from stellar_arrow_source.monitoring.merging import merged
from stellar_arrow_source.monitoring.metrics import DRAINING, DROP_REASONS, Metrics, drop_reason
from stellar_arrow_source.monitoring.tip import Tip


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
    metrics.publish(families.STREAMS_OPEN, lambda: 3)
    metrics.publish(families.SOURCE_RETRIES, lambda: {("grpc",): 4})
    metrics.publish(families.TIP_LAG_SECONDS, lambda: None)
    metrics.stream_started("payments")
    metrics.served("payments", ledgers=2, rows=30, nbytes=400, seconds=0.5)
    metrics.served("payments", ledgers=1, rows=5, nbytes=50, seconds=0.25)
    metrics.served("ledgers", ledgers=1, rows=1, nbytes=5, seconds=0)
    metrics.decoded("payments", ledgers=3, xdr_bytes=900, seconds=0.03)
    metrics.failed("DecodeError")
    found = samples(metrics.exposition())
    assert found["stellar_arrow_streams_open", ()] == 3
    assert found["stellar_arrow_source_retries_total", ("grpc",)] == 4
    assert ("stellar_arrow_tip_lag_seconds", ()) not in found
    assert found["stellar_arrow_streams_started_total", ("payments",)] == 1
    assert found["stellar_arrow_ledgers_served_total", ("payments",)] == 3
    assert found["stellar_arrow_rows_served_total", ("payments",)] == 35
    assert found["stellar_arrow_bytes_served_total", ("payments",)] == 450
    assert found["stellar_arrow_rows_served_total", ("ledgers",)] == 1
    assert found["stellar_arrow_send_seconds_sum", ("payments",)] == 0.75
    assert found["stellar_arrow_xdr_bytes_decoded_total", ("payments",)] == 900
    assert found["stellar_arrow_decode_seconds_sum", ("payments",)] == pytest.approx(0.03)
    assert found["stellar_arrow_errors_total", ("DecodeError",)] == 1
    assert metrics.total(families.ROWS_SERVED) == 36
    assert metrics.total(families.SOURCE_RETRIES) == 4


def test_what_can_fail_is_counted_from_zero() -> None:
    found = samples(Metrics().exposition())
    for error in ("SourceUnavailableError", "DecodeError", "LimitError", "GapError", "AuthenticationError"):
        assert found["stellar_arrow_errors_total", (error,)] == 0
    for reason in ("draining", "source", "limit", "data", "access", "gap", "internal", "unavailable"):
        assert found["stellar_arrow_streams_dropped_total", (reason,)] == 0
    assert found["process_resident_memory_bytes", ()] > 10 << 20


def test_the_reference_names_every_reason() -> None:
    for reason in (*DROP_REASONS.values(), DRAINING):
        assert re.search(rf"\b{reason}\b", families.STREAMS_DROPPED.help)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SourceUnavailableError("gone"), "source"),
        (LimitError("enough"), "limit"),
        (UnavailableError("busy"), "unavailable"),
        (GapError("hole"), "gap"),
        (DecodeError("bad", ledger=1, index=0, offset=0, path="x"), "data"),
        (AuthenticationError("who?"), "access"),
        (PermissionDeniedError("no"), "access"),
        (ValueError("oops"), "internal"),
    ],
)
def test_each_error_is_a_reason_to_drop_a_stream(error: Exception, reason: str) -> None:
    assert drop_reason(error) == reason


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


class Served:
    """An activity whose clock a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.metrics = Metrics()
        self.tip = Tip(lambda: self.now, lambda: 1_700_000_000.0)
        self.activity = Activity(self.metrics, self.tip, lambda: self.now)

    def send(self, opened: OpenStream, first: int, last: int, nbytes: int = 10) -> None:
        self.activity.sent(opened, Cursor(first, last), 1, nbytes, 0.0)

    def found(self) -> dict[tuple[str, tuple[str, ...]], float]:
        return {
            (name.removeprefix("stellar_arrow_"), labels): value
            for (name, labels), value in samples(self.metrics.exposition()).items()
        }


def test_streams_and_lag_are_told_by_client() -> None:
    served = Served()
    served.tip.reach(100)
    with (
        served.activity.stream("payments", "alice", 50, None) as live,
        served.activity.stream("payments", "alice", 1, 80) as bounded,
        served.activity.stream("ledgers", "bob", 90, None) as other,
    ):
        served.send(live, 50, 95, 500)
        served.send(bounded, 1, 10, 7)
        served.send(other, 90, 99)
        found = served.found()
        assert found["clients_connected", ()] == 2
        assert found["client_streams_open", ("alice",)] == 2
        assert found["client_ledgers_served_total", ("alice",)] == 56
        assert found["client_bytes_served_total", ("alice",)] == 507
        assert found["client_lag_ledgers", ("alice",)] == 5
        assert found["tip_lag_ledgers", ()] == found["client_lag_ledgers", ("bob",)] == 1
        assert [stream["client"] for stream in served.activity.report()] == ["alice", "bob", "alice"]
        live.outcome = "complete"
        served.activity.dropped(bounded, SourceUnavailableError("gone"), draining=False)
        served.activity.dropped(other, UnavailableError("bye"), draining=True)
    found = served.found()
    assert found["clients_connected", ()] == found["tip_lag_ledgers", ()] == 0
    assert found["client_bytes_served_total", ("alice",)] == 507
    # Labels come in alphabetical order: outcome, stream.
    assert found["streams_ended_total", ("complete", "payments")] == 1
    assert found["streams_ended_total", ("dropped", "payments")] == 1
    assert found["streams_dropped_total", ("source",)] == found["streams_dropped_total", ("draining",)] == 1


def test_clients_told_apart_are_bounded_and_no_byte_is_lost() -> None:
    served = Served()
    for number in range(MOST_CLIENTS + 20):
        with served.activity.stream("ledgers", f"client-{number}", 1, 10) as opened:
            served.send(opened, 1, 10)
        served.now += 1
    found = served.found()
    names = {labels[0] for name, labels in found if name == "client_bytes_served_total"}
    assert names == {"other", *(f"client-{number}" for number in range(MOST_CLIENTS))}
    assert found["client_bytes_served_total", ("other",)] == 200
    served.now += IDLE_SECONDS - 60
    with served.activity.stream("ledgers", "late", 1, 10) as opened:
        served.send(opened, 1, 10)
    found = served.found()
    assert found["client_bytes_served_total", ("late",)] == 10
    assert ("client_bytes_served_total", ("client-0",)) not in found
    assert found["client_bytes_served_total", ("other",)] == 210
    assert sum(v for (name, _), v in found.items() if name == "client_bytes_served_total") == 10 * (MOST_CLIENTS + 21)


def test_latency_is_that_of_ledgers_that_were_waited_for() -> None:
    served = Served()
    served.tip.see(10, 0)
    served.now += 60
    with served.activity.stream("ledgers", "alice", 1, None) as opened:
        served.now += 1
        served.send(opened, 1, 10)  # it had been there
        served.now += 1
        served.tip.see(11, 0)
        served.now += 0.004
        served.send(opened, 11, 11)
        served.send(opened, 12, 11)  # a heartbeat
    found = served.found()
    assert found["tip_latency_seconds_count", ("ledgers",)] == 1
    assert found["tip_latency_seconds_sum", ("ledgers",)] == pytest.approx(0.004)


class Hands:
    """Clocks that a test sets: monotonic and wall clock."""

    def __init__(self) -> None:
        self.now, self.date = 10.0, 1_700_000_000.0

    def tip(self) -> Tip:
        return Tip(lambda: self.now, lambda: self.date)


def test_a_tip_that_moves_is_live_and_stands_still_from_its_last_move() -> None:
    clock = Hands()
    tip = clock.tip()
    assert (tip.newest, tip.live, tip.still_seconds(), tip.lag_seconds()) == (None, False, 0, None)
    tip.reach(100)
    clock.now += 50
    tip.reach(100)
    assert (tip.live, tip.still_seconds()) == (False, 0)
    tip.reach(101)
    tip.reach(99)
    clock.now += 7
    assert (tip.newest, tip.live, tip.still_seconds()) == (101, True, 7)


def test_lag_is_told_by_the_newest_ledger_that_came() -> None:
    clock = Hands()
    tip = clock.tip()
    tip.see(7, int(clock.date) - 30)
    tip.see(5, int(clock.date) - 5)
    assert (tip.seen, tip.close_time, tip.lag_seconds()) == (7, int(clock.date) - 30, 30)
    tip.see(8, int(clock.date) + 2)  # clocks differ
    assert tip.lag_seconds() == 0


def test_a_recent_first_ledger_makes_a_source_live_an_old_one_does_not() -> None:
    clock = Hands()
    for age, live in ((60, True), (86_400, False)):
        tip = clock.tip()
        tip.reach(5)
        tip.see(5, int(clock.date) - age)
        clock.now += 90
        assert (tip.live, tip.still_seconds()) == (live, 90 if live else 0)


def test_history_keeps_rates_and_levels() -> None:
    clock, total, level = Clock(), [0.0], [None, 3.5]
    history = History({"rows": lambda: total[0]}, {"lag": lambda: level.pop(0)}, clock)
    clock.now += 5
    total[0] += 50
    history.sample()
    clock.now += 10
    history.sample()
    assert history.report()["points"] == [{"rows": 10.0, "lag": None}, {"rows": 0.0, "lag": 3.5}]


def test_history_is_bounded() -> None:
    history = History({}, {"lag": lambda: 1.0}, Clock())
    for _ in range(1000):
        history.sample()
    assert len(history.report()["points"]) == 120


def test_histories_of_several_servers_are_one() -> None:
    own = [{"rows": 1.0, "lag": 9.0}, {"rows": 2.0, "lag": 8.0}, {"rows": 3.0, "lag": 7.0}]
    younger = [{"rows": 10.0, "lag": 1.0}, {"rows": 20.0, "lag": None}]
    older = [{"rows": 100.0, "lag": 1.0}] * 5
    assert summed([own, younger, older], ["rows"]) == [
        {"rows": 101.0, "lag": 9.0},
        {"rows": 112.0, "lag": 8.0},
        {"rows": 123.0, "lag": 7.0},
    ]
    assert summed([[], younger], ["rows"]) == []


def test_metrics_of_workers_stand_beside_the_servers_own() -> None:
    own, one, two = Metrics(), Metrics(), Metrics()
    for number, metrics in enumerate((own, one, two), 1):
        metrics.publish(families.STREAMS_OPEN, lambda number=number: number)
        metrics.publish(families.CLIENT_LEDGERS, lambda: {('a } "b" \\ \n c, worker="9"',): 5})
        metrics.decoded("payments", number, 10, 0.1)
    two.publish(families.AUTH_FILE_VALID, lambda: 1)  # which the server itself has not
    pages = {"1": one.exposition(), "2": two.exposition()}
    expected = {
        (sample.name, frozenset({**sample.labels, **({"worker": worker} if worker else {})}.items()), sample.value)
        for worker, page in (("", own.exposition()), *pages.items())
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if not sample.name.startswith("process_")
    }
    both = merged(own.exposition(), pages).decode()
    found = list(text_string_to_metric_families(both))
    assert {
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in found
        for sample in family.samples
        if not sample.name.startswith("process_")
    } == expected
    assert len({family.name for family in found}) == len(found)
    for family in found:
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
    assert merged(own.exposition(), {}).startswith(b"# HELP")
