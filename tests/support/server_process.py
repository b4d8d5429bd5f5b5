"""``stellar-arrow-source`` as people run it: a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving import wait_until

COMMAND = [sys.executable, "-c", "from stellar_arrow_source.cli import main; main()"]
FREE_PORTS = ["--port", "0", "--health-port", "0"]


class Server:
    """A running ``stellar-arrow-source`` whose log lines are read as JSON."""

    def __init__(self, args: list[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "--log-format", "json", *args],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**clean_environment(), **env},
            )

    def lines(self) -> list[dict[str, Any]]:
        found = [line for line in self._log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [json.loads(line) for line in found]

    def errors(self) -> str:
        """What it wrote that is no log line."""
        return "".join(line for line in self._log.read_text().splitlines(True) if not line.startswith("{"))

    def event(self, name: str, timeout: float = 60) -> dict[str, Any]:
        wait_until(
            lambda: any(line["event"] == name for line in self.lines()) or self.process.poll() is not None, timeout
        )
        return next(line for line in self.lines() if line["event"] == name)

    @property
    def address(self) -> str:
        return str(self.event("serving")["flight"])

    def page(self, path: str, timeout: float = 5) -> tuple[int, str]:
        host = self.event("serving")["monitoring"].removeprefix("http://")
        connection = HTTPConnection(host, timeout=timeout)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def served_bytes(self) -> float:
        return max(
            (sample.value for family in text_string_to_metric_families(self.page("/metrics")[1])
             for sample in family.samples if sample.name == "stellar_arrow_bytes_served_total"),
            default=0.0,
        )  # fmt: skip

    def wait_for_backpressure(self) -> None:
        """Until the server has sent all that a client takes that does not read."""
        before = 0.0  # as long as the stream is compiled
        while not (now := self.served_bytes()) or now != before:
            before = now
            time.sleep(1)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 10) -> tuple[int, float]:
        """Exit code, and seconds until the process was gone."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout), time.monotonic() - began


def clean_environment() -> dict[str, str]:
    """The environment without the settings of a server."""
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "NUMBA_", "PYTHON", "TMPDIR")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


@contextmanager
def command(tmp_path: Path, *args: str, **env: str) -> Iterator[Server]:
    server = Server([*FREE_PORTS, *args], env, tmp_path / f"server-{time.monotonic_ns()}.log")
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
