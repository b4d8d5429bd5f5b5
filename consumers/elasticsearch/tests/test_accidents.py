"""Writers that are killed, servers that restart, networks that break: the indices end up as if nothing had happened.

How much of that, the environment says: ELASTICSEARCH_CONSUMER_KILLS (3 when unset) and ELASTICSEARCH_CONSUMER_LEDGERS
(400).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from consumers.elasticsearch.tests.support import Command
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus
from tests.support.made_tables import corpus_tables, made_tables
from tests.support.proxy import CuttableProxy

KILLS = int(os.environ.get("ELASTICSEARCH_CONSUMER_KILLS", "3"))
LEDGERS = int(os.environ.get("ELASTICSEARCH_CONSUMER_LEDGERS", "400"))
FIRST = 1000
LAST = FIRST + LEDGERS - 1
STREAMS = ("payments", "ttp_events")
OFTEN = (
    *("--stream", ",".join(STREAMS), "--checkpoint-seconds", 0.05, "--bulk-bytes", 65536),
    *("--index-ledgers", LEDGERS // 3 + 1, "--log-level", "warning"),
)
SECONDS = 60


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return made_tables(STREAMS, FIRST, LAST)


@pytest.fixture
def slow(tables) -> Iterator[FakeServer]:
    """A server that leaves time for accidents."""
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=4, delay=0.02) as server:
        yield server


def check(command, tables, first: int = FIRST, last: int = LAST) -> None:
    for stream in STREAMS:
        assert command.held(stream) == [(first, last)]
        assert command.table(stream, tables[stream].schema).to_pylist() == tables[stream].to_pylist()


@pytest.mark.timeout(120 + 10 * KILLS + LEDGERS // 5)
def test_kills(command, slow, tables) -> None:
    kill(command, slow, tables, FIRST, LAST)


@requires_corpus
@pytest.mark.timeout(120 + 10 * KILLS + LEDGERS // 5)
def test_kills_over_the_corpus(command) -> None:
    last, tables = corpus_tables(STREAMS, LEDGERS // 20)
    with FakeServer(tables, 1, last, ledgers_per_batch=1, delay=0.02) as slow:
        kill(command, slow, tables, 1, last)


def kill(command: Command, slow: FakeServer, tables: dict[str, pa.Table], first: int, last: int) -> None:
    """Spread over start, bulk requests and checkpoints by a seeded chance."""
    chance = random.Random(53312000)
    held = set()
    for number, batches in enumerate(slow.stages(KILLS)):
        with command.start(slow.address, first, last, *OFTEN) as process:
            if number % 4 == 3:  # while it begins
                time.sleep(chance.random() * 1.5)
            else:
                slow.wait_for_batches(slow.batches + chance.randrange(1, batches), SECONDS)
                time.sleep(chance.random() * 0.1)
            process.kill()
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
        slow.wait_until_idle(SECONDS)
        held.add(command.held_until("payments"))
    assert len(held) > KILLS / 4, "the kills must meet indices that grow"
    slow.delay, slow.ledgers_per_batch, command.seconds = 0, 100, 180 + LEDGERS / 10
    command(slow.address, first, last, *OFTEN)
    check(command, tables, first, last)


def test_restarts_of_the_search_server(command, slow, tables, search) -> None:
    with command.start(slow.address, FIRST, LAST, *OFTEN) as process:
        command.wait_until_held("payments", FIRST + LEDGERS // 5, SECONDS)
        search.restart()
        slow.delay = 0
        _, said = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, said
    assert "the search server does not answer, trying again" in said
    check(command, tables)


def test_cuts_of_the_network(command, slow, tables, search) -> None:
    with CuttableProxy(urlsplit(search.url).port) as proxy:
        with command.start(slow.address, FIRST, LAST, *OFTEN, url=f"http://127.0.0.1:{proxy.port}") as process:
            for _ in range(3):
                slow.wait_for_batches(slow.batches + 8, SECONDS)
                proxy.cut()
                time.sleep(0.3)
                proxy.mend()
            slow.delay = 0
            _, said = process.communicate(timeout=2 * SECONDS)
        assert proxy.cuts
    assert process.returncode == 0, said
    assert "the search server does not answer, trying again" in said
    check(command, tables)


def test_a_server_that_stays_away_ends_the_run(command, slow, search) -> None:
    with CuttableProxy(urlsplit(search.url).port) as proxy:
        url = f"http://writer:secret@127.0.0.1:{proxy.port}"
        with command.start(slow.address, FIRST, LAST, *OFTEN, "--retry-for", 1, url=url) as process:
            slow.wait_for_batches(4, SECONDS)
            proxy.cut()
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 3, said
    assert said.splitlines()[-1].startswith("error: cannot "), said
    assert "secret" not in said
