"""What the server tells Prometheus about itself, in a registry of its own."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

import pyarrow as pa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stellar_arrow_client import errors as client_errors
from stellar_arrow_source import errors as source_errors
from stellar_arrow_source.monitoring import families
from stellar_arrow_source.monitoring.families import Family, Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter, of no use here

Value = float | Mapping[tuple[str, ...], float] | None
"""Of a metric that is read: its value, those by label values, or None while there is none."""


class Metrics:
    """The metrics of one server; every method may be called from any thread.

    Whatever is called for ledgers or rows is called once for each batch of them.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._streams_started = self._counter(families.STREAMS_STARTED)
        self._streams_ended = self._counter(families.STREAMS_ENDED)
        self._dropped = self._counter(families.STREAMS_DROPPED)
        self._ledgers = self._counter(families.LEDGERS_SERVED)
        self._rows = self._counter(families.ROWS_SERVED)
        self._bytes = self._counter(families.BYTES_SERVED)
        self._send_seconds = self._histogram(families.SEND_SECONDS)
        self._tip_latency = self._histogram(families.TIP_LATENCY)
        self._decoded_ledgers = self._counter(families.LEDGERS_DECODED)
        self._decoded_bytes = self._counter(families.XDR_BYTES_DECODED)
        self._decode_seconds = self._histogram(families.DECODE_SECONDS)
        self._skipped = self._counter(families.EVENTS_SKIPPED)
        self._errors = self._counter(families.ERRORS)
        # There from the beginning: what appears with its first event has not increased, for Prometheus.
        for reason in (*DROP_REASONS.values(), DRAINING):
            self._dropped.labels(reason)
        for code in _error_codes():
            self._errors.labels(code)
        self.publish(families.BUILD_INFO, lambda: {_versions(): 1})
        self.publish(families.ARROW_MEMORY, pa.total_allocated_bytes)
        ProcessCollector(registry=self._registry)

    def publish(self, family: Family, read: Callable[[], Value]) -> None:
        """Publish a counter or gauge whose value is read whenever the metrics are."""
        self._registry.register(_Read(family, read))

    def add_collector(self, collector: Collector) -> None:
        self._registry.register(collector)

    def stream_started(self, stream: str) -> None:
        self._streams_started.labels(stream).inc()

    def stream_ended(self, stream: str, outcome: str) -> None:
        self._streams_ended.labels(stream, outcome).inc()

    def stream_dropped(self, reason: str) -> None:
        self._dropped.labels(reason).inc()

    def served(self, stream: str, ledgers: int, rows: int, nbytes: int, seconds: float) -> None:
        self._ledgers.labels(stream).inc(ledgers)
        self._rows.labels(stream).inc(rows)
        self._bytes.labels(stream).inc(nbytes)
        self._send_seconds.labels(stream).observe(seconds)

    def tip_served(self, stream: str, seconds: float) -> None:
        self._tip_latency.labels(stream).observe(seconds)

    def decoded(self, stream: str, ledgers: int, xdr_bytes: int, seconds: float) -> None:
        self._decoded_ledgers.labels(stream).inc(ledgers)
        self._decoded_bytes.labels(stream).inc(xdr_bytes)
        self._decode_seconds.labels(stream).observe(seconds)

    def skipped(self, stream: str, reason: str, number: int) -> None:
        self._skipped.labels(stream, reason).inc(number)

    def failed(self, code: str) -> None:
        self._errors.labels(code).inc()

    def total(self, family: Family) -> float:
        """The sum of a counter over all its labels."""
        name = family.full_name
        return sum(
            sample.value
            for metric in self._registry.restricted_registry([name]).collect()
            for sample in metric.samples
            if sample.name == name
        )

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.full_name, family.help, family.labels, registry=self._registry)

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(family.full_name, family.help, family.labels, registry=self._registry, buckets=family.buckets)


DROP_REASONS: Mapping[type[Exception], str] = {
    source_errors.SourceUnavailableError: "source",
    client_errors.LimitError: "limit",
    source_errors.StalledClientError: "stalled",
    client_errors.UnavailableError: "unavailable",
    client_errors.GapError: "gap",
    client_errors.IntegrityError: "data",
    client_errors.AuthenticationError: "access",
    Exception: "internal",
}
"""Why a stream is dropped, by the error that it ends with; the first class that fits."""

DRAINING = "draining"


def drop_reason(error: Exception) -> str:
    """The reason to count a stream under that the server ends with ``error``."""
    return next(reason for kind, reason in DROP_REASONS.items() if isinstance(error, kind))


def metric_family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    """What a collector adds the samples of a counter or gauge to."""
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    return kind(family.full_name, family.help, labels=family.labels)


class _Read(Collector):
    """A metric that is read when it is asked for."""

    def __init__(self, family: Family, read: Callable[[], Value]) -> None:
        self._family, self._read = family, read

    def collect(self) -> Iterator[Metric]:
        found = metric_family(self._family)
        value = self._read()
        if value is not None:
            for labels, number in value.items() if isinstance(value, Mapping) else (((), value),):
                found.add_metric(labels, number)
        yield found

    def describe(self) -> Iterable[Metric]:
        return [metric_family(self._family)]


def _versions() -> tuple[str, str, str]:
    return version("stellar-arrow-source"), pa.__version__, platform.python_version()


def _error_codes() -> list[str]:
    base = client_errors.StellarArrowError
    found = {**vars(client_errors), **vars(source_errors)}.values()
    return sorted({kind.__name__ for kind in found if isinstance(kind, type) and issubclass(kind, base)})
