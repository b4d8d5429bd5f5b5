"""Servers that are drained or killed while clients read from them: no client misses a row or has one twice."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError, UnavailableError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.ledgers.service import RawLedgerServer
from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tables import LedgerDecoder
from tests.ledgers.stores import made
from tests.support.programs import free_port
from tests.support.server_process import Server
from tests.support.serving import ScriptedSource, wait_until

ROUNDS = int(os.environ.get("STELLAR_RESTART_ROUNDS", "2"))
"""How often the server ends and is started again, by each kind of signal."""

FIRST = 2
SECTION = 30
"""Ledgers that the network closes from one end of the server to the next."""
LAST = FIRST + SECTION * (ROUNDS + 1) - 1
CLOSE_SECONDS = 0.05
DRAIN_SECONDS = 3.0
GRACE_SECONDS = 10.0
"""What the end of a process may take beyond the drain on a machine that is busy."""

PATIENT = RetryPolicy(retry_for=120.0, first_tries=200, initial=0.05, maximum=0.3, connect_timeout=5.0)


class Network:
    """Closes a ledger every :data:`CLOSE_SECONDS`, up to a limit, so that streams never have all that is to come."""

    def __init__(self) -> None:
        self._ledgers = made(FIRST, LAST, transactions=3)
        self.limit = FIRST + SECTION - 1
        self.source = ScriptedSource(FIRST, FIRST, lambda n: self._ledgers[n - FIRST], KNOWN_NETWORKS["synthetic"])
        threading.Thread(target=self._close_ledgers, daemon=True).start()

    def _close_ledgers(self) -> None:
        while self.source.latest < LAST:
            if self.source.latest < self.limit:
                self.source.advance()
            time.sleep(CLOSE_SECONDS)


@dataclass
class Reader(threading.Thread):
    """A client that notes what it gets.

    Attributes:
        endless: follows the tip, and stops with the last ledger of the test.
        pause: seconds that it does something else after a batch.
    """

    port: int
    stream: str
    endless: bool
    pause: float
    batches: list[pa.RecordBatch] = field(default_factory=list)
    breaks: list[StellarArrowError] = field(default_factory=list)
    position: int = FIRST
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(name=f"{self.stream}, {'endless' if self.endless else 'bounded'}", daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.failure = error

    def _read(self) -> None:
        request = StreamRequest(self.stream, FIRST, None if self.endless else LAST)
        with Client(f"127.0.0.1:{self.port}", retry=PATIENT) as client:
            stream = client.stream(request, on_reconnect=self.breaks.append)
            for batch, cursor in stream:
                self.batches.append(batch)
                self.position = cursor.cursor
                if self.position > LAST:
                    stream.close()
                    return
                time.sleep(self.pause)

    def rows(self) -> pa.Table:
        return pa.Table.from_batches(self.batches)


def digest(table: pa.Table) -> str:
    """Of all values, whatever batches they came in."""
    made = hashlib.sha256(str(table.schema.names).encode())
    for row in table.to_pylist():
        made.update(repr(row).encode())
    return made.hexdigest()


def expected(stream: str) -> pa.Table:
    decoded = LedgerDecoder({stream: None}).decode(made(FIRST, LAST, transactions=3))
    return pa.Table.from_batches([decoded.batches[stream]])


def serve(source: int, port: int, log: Path) -> Server:
    server = Server(
        ["--source", f"127.0.0.1:{source}", "--port", str(port), "--health-port", "0", "--batch-size", "2"],
        {"DRAIN_SECONDS": str(DRAIN_SECONDS)},
        log,
    )
    server.event("source answers", timeout=120)
    return server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
def test_servers_come_and_go_and_every_client_has_all_rows_once(number: signal.Signals, tmp_path: Path) -> None:
    port, network = free_port(), Network()
    with RawLedgerServer(network.source, "127.0.0.1", 0) as source:
        server = serve(source.port, port, tmp_path / "server-0.log")
        try:
            readers = [
                Reader(port, stream, endless, pause)
                for stream in ("ledgers", "transactions", "operations")
                for endless, pause in ((False, 0.0), (True, 0.0), (True, 0.1))
            ]
            for reader in readers:
                reader.start()
            for round_ in range(1, ROUNDS + 1):
                wait_until(lambda: all(reader.failure or reader.position > network.limit for reader in readers), 120)
                network.limit += SECTION
                time.sleep(random.uniform(0, SECTION * CLOSE_SECONDS / 2))
                code, seconds = server.stop(number, timeout=DRAIN_SECONDS + GRACE_SECONDS)
                if number == signal.SIGTERM:
                    assert code == 0
                    assert seconds < DRAIN_SECONDS + GRACE_SECONDS
                    assert server.lines()[-1]["event"] == "stopped"
                else:
                    assert code == -signal.SIGKILL
                server = serve(source.port, port, tmp_path / f"server-{round_}.log")
            for reader in readers:
                reader.join(180)
        finally:
            server.process.kill()
            server.process.wait()
    assert [(reader.name, reader.failure) for reader in readers if reader.failure or reader.is_alive()] == []
    broken = [error for reader in readers for error in reader.breaks]
    assert len(broken) >= len(readers) * ROUNDS
    assert {type(error) for error in broken} == {UnavailableError}
    if number == signal.SIGTERM:  # those who had a stream then were told where to go on
        assert any(error.resume is not None and "shutting down" in str(error) for error in broken)
    for stream in ("ledgers", "transactions", "operations"):
        right = expected(stream)
        for reader in readers:
            if reader.stream == stream:
                got = reader.rows()
                assert got.num_rows == right.num_rows, reader.name
                assert digest(got.select(right.schema.names)) == digest(right), reader.name
