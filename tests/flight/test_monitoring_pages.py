"""What the server says of itself over HTTP is what its clients saw."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyarrow import flight

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.errors import SourceUnavailableError
from tests.support.serving import ScriptedSource, ledger_bytes, serving, wait_until


def page(service: Any, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", service.health_port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def metrics(service: Any) -> dict[tuple[str, str], float]:
    """(name without prefix, value of the first label or "") → value."""
    return {
        (sample.name.removeprefix("stellar_arrow_"), next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(page(service, "/metrics")[1])
        for sample in family.samples
    }


def test_metrics_are_what_clients_received() -> None:
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence, rows=3, padding=92))
    with serving(source) as service, Client(service.location) as client:
        received = [[batch for batch, _ in client.stream(StreamRequest("numbers", 1, 200))] for _ in range(2)]
        wait_until(lambda: metrics(service)["streams_open", ""] == 0)
        source.failures[50] = SourceUnavailableError("gone")
        reader = client._open(StreamRequest("ledgers", 50, 60))
        with pytest.raises(flight.FlightUnavailableError):
            reader.read_all()
        found = metrics(service)
    assert found["rows_served_total", "numbers"] == sum(batch.num_rows for table in received for batch in table) == 1200
    assert found["bytes_served_total", "numbers"] == sum(len(b.serialize()) for table in received for b in table)
    assert found["ledgers_served_total", "numbers"] == 400
    assert found["ledgers_decoded_total", "numbers"] == 400
    assert found["xdr_bytes_decoded_total", "numbers"] == 400 * 100
    assert found["streams_started_total", "numbers"] == 2
    assert found["decode_seconds_count", "numbers"] >= 4
    assert found["errors_total", "SourceUnavailableError"] == 1
    assert found["newest_ledger", ""] == 1000
    assert found["ready", ""] == 1


def test_open_streams_and_read_ahead_bytes_are_told() -> None:
    source = ScriptedSource(latest=100_000, make=lambda sequence: ledger_bytes(sequence, rows=50, padding=992))
    with serving(source, prefetch_bytes=1 << 20) as service, flight.FlightClient(service.location) as client:
        reader = client.do_get(flight.Ticket(b"numbers:1:"))
        reader.read_chunk()
        wait_until(lambda: metrics(service)["prefetch_bytes", ""] > 900_000)
        assert metrics(service)["streams_open", ""] == 1
        reader.cancel()
        wait_until(lambda: metrics(service)["streams_open", ""] == 0)
        assert metrics(service)["prefetch_bytes", ""] == 0


def test_ready_page_says_why_not() -> None:
    source = ScriptedSource()
    with serving(source) as service:
        assert page(service, "/ready") == (200, '{"ready": true, "source_state": "ok", "reasons": []}\n')
        source.unavailable = SourceUnavailableError("the source is away")
        wait_until(lambda: page(service, "/ready")[0] == 503)
        told = json.loads(page(service, "/ready")[1])
        assert told == {"ready": False, "source_state": "unreachable", "reasons": ["the source is away"]}
        assert page(service, "/health")[0] == 200


def test_analytics_count_each_ledger_once_whatever_columns_are_asked_for() -> None:
    with serving(enable_analytics=True) as service, Client(service.location) as client:
        for columns in (None, ("ledger_sequence",)):
            table = client.read_table(StreamRequest("ledgers", 1, 100, columns=columns))
            assert table.num_rows == 100
            assert table.num_columns == (3 if columns is None else 1)
        client.read_table(StreamRequest("transactions", 1, 10, columns=("ledger_sequence",)))
        streams = json.loads(page(service, "/analytics")[1])["streams"]
        exposed = page(service, "/metrics")[1]
    assert streams["ledgers"]["1m"]["ledgers"] == 100
    assert streams["ledgers"]["1m"]["transactions"] == {"total": 200, "successful": 100, "success_rate": 0.5}
    assert streams["transactions"]["15m"]["transactions"]["total"] == 20
    assert 'stellar_arrow_analytics_success_ratio{of="transactions",stream="ledgers",window="1m"} 0.5' in exposed


def test_without_analytics_there_is_no_such_page() -> None:
    with serving() as service:
        assert page(service, "/analytics")[0] == 404


def test_health_over_flight_and_http_is_one() -> None:
    with serving() as service, Client(service.location) as client:
        over_flight, over_http = client.health(), json.loads(page(service, "/health")[1])
    for report in (over_flight, over_http):
        assert report.pop("uptime_seconds") > 0
    assert over_flight == over_http


def test_streams_go_over_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
            " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        ).split(),
        check=True,
        capture_output=True,
    )
    with serving(tls_cert=cert, tls_key=key) as service:
        assert service.location.startswith("grpc+tls://")
        end = metrics(service)["tls_certificate_expiry_timestamp_seconds", ""]
        text = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", cert], capture_output=True, text=True)
        assert end == ssl.cert_time_to_seconds(text.stdout.strip().removeprefix("notAfter="))
        with Client(service.location, tls_roots=cert.read_bytes()) as client:
            assert client.read_table(StreamRequest("numbers", 1, 10)).num_rows == 20
        presented = ssl.get_server_certificate(("127.0.0.1", service.port))
        assert presented.split() == cert.read_text().split()


def test_monitoring_can_have_an_address_of_its_own() -> None:
    with serving(health_host="127.0.0.2") as service:
        with urllib.request.urlopen(f"http://127.0.0.2:{service.health_port}/ready", timeout=10) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(f"http://127.0.0.1:{service.health_port}/ready", timeout=10)
        with Client(service.location) as client:
            assert client.health()["ready"]
