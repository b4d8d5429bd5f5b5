"""Archives in a bucket whose writer is killed, whose storage restarts and whose network is cut: every row once.

``PARQUET_CONSUMER_KILLS`` says how many kills there are, and with it how many ledgers.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from parquet_consumer.formats import Format

from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.corpus import requires_corpus
from tests.support.iceberg_catalog import IcebergCatalog, what_lacks
from tests.support.lake import Place, same_rows
from tests.support.made_tables import corpus_tables
from tests.support.object_storage import S3Server, requires_s3
from tests.support.proxy import CuttableProxy

pytestmark = requires_s3

KILLS = int(os.environ.get("PARQUET_CONSUMER_KILLS", "3"))
LEDGERS = 200 * KILLS
PACKAGES = {"parquet": "pyarrow", "delta": "deltalake", "iceberg": "pyiceberg", "rest": "pyiceberg"}
"""What the archives need; ``rest`` is Iceberg with a REST catalog."""

OFTEN = ("--interval", "0.002", "--max-file-size", "40KB")
TROUBLES = ("nothing", "cut", "restart")
CORPUS = {"parquet": "transactions", "delta": "operations", "iceberg": "effects", "rest": "ttp_events"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[IcebergCatalog]:
    if lack := what_lacks():
        pytest.skip(lack)
    server = IcebergCatalog(tmp_path_factory.mktemp("catalog"), s3)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Trials:
    """Runs the command against one place through a network that breaks.

    Args:
        network: in front of each server.
    """

    def __init__(
        self, command, name: str, place: Place, network: Mapping[S3Server | IcebergCatalog, CuttableProxy]
    ) -> None:
        self.command, self.name, self.place, self.network = command, name, place, network
        self.form = "iceberg" if name == "rest" else name
        [(self.s3, proxy)] = [(server, proxy) for server, proxy in network.items() if isinstance(server, S3Server)]
        self.command.env = self.s3.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        self.chance = random.Random(f"{name} 53312000")
        self.resumed_at: set[int | None] = set()

    def arguments(self, server: FakeServer, stream: str, first: int, last: int) -> list[object]:
        catalog = self.place.catalog if self.form == "iceberg" else []
        to = [server.address, self.place.output, first, last]
        return [*to, "--stream", stream, "--format", self.form, *catalog, "--log-level", "warning"]

    def kill(self, *arguments: object, ready: Callable[[], bool], trouble: str) -> None:
        """Start, let it come so far, make trouble, kill it."""
        with self.command.start(*arguments) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and not ready():
                assert time.monotonic() < deadline, "it does not come so far"
                time.sleep(0.02)
            time.sleep(self.chance.random() * 0.3)
            self.break_servers(trouble)
            if trouble == "cut":
                threading.Timer(0.5, self.mend, [trouble]).start()
                time.sleep(self.chance.random())
            elif trouble == "restart":
                time.sleep(self.chance.random() * 0.2)
            process.kill()
            _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
        self.mend(trouble)

    def break_servers(self, trouble: str) -> None:
        for server, proxy in self.network.items():
            if trouble == "cut":
                proxy.cut()
            elif trouble == "restart":
                server.kill()

    def mend(self, trouble: str) -> None:
        for server, proxy in self.network.items():
            if trouble == "restart":
                server.start()
            proxy.mend()

    def covered(self, stream: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
        with monkeypatch.context() as patch:
            for name, value in self.s3.environment.items():
                patch.setenv(name, value)
            form = Format(self.form, self.place.catalog[1] if self.form == "iceberg" else None)
            return list(form.records(self.place.storage, stream).covered)


@pytest.fixture(params=list(PACKAGES))
def trials(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, command) -> Iterator[Trials]:
    pytest.importorskip(PACKAGES[request.param])
    prefix = request.node.name.replace("[", "-").strip("]")
    with ExitStack() as stack:
        network: dict[S3Server | IcebergCatalog, CuttableProxy] = {s3: stack.enter_context(CuttableProxy(s3.port))}
        address = None
        if request.param == "rest":
            catalog = request.getfixturevalue("catalog")
            network[catalog] = stack.enter_context(CuttableProxy(catalog.port))
            address = f"http://127.0.0.1:{network[catalog].port}"
        yield Trials(command, request.param, Place(tmp_path, s3, prefix, address), network)


def endure(trials: Trials, table: pa.Table, first: int, last: int, monkeypatch) -> None:
    """Kill the command again and again, then let it end, and compare."""
    stream = table.schema.metadata[b"stream"].decode()
    at_once = max(1, (last - first + 1) // (KILLS * 100))
    with FakeServer({stream: table}, first, last, ledgers_per_batch=at_once, delay=0.02) as server:
        arguments = trials.arguments(server, stream, first, last)
        covered = partial(trials.covered, stream, monkeypatch)
        for number, batches in enumerate(server.stages(KILLS)):
            wanted, sent, held = trials.chance.randrange(1, batches), server.batches, covered()

            def ready() -> bool:
                """When something more has been recorded, at times before that."""
                return server.batches >= sent + wanted if number % 4 == 3 else covered() != held  # noqa: B023

            trials.kill(*arguments, *OFTEN, ready=ready, trouble=TROUBLES[number % 3])
            trials.resumed_at.update(last for _, last in covered())
        server.delay, server.ledgers_per_batch = 0, 250
        trials.command(*arguments)
        trials.command("verify", trials.place.output)
    assert len(trials.resumed_at) > KILLS // 3, "the kills must meet an archive that grows"
    assert trials.covered(stream, monkeypatch) == [(first, last)]
    same_rows(trials.place.read(trials.form, stream), table)


@pytest.mark.timeout(60 + 60 * KILLS)
def test_kills_cuts_and_restarts_leave_every_row_once(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = 1000, 1000 + LEDGERS - 1
    endure(trials, sample_table(first, last), first, last, monkeypatch)


@requires_corpus
@pytest.mark.timeout(60 + 60 * KILLS)
def test_the_same_with_real_ledgers(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = CORPUS[trials.name]
    last, tables = corpus_tables([stream], LEDGERS // 20)
    assert tables[stream].num_rows
    endure(trials, tables[stream], 1, last, monkeypatch)


@pytest.mark.parametrize("trials", ["rest"], indirect=True)
def test_a_run_outlasts_cuts_and_restarts(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the storage and of the catalog, whatever is asked of them at that moment."""
    first, last = 1, 1500
    table = sample_table(first, last, stream="outlasting")
    with (
        FakeServer({"outlasting": table}, first, last, ledgers_per_batch=1, delay=0.02) as server,
        trials.command.start(*trials.arguments(server, "outlasting", first, last), *OFTEN) as process,
    ):
        for trouble in ("cut", "restart", "cut"):
            server.wait_for_batches(server.batches + 20, 60)
            trials.break_servers(trouble)
            time.sleep(0.5)
            trials.mend(trouble)
        server.delay = 0
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert trials.covered("outlasting", monkeypatch) == [(first, last)]
    same_rows(trials.place.read(trials.form, "outlasting"), table)
