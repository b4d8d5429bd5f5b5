"""Archives in a bucket whose writer is killed, whose storage restarts and whose network is cut: every row once.

``PARQUET_CONSUMER_KILLS`` says how many kills there are, and with it how many ledgers.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from parquet_consumer.formats import Format

from stellar_arrow_client.testing import SAMPLE_STREAM, FakeServer, sample_table
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import LedgerDecoder
from tests.support.corpus import ROOT, requires_corpus
from tests.support.lake import Place, same_rows
from tests.support.object_storage import S3Server, requires_s3
from tests.support.proxy import CuttableProxy

pytestmark = requires_s3

KILLS = int(os.environ.get("PARQUET_CONSUMER_KILLS", "3"))
LEDGERS = 200 * KILLS
PACKAGES = {"parquet": "pyarrow", "delta": "deltalake", "iceberg": "pyiceberg"}
OFTEN = ("--interval", "0.002", "--max-file-size", "40KB")
CORPUS = {"parquet": "transactions", "delta": "operations", "iceberg": "effects"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        server.create_buckets()
        yield server
    finally:
        server.kill()


class Trials:
    """Runs the command against one place through a network that breaks."""

    def __init__(self, command, s3: S3Server, proxy: CuttableProxy, place: Place, form: str) -> None:
        self.command, self.s3, self.proxy, self.place, self.form = command, s3, proxy, place, form
        self.command.env = s3.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        self._chance = random.Random(f"{form} 53312000")
        self.resumed_at: set[int | None] = set()

    def arguments(self, server: FakeServer, stream: str, first: int, last: int) -> list[object]:
        catalog = self.place.catalog if self.form == "iceberg" else []
        to = [server.address, self.place.output, first, last]
        return [*to, "--stream", stream, "--format", self.form, *catalog, "--log-level", "warning"]

    def kill(self, server: FakeServer, *arguments: object, trouble: str) -> None:
        """Start, let it come some way, make trouble, kill it."""
        with self.command.start(*arguments) as process:
            server.wait_for_batches(server.batches + self._chance.randrange(1, 60), 60)
            time.sleep(self._chance.random() * 0.3)
            if trouble == "cut":
                self.proxy.cut()
                threading.Timer(0.5, self.proxy.mend).start()
                time.sleep(self._chance.random())
            elif trouble == "restart":
                self.s3.kill()
                time.sleep(self._chance.random() * 0.2)
            process.kill()
            _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
        if trouble == "restart":
            self.s3.start()
        self.proxy.mend()

    def covered(self, stream: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
        with monkeypatch.context() as patch:
            for name, value in self.s3.environment.items():
                patch.setenv(name, value)
            form = Format(self.form, self.place.catalog[1] if self.form == "iceberg" else None)
            return list(form.records(self.place.storage, stream).covered)


@pytest.fixture(params=list(PACKAGES))
def trials(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, command) -> Iterator[Trials]:
    pytest.importorskip(PACKAGES[request.param])
    with CuttableProxy(s3.port) as proxy:
        name = request.node.name.replace("[", "-").strip("]")
        yield Trials(command, s3, proxy, Place(tmp_path, s3, name), request.param)


def endure(trials: Trials, table: pa.Table, stream: str, first: int, last: int, monkeypatch, kills: int) -> None:
    """Kill the command again and again, then let it end, and compare."""
    with FakeServer({stream: table}, first, last, ledgers_per_batch=2, delay=0.02) as server:
        arguments = trials.arguments(server, stream, first, last)
        for number in range(kills):
            trials.kill(server, *arguments, *OFTEN, trouble=("nothing", "cut", "restart")[number % 3])
            trials.resumed_at.update(last for _, last in trials.covered(stream, monkeypatch))
        server.delay, server.ledgers_per_batch = 0, 250
        trials.command(*arguments)
        trials.command("verify", trials.place.output)
    assert len(trials.resumed_at) > kills // 3, "the kills must meet an archive that grows"
    assert trials.covered(stream, monkeypatch) == [(first, last)]
    same_rows(trials.place.read(trials.form, stream), table)


@pytest.mark.timeout(60 + 60 * KILLS)
def test_kills_cuts_and_restarts_leave_every_row_once(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = 1000, 1000 + LEDGERS - 1
    endure(trials, sample_table(first, last), SAMPLE_STREAM, first, last, monkeypatch, KILLS)


@requires_corpus
@pytest.mark.timeout(60 + 60 * KILLS)
def test_the_same_with_real_ledgers(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = 1410048, 1410303
    stream = CORPUS[trials.form]
    source = open_source(str(ROOT / "testnet-2022"))
    ledgers = [ledger.xdr for ledger in source.ledgers(first, last, threading.Event())]
    table = pa.Table.from_batches([LedgerDecoder({stream: None}).decode(ledgers).batches[stream]])
    assert table.num_rows
    endure(trials, table, stream, first, last, monkeypatch, (KILLS + 2) // 3)
