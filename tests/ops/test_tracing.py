"""Traces: off without a trace of them, and on as the OTEL_* variables ask for."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from pyarrow import flight

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_source import tracing
from tests.support.serving import ScriptedSource, serving, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", *tracing._ENDPOINTS, *tracing._PROTOCOLS):
        monkeypatch.delenv(name, raising=False)


class Collector:
    """What an OTLP collector receives over HTTP."""

    def __init__(self) -> None:
        collector = self
        self.requests: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(
                    gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def resources(self) -> list[object]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        return [
            found for request in self.requests for found in ExportTraceServiceRequest.FromString(request).resource_spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    running = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
    yield running
    running.close()


def get(location: str, ticket: bytes, *headers: tuple[bytes, bytes]) -> int:
    with flight.FlightClient(location) as client:
        options = flight.FlightCallOptions(headers=list(headers), timeout=30)
        return sum(chunk.data.num_rows for chunk in client.do_get(flight.Ticket(ticket), options))


def test_nothing_is_loaded_when_nobody_asks() -> None:
    code = (
        "import sys, stellar_arrow_source.flight.service, stellar_arrow_source.tracing as t;"
        "assert t.open_tracing() is None;"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_what_turns_traces_on(
    environment: dict[str, str], exporter: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.wanted_exporter() == exporter


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "must be otlp, console or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, "http/protobuf or grpc"),
    ],
)
def test_what_does_not_exist_is_refused(
    environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidRequestError, match=says):
        tracing.open_tracing()


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for name in ("opentelemetry.sdk.resources", "opentelemetry.sdk.trace", "opentelemetry.sdk.trace.export"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidRequestError, match=r"stellar-arrow-source\[otel\]"):
        tracing.open_tracing()


def test_a_stream_with_its_steps_in_the_trace_of_the_caller(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=ours")
    with serving() as service:
        header = f"00-{TRACE}-{PARENT}-01".encode()
        assert (
            get(service.location, b"numbers:1:250", (b"traceparent", header), (b"authorization", b"Bearer s3cret"))
            == 500
        )
    wait_until(lambda: collector.requests, 10)
    [found] = collector.resources()
    resource = {pair.key: pair.value.string_value for pair in found.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment"]) == ("ours", "test")
    assert resource["service.version"]
    spans = [span for scope in found.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    [stream] = [span for span in spans if span.name == "DoGet numbers"]
    assert stream.parent_span_id.hex() == PARENT
    facts = {pair.key: pair.value for pair in stream.attributes}
    assert facts["stellar.stream"].string_value == "numbers"
    assert (facts["stellar.start"].int_value, facts["stellar.rows"].int_value) == (1, 500)
    assert facts["stellar.outcome"].string_value == "complete"
    for name in ("fetch", "decode", "send"):
        steps = [span for span in spans if span.name == name]
        assert {span.parent_span_id for span in steps} == {stream.span_id}
        ranges = [{pair.key: pair.value.int_value for pair in span.attributes} for span in steps]
        covered = sorted((one["stellar.first"], one["stellar.last"]) for one in ranges)
        assert covered[0][0] == 1
        assert covered[-1][1] == 250
        assert all(after[0] == before[1] + 1 for before, after in pairwise(covered))
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in steps)
    assert b"s3cret" not in b"".join(collector.requests)


def test_a_stream_that_fails_says_how(collector: Collector) -> None:
    source = ScriptedSource()
    source.failures[20] = RuntimeError("disk on fire")
    with serving(source) as service, pytest.raises(flight.FlightInternalError):
        get(service.location, b"numbers:1:50", (b"traceparent", b"not-a-traceparent"))
    wait_until(lambda: collector.requests, 10)
    spans = [span for found in collector.resources() for scope in found.scope_spans for span in scope.spans]
    [stream] = [span for span in spans if span.name.startswith("DoGet")]
    assert stream.parent_span_id == b""
    assert stream.status.code == stream.status.STATUS_CODE_ERROR
    assert {pair.key: pair.value.string_value for pair in stream.attributes}["error.type"] == "RuntimeError"


def test_a_collector_that_is_away_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.3)
    with serving() as service:
        assert get(service.location, b"numbers:1:10") == 20


def test_spans_for_people_go_to_stderr() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    assert tracing._exporter("console").out is sys.stderr  # type: ignore[attr-defined]
