"""What the server tells Prometheus about itself, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DECODE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one server; every method may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._streams_started = self._counter("streams_started", "Streams begun.")
        self._ledgers = self._counter("ledgers_served", "Ledgers completed on the wire, counted for each client.")
        self._rows = self._counter("rows_served", "Rows put on the wire.")
        self._bytes = self._counter("bytes_served", "Arrow bytes put on the wire, before compression.")
        self._decoded_ledgers = self._counter("ledgers_decoded", "Ledgers decoded.")
        self._decoded_bytes = self._counter("xdr_bytes_decoded", "XDR bytes decoded.")
        self._skipped = self._counter(
            "events_skipped", "Decoded events that gave no row although their kind should.", "stream", "reason"
        )
        self._errors = self._counter("errors", "Failed calls and streams.", "code")
        self._decode_seconds = Histogram(
            "stellar_arrow_decode_seconds",
            "Time of one decode call.",
            ("stream",),
            registry=self._registry,
            buckets=DECODE_BUCKETS,
        )
        build = Gauge("stellar_arrow_build_info", "Version of the server.", ("version",), registry=self._registry)
        build.labels(version("stellar-arrow-source")).set(1)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"stellar_arrow_{name}", description, labels or ("stream",), registry=self._registry)

    def add_gauge(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Publish a value that is read whenever the metrics are."""
        Gauge(name, description, registry=self._registry).set_function(value)

    def add_collector(self, collector: Collector) -> None:
        self._registry.register(collector)

    def stream_started(self, stream: str) -> None:
        self._streams_started.labels(stream).inc()

    def served(self, stream: str, ledgers: int, rows: int, nbytes: int) -> None:
        self._ledgers.labels(stream).inc(ledgers)
        self._rows.labels(stream).inc(rows)
        self._bytes.labels(stream).inc(nbytes)

    def decoded(self, stream: str, ledgers: int, xdr_bytes: int, seconds: float) -> None:
        self._decoded_ledgers.labels(stream).inc(ledgers)
        self._decoded_bytes.labels(stream).inc(xdr_bytes)
        self._decode_seconds.labels(stream).observe(seconds)

    def skipped(self, stream: str, reason: str, number: int) -> None:
        self._skipped.labels(stream, reason).inc(number)

    def failed(self, code: str) -> None:
        self._errors.labels(code).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
