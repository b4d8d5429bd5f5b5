"""A server follows a source whose process is killed at random; its clients get every ledger, and each once.

By hand, with thousands of ledgers: STELLAR_CHAOS_LEDGERS=5000 pytest tests/faults/test_chaos.py
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import obstore
import pyarrow as pa
import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.source import RetryPolicy
from stellar_arrow_source.tables import LedgerDecoder
from tests.ledgers.stores import NEVER, Store, batch, compress, made
from tests.support.object_storage import BUCKET, S3Server, requires_s3
from tests.support.programs import free_port
from tests.support.serving import serving, wait_until

FIRST = 100
LEDGERS = int(os.environ.get("STELLAR_CHAOS_LEDGERS", "240"))
"""Half of them are there at the beginning, the others come while the server follows."""
LAST = FIRST + LEDGERS - 1
MIDDLE = FIRST + LEDGERS // 2
KILLS = 3
"""At least so many before the last ledger comes."""
RATE = 30.0
"""Ledgers a second."""

PATIENT = RetryPolicy(attempts=10_000, initial=0.02, maximum=0.2)
ROOT = Path(__file__).parents[2]


class Victim(Protocol):
    """A process that ledgers are read from.

    Attributes:
        endpoint: of the source.
        environment: what its clients need.
        rest: seconds between two kills, at least and at most.
        most: kills, after which it is left alone.
    """

    endpoint: str
    environment: Mapping[str, str]
    rest: tuple[float, float]
    most: int

    def put(self, sequence: int, xdr: bytes) -> None:
        """Let a ledger be there, whether the process runs or not."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def kill(self) -> None:
        """As kill -9 does."""


class OverFolder:
    """A process that serves the ledgers of a folder at a port."""

    rest, most = (0.05, 1.5), LEDGERS

    def __init__(self, folder: Path, scheme: str, command: Callable[[int, Path], list[str]]) -> None:
        self._store = Store(folder, per_partition=1000)
        self._port = free_port()
        self._command = command(self._port, folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"{scheme}://127.0.0.1:{self._port}"
        self.environment: Mapping[str, str] = {}

    def put(self, sequence: int, xdr: bytes) -> None:
        self._store.write_file(sequence, compress(batch(sequence, (xdr,))))

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, *self._command], cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            assert time.monotonic() < deadline, "the process did not come up"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class InS3:
    """A real S3 server that holds a store; it takes seconds to start."""

    rest, most = (1.0, 3.0), KILLS + LEDGERS // 500

    def __init__(self, folder: Path) -> None:
        self._server = S3Server(folder)
        self._up = False
        self.environment = self._server.environment
        self.endpoint = f"s3://{BUCKET}/chaos"

    def put(self, sequence: int, xdr: bytes) -> None:
        name = f"{0xFFFFFFFF - sequence:08X}--{sequence}.xdr.zst"
        if sequence == FIRST:
            self.start()
            self._server.create_buckets()
        while True:
            with suppress(Exception):  # it has just been killed
                obstore.put(self._server.store(BUCKET, "chaos", attempts=0), name, compress(batch(sequence, (xdr,))))
                return
            time.sleep(0.1)

    def start(self) -> None:
        if not self._up:
            self._server.start()
            self._up = True

    def kill(self) -> None:
        self._server.kill()
        self._up = False


def grpc(folder: Path) -> Victim:
    script = "from stellar_arrow_source.ledger_cli import main; main()"
    return OverFolder(folder, "grpc", lambda port, store: ["-c", script, "serve", str(store), "--port", str(port)])


def rpc(folder: Path) -> Victim:
    return OverFolder(folder, "rpc+http", lambda port, store: ["-m", "tests.support.rpc_server", str(port), str(store)])


@contextmanager
def tormented(victim: Victim, chance: random.Random) -> Iterator[list[float]]:
    """A process that is killed again and again at random; when it was."""
    kills: list[float] = []
    done = threading.Event()

    def torment() -> None:
        while len(kills) < victim.most and not done.wait(chance.uniform(*victim.rest)):
            victim.kill()
            kills.append(time.monotonic())
            done.wait(chance.uniform(0.0, 0.3))
            victim.start()

    thread = threading.Thread(target=torment)
    thread.start()
    try:
        yield kills
    finally:
        done.set()
        thread.join()


class Reader(NamedTuple):
    """What a client asks for, and how it is to be counted on."""

    stream: str
    start: int | None
    end: int | None
    columns: tuple[str, ...] | None = None

    def read(self, server: str) -> tuple[pa.Table, list[Cursor]]:
        """Read until the last ledger has come."""
        batches, cursors = [], []
        request = StreamRequest(self.stream, self.start, self.end, columns=self.columns)
        with Client(server) as client:
            stream = client.stream(request)
            for rows, cursor in stream:
                if cursor.last >= cursor.first:
                    batches.append(rows)
                    cursors.append(cursor)
                if cursor.last == LAST:
                    break
            stream.close()  # type: ignore[attr-defined]
        return pa.Table.from_batches(batches), cursors


READERS = (
    Reader("ledgers", FIRST, None),
    Reader("ledgers", MIDDLE - 7, None, ("ledger_sequence", "ledger_hash")),
    Reader("ledgers", None, None),
    Reader("transactions", FIRST, LAST),
    Reader("transactions", FIRST + 11, None, ("ledger_sequence", "transaction_hash", "fee_charged")),
)


@pytest.mark.parametrize("kind", [grpc, rpc, pytest.param(InS3, marks=requires_s3, id="s3")])
def test_no_ledger_is_lost_or_doubled(
    kind: Callable[[Path], Victim], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("STELLAR_CHAOS_SEED", str(time.time_ns())))
    print(f"STELLAR_CHAOS_SEED={seed}")
    ledgers = made(FIRST, LAST)
    victim = kind(tmp_path)
    for name, value in victim.environment.items():
        monkeypatch.setenv(name, value)
    for sequence in range(FIRST, MIDDLE):
        victim.put(sequence, ledgers[sequence - FIRST])
    victim.start()
    found: dict[Reader, tuple[pa.Table, list[Cursor]]] = {}
    raw: list[bytes] = []

    def read_raw() -> None:
        source = open_source(victim.endpoint, retry=PATIENT)
        raw.extend(sha256(ledger.xdr).digest() for ledger in source.ledgers(FIRST, LAST, NEVER))
        source.close()

    try:
        with serving(tables=ledger_tables(), open_source=lambda: open_source(victim.endpoint, retry=PATIENT)) as server:
            wait_until(lambda: not server.not_ready(), 300)
            threads = [threading.Thread(target=read_raw)]
            threads += [
                threading.Thread(target=lambda one=one: found.update({one: one.read(server.location)}))
                for one in READERS
            ]
            with tormented(victim, random.Random(seed)) as kills:
                for thread in threads:
                    thread.start()
                for sequence in range(MIDDLE, LAST):
                    victim.put(sequence, ledgers[sequence - FIRST])
                    time.sleep(1 / RATE)
                wait_until(lambda: len(kills) >= KILLS, 120)
                victim.put(LAST, ledgers[-1])
            for thread in threads:
                thread.join(60)
    finally:
        victim.kill()
    print(f"{len(kills)} kills, {LEDGERS} ledgers to each of {len(READERS) + 1} readers")

    assert raw == [sha256(xdr).digest() for xdr in ledgers]
    assert set(found) == set(READERS)
    for reader, (table, cursors) in found.items():
        first = cursors[0].first
        assert first == reader.start or (reader.start is None and FIRST <= first < LAST)
        assert all(after.first == before.cursor for before, after in pairwise(cursors))
        assert cursors[-1].last == LAST
        assert table.equals(_expected(reader, ledgers[first - FIRST :]))
    hashes, previous = (found[READERS[0]][0][name].to_pylist() for name in ("ledger_hash", "previous_ledger_hash"))
    assert previous[1:] == hashes[:-1]
    assert len(set(hashes)) == LEDGERS


def _expected(reader: Reader, ledgers: tuple[bytes, ...]) -> pa.Table:
    """What the decoder alone makes of them."""
    decoder = LedgerDecoder({reader.stream: reader.columns}, passphrase="stellar-arrow synthetic network")
    return pa.Table.from_batches(
        [decoder.decode(ledgers[at : at + 16]).batches[reader.stream] for at in range(0, len(ledgers), 16)]
    )
