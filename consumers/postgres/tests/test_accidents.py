"""Writers that are killed, servers that restart, networks that break: the tables end up as if nothing had happened.

How much of that, the environment says: POSTGRES_CONSUMER_KILLS (3 when unset) and POSTGRES_CONSUMER_LEDGERS (600).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest

from consumers.postgres.tests.support import Command, Reader
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus
from tests.support.made_tables import corpus_tables, made_tables
from tests.support.postgres import PostgresServer
from tests.support.proxy import CuttableProxy

KILLS = int(os.environ.get("POSTGRES_CONSUMER_KILLS", "3"))
LEDGERS = int(os.environ.get("POSTGRES_CONSUMER_LEDGERS", "600"))
FIRST = 1000
LAST = FIRST + LEDGERS - 1
STREAMS = ("payments", "ttp_events")
OFTEN = ("--stream", ",".join(STREAMS), "--commit-seconds", 0.05, "--commit-rows", 200, "--log-level", "warning")
SECONDS = 120


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return made_tables(STREAMS, FIRST, LAST)


@pytest.fixture
def slow(tables) -> Iterator[FakeServer]:
    """A server that leaves time for accidents."""
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=4, delay=0.005) as server:
        yield server


@pytest.mark.timeout(600 + 30 * KILLS + LEDGERS // 10)
def test_kills(command, reader, slow, tables) -> None:
    _kill(command, reader, slow, tables, range(FIRST, LAST + 1))


@requires_corpus
@pytest.mark.timeout(600 + 30 * KILLS)
def test_kills_over_the_corpus(command, reader) -> None:
    last, tables = corpus_tables(STREAMS, LEDGERS // 20)
    with FakeServer(tables, 1, last, ledgers_per_batch=1, delay=0.02) as slow:
        _kill(command, reader, slow, tables, range(1, last + 1))


def _kill(command: Command, reader: Reader, slow: FakeServer, tables: dict[str, pa.Table], ledgers: range) -> None:
    """In turn with one range, several, and partitions; spread over start, stream and commit by a seeded chance."""
    chance = random.Random(53312000)
    first, last = ledgers[0], ledgers[-1]
    counts, total = [0], len(ledgers) * len(STREAMS)
    for number in range(KILLS):
        writers = ("--writers", 1 + number % 3)
        with command.start(slow.address, first, last, *OFTEN, *writers, "--partition-ledgers", 250) as process:
            if number % 4 == 3:  # while it begins
                time.sleep(chance.random() * 1.5)
            else:
                wanted = counts[-1] + chance.randrange(1, total // (3 * (KILLS + 1)))
                reader.wait_until(
                    lambda: process.poll() is not None or reader.count(*STREAMS) >= wanted,  # noqa: B023
                    SECONDS,
                )
                time.sleep(chance.random() * 0.1)
            process.kill()
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
        counts.append(reader.count(*STREAMS))
        assert counts[-2] <= counts[-1] < total
    slow.delay, slow.ledgers_per_batch = 0, 100
    command(slow.address, first, last, *OFTEN, "--writers", 2)
    for stream in STREAMS:
        assert reader.ledgers(stream) == [(first, last)]
        reader.check(stream, tables[stream])


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_of_the_database(command, reader, slow, tables, postgres: PostgresServer, mode) -> None:
    """The second one while the writer waits for the first; immediate is a crash."""
    with command.start(slow.address, FIRST, LAST, *OFTEN, "--writers", 2) as process:
        for batches in (10, 40):
            slow.wait_for_batches(slow.batches + batches, SECONDS)
            postgres.stop(mode)
            time.sleep(0.5)
            postgres.start()
        slow.delay = 0
        _, said = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, said
    assert "the database broke off, trying again" in said
    for stream in STREAMS:
        reader.check(stream, tables[stream])


def test_cuts_of_the_network(command, reader, slow, tables, postgres: PostgresServer) -> None:
    """Whatever is under way then, commits among it."""
    with CuttableProxy(postgres.port) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        with command.start(slow.address, FIRST, LAST, *OFTEN, url=url) as process:
            for _ in range(3):
                wanted, cuts = reader.count(*STREAMS) + 10, proxy.cuts
                reader.wait_until(lambda: reader.count(*STREAMS) >= wanted, SECONDS)  # noqa: B023
                proxy.cut()
                assert proxy.cuts > cuts
                time.sleep(0.3)
                proxy.mend()
            slow.delay = 0
            _, said = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, said
    for stream in STREAMS:
        reader.check(stream, tables[stream])


def test_sessions_that_are_ended(command, reader, slow, tables, postgres: PostgresServer) -> None:
    """By an administrator, at any moment, those that hold the locks included."""
    done = threading.Event()
    ended = []

    def end_sessions() -> None:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            while not done.wait(0.15):
                ended.extend(
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'postgres-consumer' ORDER BY random() LIMIT 1"
                    ).fetchall()
                )
                if len(ended) > 12:
                    break

    administrator = threading.Thread(target=end_sessions)
    with command.start(slow.address, FIRST, LAST, *OFTEN, "--writers", 2) as process:
        administrator.start()
        _, said = process.communicate(timeout=2 * SECONDS)
        done.set()
        administrator.join()
    assert process.returncode == 0, said
    assert ended
    for stream in STREAMS:
        reader.check(stream, tables[stream])


def test_a_database_that_stays_away_ends_the_run(command, slow, postgres: PostgresServer) -> None:
    port = urlsplit(postgres.url).port
    with CuttableProxy(port) as proxy:
        url = f"postgresql://postgres:secret@127.0.0.1:{proxy.port}/postgres"
        with command.start(slow.address, FIRST, LAST, *OFTEN, "--retry-for", 1, url=url) as process:
            slow.wait_for_batches(4, SECONDS)
            proxy.cut()
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 3, said
    # Which of its connections comes first to the end of its patience is left to chance.
    assert said.splitlines()[-1].startswith(("error: cannot write into the table", "error: cannot lock the tables"))
    assert "secret" not in said
