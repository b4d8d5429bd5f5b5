"""The processes of a chain: started, waited for, and asked what they cost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import click

READY_SECONDS = 180.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """What a process has used so far: seconds on a core, and the most memory at a time in bytes."""

    cpu: float
    peak: int


class Server:
    """A server process that listens at ``port``; its monitoring, if it has some, at ``health``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port, self.health = process, port, 0

    def cost(self) -> Cost:
        """What it has used."""
        return cost_of(self.process.pid)


@contextmanager
def ledger_source(endpoint: str) -> Iterator[Server]:
    """``stellar-ledger-source serve``."""
    port = _free_port()
    command = [_script("stellar-ledger-source"), "serve", endpoint, "--port", str(port), "--log-level", "error"]
    with _running(command, port) as server:
        _wait(server, lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
        yield server


@contextmanager
def arrow_source(endpoint: str, *options: str) -> Iterator[Server]:
    """``stellar-arrow-source``, once its decoder is prepared."""
    port, health = _free_port(), _free_port()
    command = [_script("stellar-arrow-source"), "--source", endpoint, "--port", str(port)]
    command += ["--health-port", str(health), "--log-level", "error", *options]
    with _running(command, port) as server:
        server.health = health
        _wait(server, lambda: urlopen(f"http://127.0.0.1:{health}/ready", timeout=5).close())
        yield server


@contextmanager
def ttp_processor(server: Server) -> Iterator[Server]:
    """``ttp-processor serve``."""
    port = _free_port()
    command = [
        _script("ttp-processor"),
        "serve",
        f"localhost:{server.port}",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    with _running(command, port) as processor:
        _wait(processor, lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
        yield processor


class Archived(NamedTuple):
    """What a run of ``parquet-consumer`` did: seconds and rows by its own account (0 if nothing was left), its cost."""

    seconds: float
    rows: int
    cost: Cost


def parquet_consumer(server: Server, output: Path, streams: tuple[str, ...], ledgers: range) -> Archived:
    """Archive ``ledgers``; the seconds run from the connection to the last durable file."""
    command = [_script("parquet-consumer"), f"localhost:{server.port}", str(output)]
    command += [str(ledgers[0]), str(ledgers[-1]), "--progress", "none", "--log-format", "json"]
    command += [part for stream in streams for part in ("--stream", stream)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        watch = _Watch(process)
        said = process.stderr.read()
    if process.returncode != 0:
        raise click.ClickException(f"parquet-consumer failed: {said}")
    done = [record for line in said.splitlines() if (record := json.loads(line)).get("event") == "complete"]
    seconds = max((record["ledgers"] / record["ledgers_per_second"] for record in done), default=0.0)
    return Archived(seconds, sum(record["rows"] for record in done), watch.cost)


class _Watch:
    """Looks at a process until it ends: what wait4 tells of memory is that of the process it was forked from too."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.cost = Cost(0.0, 0)
        self._process = process
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while self._process.poll() is None:
            with suppress(OSError, ValueError):
                self.cost = cost_of(self._process.pid)
            time.sleep(0.02)


def cost_of(pid: int) -> Cost:
    """As the kernel counts it; ValueError when the process is just ending."""
    folder = Path("/proc") / str(pid)
    times = (folder / "stat").read_text().rpartition(")")[2].split()
    [peak] = [line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return Cost((int(times[11]) + int(times[12])) / _TICKS, int(peak.split()[1]) << 10)


@contextmanager
def _running(command: list[str], port: int) -> Iterator[Server]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield Server(process, port)
        finally:
            process.terminate()


def _wait(server: Server, probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            probe()
            return
        except (OSError, URLError):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{server.process.args!r} did not come up") from None
            time.sleep(0.05)


def _script(name: str) -> str:
    """An installed command of the environment that runs the benchmark."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise click.ClickException(f"{path} is missing: pip install -e . -e consumers/parquet -e consumers/ttp")
    return str(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
