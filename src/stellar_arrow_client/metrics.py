"""Prometheus metrics of a run, served while it lasts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.progress import Progress

log = logging.getLogger(__name__)

_PREFIX = "stellar_arrow_consumer_"


@contextmanager
def serving_metrics(streams: Sequence[Progress], host: str, port: int | None) -> Iterator[None]:
    """Serve the counters of ``streams`` on ``http://host:port/metrics``; not at all when port is None.

    Raises:
        StellarArrowError: the port cannot be had.
    """
    if port is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    # A consumer may read several ranges of a stream at the same time: the one that is furthest behind counts.
    by_name = {
        stream: [one for one in streams if one.stream == stream]
        for stream in dict.fromkeys(one.stream for one in streams)
    }

    class Streams(Collector):
        def collect(self) -> Iterator[Metric]:
            counters = {
                "rows": "Rows handed to the sink.",
                "ledgers": "Ledgers handed to the sink.",
                "reconnects": "Breaks of the stream that were resumed.",
            }
            for name, text in counters.items():
                counter = CounterMetricFamily(_PREFIX + name, text, labels=["stream"])
                for stream, ranges in by_name.items():
                    counter.add_metric([stream], sum(getattr(progress, name) for progress in ranges))
                yield counter
            gauges = {
                "next_ledger": "First ledger not yet handed to the sink.",
                "durable": "First ledger that the sink has not yet made durable.",
                "lag_seconds": "Age of the newest row.",
            }
            for name, text in gauges.items():
                gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["stream"])
                for stream, ranges in by_name.items():
                    values = [getattr(progress, name) for progress in ranges]
                    if None not in values:
                        gauge.add_metric([stream], min(values))
                yield gauge

    registry = CollectorRegistry()
    registry.register(Streams())
    try:
        server, _thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StellarArrowError(
            f"cannot serve metrics on {host}:{port} ({error.strerror}); choose another --metrics-port"
        ) from None
    log.info("serving metrics", extra={"url": f"http://{host}:{server.server_port}/metrics"})
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
