"""Sources and consumers of them as real processes that are killed, stopped and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.source import RetryPolicy
from tests.ledgers.stores import NEVER, Store, made, take
from tests.support.programs import free_port

HISTORY = "synthetic://?start=100&ledgers=400&transactions=2"
LIVE = "synthetic://?start=100&ledgers=20&rate=200&transactions=2"
PATIENT = RetryPolicy(attempts=200, initial=0.05, maximum=0.2)


def start(endpoint: str, port: int, *options: str) -> subprocess.Popen[str]:
    script = "from stellar_arrow_source.ledger_cli import main; main()"
    arguments = ["serve", endpoint, "--port", str(port), *options]
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(endpoint: str, port: int) -> Iterator[subprocess.Popen[str]]:
    process = start(endpoint, port)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def until_reachable(port: int) -> None:
    source = open_source(f"127.0.0.1:{port}")
    deadline = time.monotonic() + 60
    while True:
        try:
            source.bounds()
            source.close()
            return
        except SourceUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("endpoint", [HISTORY, LIVE], ids=["history", "tip"])
def test_a_server_killed_and_started_again_loses_and_doubles_nothing(endpoint: str) -> None:
    port = free_port()
    expected = made(100, 499)
    seen: list[bytes] = []
    running = [start(endpoint, port)]
    try:
        until_reachable(port)
        source = open_source(f"127.0.0.1:{port}", retry=PATIENT)
        kills = iter((30, 170, 171))
        kill_at = next(kills)
        for ledger in source.ledgers(100, 499, NEVER):
            seen.append(bytes(ledger.xdr))
            if len(seen) == kill_at:
                running[-1].kill()
                running[-1].communicate(timeout=30)
                running.append(start(endpoint, port))
                kill_at = next(kills, 0)
    finally:
        for process in running:
            process.kill()
            process.communicate(timeout=30)
    assert len(running) == 4
    assert tuple(seen) == expected


def test_a_server_that_stays_away_is_given_up() -> None:
    port = free_port()
    source = open_source(f"127.0.0.1:{port}", retry=RetryPolicy(attempts=4, initial=0.05, maximum=0.1))
    with serving(LIVE, port) as process:
        until_reachable(port)
        reader = source.ledgers(100, None, NEVER)
        seen = [bytes(next(reader).xdr) for _ in range(60)]
        process.kill()
        with pytest.raises(SourceUnavailableError, match=f"127.0.0.1:{port} is not available"):
            take(reader, seen)
    assert tuple(seen) == made(100, 99 + len(seen))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_a_server_with_open_streams(number: signal.Signals) -> None:
    port = free_port()
    with serving("synthetic://?start=100&ledgers=5&transactions=2", port) as process:
        until_reachable(port)
        stop = threading.Event()
        source = open_source(f"127.0.0.1:{port}", retry=RetryPolicy(attempts=1))
        reader = source.ledgers(100, None, stop)
        assert [next(reader).sequence for _ in range(5)] == [100, 101, 102, 103, 104]
        began = time.monotonic()
        process.send_signal(number)
        with pytest.raises(SourceUnavailableError):
            next(reader)
        _, messages = process.communicate(timeout=30)
        assert time.monotonic() - began < 8
        assert process.returncode == 0
        assert "stopping" in messages
        assert "Traceback" not in messages


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start("synthetic://", port)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 3
    assert messages.splitlines() == [
        f"error: cannot listen at 127.0.0.1:{port}: the port is in use or not ours; choose another with --port"
    ]


def test_two_servers_cannot_share_a_port() -> None:
    port = free_port()
    with serving("synthetic://", port):
        until_reachable(port)
        second = start("synthetic://", port)
        _, messages = second.communicate(timeout=60)
        assert second.returncode == 3
        assert "cannot listen" in messages


def test_a_store_damaged_under_way_reaches_the_client_as_what_it_is(tmp_path: Path) -> None:
    ledgers = made(100, 119)
    written = Store(tmp_path)
    written.write(100, ledgers)
    written.write_file(110, b"\x28\xb5\x2f\xfd")
    written.path(115).unlink()
    port = free_port()
    with serving(str(tmp_path), port):
        until_reachable(port)
        source = open_source(f"127.0.0.1:{port}", retry=PATIENT)
        seen: list[bytes] = []
        with pytest.raises(IntegrityError, match="is truncated") as raised:
            take(source.ledgers(100, 119, NEVER), seen)
        assert not isinstance(raised.value, GapError)
        assert tuple(seen) == ledgers[:10]
        with pytest.raises(GapError, match="ledger 115 is missing"):
            take(source.ledgers(111, 119, NEVER), seen)
        assert tuple(seen) == ledgers[:10] + ledgers[11:15]
        written.write(110, ledgers[10:11])
        written.write(115, ledgers[15:16])
        assert tuple(bytes(ledger.xdr) for ledger in source.ledgers(100, 119, NEVER)) == ledgers
