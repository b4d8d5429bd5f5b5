"""What the service counts, for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from stellar_arrow_client.errors import StellarArrowError

_log = logging.getLogger(__name__)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = Gauge("ttp_processor_active_calls", "Calls being served.", registry=self.registry)
        self.calls = Counter("ttp_processor_calls", "Calls that ended, by status.", ["status"], registry=self.registry)
        self.events = Counter("ttp_processor_events", "Events sent.", registry=self.registry)
        self.bytes = Counter("ttp_processor_bytes", "Bytes of messages sent.", registry=self.registry)
        self.reconnects = Counter(
            "ttp_processor_reconnects", "Breaks of a stream of the Flight server.", registry=self.registry
        )
        self.reachable = Gauge(
            "ttp_processor_server_reachable", "Whether the Flight server answers.", registry=self.registry
        )

    @contextmanager
    def served(self, host: str, port: int | None) -> Iterator[None]:
        """Serve them on ``http://host:port/metrics``; not at all when port is None.

        Raises:
            StellarArrowError: the port cannot be had.
        """
        if port is None:
            yield
            return
        try:
            server, _thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise StellarArrowError(
                f"cannot serve metrics on {host}:{port} ({error.strerror}); choose another --metrics-port"
            ) from None
        _log.info("serving metrics", extra={"url": f"http://{host}:{server.server_port}/metrics"})
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
