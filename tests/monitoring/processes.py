"""A source of ledgers and a server over it, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from tests.support.programs import free_port
from tests.support.serving import wait_until

SOURCE = "from stellar_arrow_source.ledger_cli import main; main()"
SERVER = "from stellar_arrow_source.cli import main; main()"
KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "NUMBA_", "PYTHON", "TMPDIR")


@contextmanager
def running(script: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *args],
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name.startswith(KEPT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def get(port: int, path: str, timeout: float = 10) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.headers)
    finally:
        connection.close()


class Server:
    """A running ``stellar-arrow-source``."""

    def __init__(self, port: int, health_port: int) -> None:
        self.location = f"grpc://127.0.0.1:{port}"
        self.health_port = health_port

    def page(self, path: str) -> tuple[int, str]:
        return get(self.health_port, path)[:2]

    def json(self, path: str) -> Any:
        return json.loads(self.page(path)[1])

    def until(self, state: str, *, ready: bool, timeout: float = 120) -> dict[str, Any]:
        """Wait until /ready tells that state of the source; what it says then."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            try:
                status, body = self.page("/ready")
            except OSError:
                return False
            found.update(json.loads(body))
            return status == (200 if ready else 503) and found["source_state"] == state

        wait_until(reached, timeout)
        return found


@contextmanager
def server(endpoint: str, *args: str) -> Iterator[Server]:
    """A server over ``endpoint`` that has become ready."""
    found = Server(free_port(), free_port())
    ports = ("--port", found.location.rpartition(":")[2], "--health-port", str(found.health_port))
    with running(SERVER, "--source", endpoint, *ports, *args):
        found.until("ok", ready=True, timeout=300)
        yield found
