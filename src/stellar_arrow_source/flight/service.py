"""A whole server: Flight, monitoring, the watch over its source, from start to a drained end."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from importlib.metadata import version
from types import FrameType
from typing import Any, NoReturn

import pyarrow as pa
import structlog

from stellar_arrow_client.errors import ExitCode, StellarArrowError
from stellar_arrow_source.access.file import GrantsFile
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.auth import Access
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.binding import bind_error, require_free
from stellar_arrow_source.flight.hub import LedgerHub
from stellar_arrow_source.flight.instruments import publish
from stellar_arrow_source.flight.limits import StreamLimiter
from stellar_arrow_source.flight.locations import Locations
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.flight.server import LedgerFlightServer
from stellar_arrow_source.flight.source_watch import SourceWatch
from stellar_arrow_source.flight.status import Status
from stellar_arrow_source.flight.workers import Workers
from stellar_arrow_source.ledgers.endpoint import without_credentials
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger
from stellar_arrow_source.monitoring.activity import Activity, Fetched
from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.http import MonitoringServer, Page, json_page
from stellar_arrow_source.monitoring.merging import merged
from stellar_arrow_source.monitoring.metrics import CONTENT_TYPE, Metrics
from stellar_arrow_source.monitoring.status import status_page
from stellar_arrow_source.networks import network_name
from stellar_arrow_source.notify import notify
from stellar_arrow_source.tls import Identity, certificate_end, read_authorities, read_identity
from stellar_arrow_source.tracing import open_tracing

DRAINING = "the server is shutting down"
SHUTDOWN_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Service:
    """A server that runs in threads of its own.

    Attributes:
        access: knows its callers, and what they use.
        ended: set when it is to end.
        failure: what it cannot go on with.

    Args:
        config: all settings.
        tables: the streams to serve.
        open_source: opens the ledger source; called again until it succeeds.
        is_worker: of another server, which says what there is to say of the settings.

    Raises:
        StellarArrowError: a port cannot be bound, or a file of the configuration cannot be read.
    """

    def __init__(
        self, config: ServerConfig, tables: Tables, open_source: Callable[[], LedgerSource], *, is_worker: bool = False
    ) -> None:
        self.ended = threading.Event()
        self.failure: StellarArrowError | None = None
        self._config = config
        self._is_worker = is_worker
        self._tables = tables
        self._began = time.monotonic()
        self._limiter = StreamLimiter(config.max_connections, config.prefetch_bytes)
        self._preparation = Preparation(tables.unprepared())
        metrics = Metrics()
        self._fetched = Fetched(metrics)
        self._hub = LedgerHub(self._limiter.read_ahead_share, self._arrived, self._can_decode_together)
        self._watch = SourceWatch(
            open_source,
            tables,
            self._preparation,
            passphrase=config.passphrase,
            on_fatal=self._fail,
            stall_seconds=config.source_stall_seconds,
            waits=self._hub.waits,
        )
        self._clients = GrantsFile(config.auth_file) if config.auth_file else None
        self.access = Access(self._clients, config.client_limits, lambda error: metrics.failed(type(error).__name__))
        self._workers = Workers(config, self._preparation, self.access) if config.workers > 1 else None
        activity = Activity(metrics, self._watch.tip)
        analytics = LedgerAnalytics() if config.enable_analytics else None
        self._status = Status(
            config,
            metrics,
            activity=activity,
            hub=self._hub,
            tip=self._watch.tip,
            analytics=analytics,
            health=self.health,
            workers=lambda path: self._workers_pages(path).values(),
        )
        self._tracing = open_tracing()
        tls = _tls(config)
        client_ca = read_authorities(config.tls_client_ca) if config.tls_client_ca else None
        require_free(config.host, config.port, "Flight", "--port or ARROW_PORT")
        self._monitoring = _monitoring(config, self._pages(metrics))
        try:
            self._flight = LedgerFlightServer(
                _bracketed(config.host),
                config.port,
                tables=tables,
                watch=self._watch,
                preparation=self._preparation,
                hub=self._hub,
                limiter=self._limiter,
                access=self.access,
                metrics=metrics,
                activity=activity,
                health=self.health,
                group_ledgers=config.batch_size,
                stalled_client_seconds=config.stalled_client_seconds,
                analytics=analytics,
                locations=Locations(self._advertised, self._sharing, told=config.advertise is not None),
                tls=tls,
                client_ca=client_ca,
                tracing=self._tracing,
            )
        except pa.ArrowException as error:
            self._monitoring.close()
            reason = str(error).splitlines()[0]
            raise StellarArrowError(
                f"cannot serve Flight on {config.host}:{config.port} ({reason}); choose another --host or --port"
            ) from None
        if analytics is not None:
            metrics.add_collector(analytics)
        publish(
            metrics,
            config,
            limiter=self._limiter,
            hub=self._hub,
            watch=self._watch,
            preparation=self._preparation,
            clients=self._clients,
            workers=self._workers,
            certificate_end=_certificate_end(config),
            is_ready=lambda: not self.not_ready(),
        )

    @property
    def port(self) -> int:
        """Port of Flight."""
        return int(self._flight.port)

    @property
    def health_port(self) -> int:
        """Port of monitoring."""
        return self._monitoring.port

    @property
    def location(self) -> str:
        """URI of the Flight service, as bound."""
        scheme = "grpc+tls" if self._config.tls_cert else "grpc"
        return f"{scheme}://{_bracketed(self._config.host)}:{self.port}"

    def _advertised(self) -> str:
        """URI by which clients reach this server."""
        return self._config.advertise or self.location

    def _sharing(self) -> Sequence[str]:
        """URIs of the servers that share the work on bounded ranges now."""
        if self._workers is None:
            return self._config.locations
        host = self._advertised().rpartition(":")[0]
        return [*(f"{host}:{port}" for port in self._workers.ports()), *self._config.locations]

    def not_ready(self) -> list[str]:
        """Why the server cannot serve now; empty when it can."""
        problem = self._watch.condition.problem
        reasons = [problem] if problem else []
        if self._limiter.draining.is_set():
            reasons.append(DRAINING)
        return reasons

    def health(self) -> dict[str, Any]:
        """The report of /health and of the action ``health``."""
        reasons = self.not_ready()
        passphrase = self._watch.passphrase
        return {
            "status": "ok",
            "ready": not reasons,
            "reasons": reasons,
            "version": version("stellar-arrow-source"),
            "uptime_seconds": round(time.monotonic() - self._began, 3),
            "source": _source_names(self._config),
            "network": network_name(passphrase) if passphrase else None,
            "source_state": self._watch.condition.state,
            "newest_ledger": self._watch.newest,
            "tip_lag_seconds": self._watch.tip.lag_seconds(),
            "open_streams": self._limiter.open_streams,
            "auth_problem": self._clients.problem if self._clients else None,
            "workers": self._workers.report() if self._workers else [],
        }

    def start(self) -> None:
        """Begin to watch the source; Flight answers since it was made.

        FlightServerBase.serve() is never called: it does nothing but wait, and takes the signal handlers away.
        """
        self._monitoring.start()
        self._watch.start()
        self._status.history.start()
        if self._workers is not None:
            self._workers.start()
        _log.info(
            "serving",
            flight=self.location,
            monitoring=f"http://{_bracketed(self._config.health_host or self._config.host)}:{self.health_port}",
            source=_source_names(self._config),
            streams=[stream.name for stream in self._tables.streams],
        )
        if not self._is_worker:
            self._warn()
            notify("READY=1", f"STATUS=Serving at {self.location}")

    def close(self) -> None:
        """Let open streams finish their batch, end them, and stop serving.

        Streams of clients that do not read stay open: only the end of the process ends those.
        """
        if not self._is_worker:
            notify("STOPPING=1", "STATUS=Ending open streams")
        if self._workers is not None:
            self._workers.drain()
        left = self._limiter.drain(self._config.drain_seconds)
        if left:
            _log.warning("streams that do not read are cut off", streams=left)
        # Shutting down waits for all calls, without a deadline of its own.
        stopper = threading.Thread(target=self._flight.shutdown, name="shutdown", daemon=True)
        stopper.start()
        stopper.join(SHUTDOWN_SECONDS)
        if self._workers is not None:
            self._workers.close()
        self._preparation.close()
        self._watch.close()
        self._status.history.close()
        self._monitoring.close()
        if self._tracing is not None:
            self._tracing.close()

    def _workers_pages(self, path: str) -> Mapping[str, bytes]:
        return self._workers.pages(path) if self._workers else {}

    def _fail(self, error: StellarArrowError) -> None:
        self.failure = error
        self.ended.set()

    def _warn(self) -> None:
        """Say loudly what an operator may not have meant."""
        if not self._config.loopback_only and self._clients is None and self._config.tls_client_ca is None:
            _log.warning(
                "ANYONE who reaches this address can read all streams: --auth-file or --tls-client-ca asks clients who"
                " they are, --host 127.0.0.1 keeps to this machine",
                host=self._config.host,
            )
        if not self._config.loopback_only and self._clients is not None and not self._config.tls_cert:
            _log.warning("tokens travel unencrypted unless something in front encrypts", host=self._config.host)

    def _pages(self, metrics: Metrics) -> dict[str, Callable[[], Page]]:
        def ready() -> Page:
            reasons = self.not_ready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            state = self._watch.condition.state
            return json_page({"ready": not reasons, "source_state": state, "reasons": reasons}, status)

        page = status_page()
        pages: dict[str, Callable[[], Page]] = {
            "/health": lambda: json_page(self.health()),
            "/ready": ready,
            "/metrics": lambda: Page(merged(metrics.exposition(), self._workers_pages("/metrics")), CONTENT_TYPE),
            "/": lambda: page,
            "/status": lambda: json_page(self._status.report()),
        }
        if self._config.enable_analytics:
            pages["/analytics"] = lambda: json_page(self._status.analytics())
        return pages

    def _can_decode_together(self) -> bool:
        name = self._tables.together
        return name is not None and self._preparation.is_compiled(name)

    def _arrived(self, ledger: RawLedger, seconds: float) -> None:
        """A ledger came from the source, which took so long."""
        self._watch.see(ledger)
        self._fetched.add(len(ledger.xdr), seconds)


def run(service: Service) -> NoReturn:
    """Serve until told to end: the first SIGTERM or SIGINT drains, a second one ends the process at once.

    The process ends here, with exit code 0.

    Raises:
        StellarArrowError: what the server cannot go on with, such as ledgers of another network.
    """

    signalled = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        # Not ``ended``: a worker may have been told to end by its server, and then by whoever signals them all.
        if signalled.is_set():
            os._exit(128 + number)
        signalled.set()
        _log.info("shutting down", signal=signal.Signals(number).name)
        service.ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    service.start()
    service.ended.wait()
    service.close()
    if service.failure is not None:
        raise service.failure
    _log.info("stopped")
    sys.stderr.flush()
    # Leaving the interpreter in order takes a second, for the compiled kernels, and for ever while a client
    # that does not read holds its stream open. Nothing is left to be saved.
    os._exit(ExitCode.OK)


def _source_names(config: ServerConfig) -> str:
    live = f", then {without_credentials(config.live)}" if config.live else ""
    return without_credentials(config.endpoint) + live


def _bracketed(host: str) -> str:
    """A host as it stands in a URI."""
    return f"[{host}]" if ":" in host else host


def _tls(config: ServerConfig) -> Identity | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return read_identity(config.tls_cert, config.tls_key)


def _certificate_end(config: ServerConfig) -> float | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    with suppress(ssl.SSLError):  # one that Python's OpenSSL would not show; gRPC may
        return certificate_end(config.tls_cert, config.tls_key).timestamp()
    return None


def _monitoring(config: ServerConfig, pages: dict[str, Callable[[], Page]]) -> MonitoringServer:
    host = config.health_host or config.host
    try:
        return MonitoringServer(host, config.health_port, pages)
    except OSError as error:
        raise bind_error(host, config.health_port, "monitoring", "--health-port or HEALTH_PORT", error) from None
