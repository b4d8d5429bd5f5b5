"""The HTTP pages that watch a server: health, readiness, metrics, status."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog

from stellar_arrow_source.sparing import Sparing

REQUEST_TIMEOUT_SECONDS = 5.0
"""How long a connection may be silent."""
CONNECTION_SECONDS = 30.0
"""How long it may last, after the answer on its way: who sends one byte after the other is not waited for."""
MAX_CONNECTIONS = 64
"""Each has a thread; further ones are closed at once."""
NO_DESCRIPTOR_SECONDS = 0.1
"""Pause when the process has no descriptor left for a connection that waits: it would be tried all the time."""

_log = structlog.get_logger(__name__)


class Page(NamedTuple):
    """One answer."""

    body: bytes
    content_type: str = "application/json"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = MappingProxyType({})


def json_page(content: object, status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(json.dumps(content).encode() + b"\n", status=status)


class MonitoringServer:
    """Serves ``pages`` (path → function that makes the page) over HTTP from threads of its own.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        handler = type("Handler", (_Handler,), {"pages": pages, "failing": Sparing()})
        server = _ServerOverIPv6 if ":" in host else _Server
        self._server = server((host, port), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="monitoring", daemon=True
        )

    @property
    def port(self) -> int:
        """The port bound, also when 0 was asked for."""
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(NO_DESCRIPTOR_SECONDS)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                return False
            self._connections[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called again and again: let nothing more be heard on connections that have lasted long."""
        long_ago = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for connection, began in self._connections.items():
                if began < long_ago:
                    with suppress(OSError):  # it has ended already
                        connection.shutdown(socket.SHUT_RD)

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("monitoring request broke off", client=client_address, exc_info=True)


class _ServerOverIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    pages: Mapping[str, Callable[[], Page]]
    failing: Sparing
    timeout = REQUEST_TIMEOUT_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "stellar-arrow-source"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        make = self.pages.get(path)
        if make is None:
            page = json_page({"error": "no such page", "pages": sorted(self.pages)}, HTTPStatus.NOT_FOUND)
        else:
            try:
                page = make()
            except Exception:  # whatever it is, who asks gets an answer, and it stands in the log
                if (also := self.failing.tell()) is not None:
                    _log.exception(f"monitoring page failed{also}", path=path)
                page = json_page({"error": "see the server's log"}, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        _log.debug("monitoring request", client=self.client_address[0], line=format % args)
