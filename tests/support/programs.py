"""Programs that tests start beside themselves: what they need, the ports they get, and waiting until they answer."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TEST_SERVERS = Path(__file__).parents[2] / ".test-servers"
"""Where scripts/test-servers puts the jars, a folder for each server."""

JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Starts soon and keeps to one core."""


def lack_of_java(what: str, jars: Path, pattern: str) -> str | None:
    """Why a server of Java cannot be had here; None when it can."""
    if shutil.which("javac") is None:
        return "no Java development kit is installed"
    if not list(jars.glob(pattern)):
        return f"no {what} in {jars}; scripts/test-servers fetches it"
    return None


def free_ports(count: int) -> list[int]:
    """As many ports of the loopback interface that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    return free_ports(1)[0]


def wait_for(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path, seconds: float = 90.0) -> None:
    """Return when a program answers.

    Raises:
        RuntimeError: it ended, or does not in time; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
