"""The server around the service: health, reflection, TLS, the state of the Flight server, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Final

from grpclib.health.check import ServiceStatus
from grpclib.health.service import Health
from grpclib.reflection.service import ServerReflection

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError, UnavailableError
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.signals import Interruption, draining
from ttp_processor.columns import COLUMNS, STREAM
from ttp_processor.metrics import Metrics
from ttp_processor.service import EventService
from ttp_processor.settings import Settings
from ttp_processor.transport import BoundedServer, tls_context

_POLL_SECONDS: Final = 0.1
_CHECK_SECONDS: Final = 2.0
_JOIN_SECONDS: Final = 2.0  # an interpreter that ends under a thread of Arrow's may crash

_log = logging.getLogger(__name__)


def serve(client: Client, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; the first drains, a second one kills.

    Raises:
        UnavailableError: the address cannot be listened at.
        StellarArrowError: the Flight server is there and refuses the stream or the condition.
    """
    _check(client, settings)
    metrics = Metrics()
    stop = threading.Event()
    with draining(stop) as interruption, metrics.served(settings.metrics_host, settings.metrics_port):
        asyncio.run(_serve(client, settings, metrics, stop, interruption))


def _check(client: Client, settings: Settings) -> None:
    """See that the Flight server has the stream; one that is not there yet may come."""
    try:
        client.plan(StreamRequest(STREAM, columns=COLUMNS, filter=settings.condition))
    except UnavailableError as error:
        _log.warning("%s", error)


async def _serve(
    client: Client, settings: Settings, metrics: Metrics, stop: threading.Event, interruption: Interruption
) -> None:
    logging.getLogger("grpclib").setLevel(logging.WARNING)  # the service itself tells how calls end
    service = EventService(
        client, metrics, condition=settings.condition, start=settings.start, max_calls=settings.max_calls
    )
    status = ServiceStatus()
    status.set(False)  # until the Flight server answers
    server = BoundedServer(ServerReflection.extend([service, Health({service: [status]})]))
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = tls_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    try:
        await server.start(settings.host, settings.port, ssl=tls)
    except OSError as error:
        raise UnavailableError(
            f"cannot listen at {settings.host}:{settings.port} ({error.strerror}); choose another --host or --port"
        ) from None
    scheme = "http" if tls is None else "https"
    _log.info("serving", extra={"grpc": f"{scheme}://{settings.host}:{server.port}", "server": str(client.address)})
    watch = threading.Thread(target=_watch, args=(client, status, metrics, stop, asyncio.get_running_loop()))
    watch.daemon = True
    watch.start()
    while not stop.is_set():
        await asyncio.sleep(_POLL_SECONDS)
    name = interruption.signal.name if interruption.signal else "stop"
    _log.warning("%s: letting calls end; again to stop at once", name)
    status.set(False)
    deadline = time.monotonic() + settings.drain_seconds
    await service.stop(deadline)
    await server.finish(deadline)
    await service.join(time.monotonic() + _JOIN_SECONDS)


def _watch(
    client: Client, status: ServiceStatus, metrics: Metrics, stop: threading.Event, loop: asyncio.AbstractEventLoop
) -> None:
    """Tell health and metrics whether the Flight server answers, every two seconds."""
    known: bool | None = None
    while not stop.is_set():
        try:
            client.health()
            reachable = True
        except StellarArrowError as error:
            reachable = False
            if known is not False:
                _log.warning("not serving: %s", error)
        if stop.is_set() or loop.is_closed():
            return
        if reachable is not known:
            known = reachable
            metrics.reachable.set(reachable)
            loop.call_soon_threadsafe(status.set, reachable)
        stop.wait(_CHECK_SECONDS)
