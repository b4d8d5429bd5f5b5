"""Health pages, metrics and what the last minutes brought, of one process and of several."""

from __future__ import annotations

import errno
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from socketserver import TCPServer
from typing import NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stellar_arrow_client.errors import (
    AuthenticationError,
    GapError,
    LimitError,
    PermissionDeniedError,
    UnavailableError,
)
from stellar_arrow_source.errors import DecodeError, SourceUnavailableError
from stellar_arrow_source.monitoring import families, http
from stellar_arrow_source.monitoring.history import History, summed
from stellar_arrow_source.monitoring.http import MonitoringServer, Page, json_page
from stellar_arrow_source.monitoring.merging import merged
from stellar_arrow_source.monitoring.metrics import DRAINING, DROP_REASONS, Metrics, drop_reason
from tests.support.metrics import Clock, samples
from tests.support.serving import wait_until


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


def test_connections_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as one_more:
        assert one_more.recv(1) == b""
    for connection in idle:
        connection.close()

    def answers() -> bool:
        try:
            return request(port, "/health")[0] == 200
        except OSError:
            return False

    wait_until(answers)


def test_who_sends_byte_by_byte_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTION_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")

        def ended() -> bool:
            try:
                connection.sendall(b"a")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(ended)
    assert request(port, "/health")[0] == 200


def test_without_a_descriptor_left_the_server_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that waits would otherwise be tried to be taken all the time."""
    server = MonitoringServer("127.0.0.1", 0, {"/health": lambda: json_page({"status": "ok"})})
    tries = 0

    def none_left(_: object) -> NoReturn:
        nonlocal tries
        tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(TCPServer, "get_request", none_left)
        server.start()
        with suppress(TimeoutError):
            HTTPConnection("127.0.0.1", server.port, timeout=1).request("GET", "/health")
        time.sleep(1)
    assert 1 <= tries < 50
    assert request(server.port, "/health")[0] == 200
    server.close()


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
