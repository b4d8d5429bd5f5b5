"""Publishers that are killed, brokers that restart, networks that break: the topics end up as if nothing had happened.

How much of that, the environment says: KAFKA_CONSUMER_TEST_KILLS (3 when unset), KAFKA_CONSUMER_TEST_LEDGERS (600).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from kafka_consumer import publisher
from kafka_consumer.brokers import Brokers
from kafka_consumer.encodings.json import JsonEncoding
from kafka_consumer.errors import FencedError
from kafka_consumer.messages import Outlet
from kafka_consumer.planning import Publication
from kafka_consumer.sink import KafkaSink
from kafka_consumer.topics import Topics

from consumers.kafka.tests.support import Command, check_topic, read_topic, topic_of
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus
from tests.support.kafka import KafkaServer
from tests.support.made_tables import corpus_tables, made_tables

KILLS = int(os.environ.get("KAFKA_CONSUMER_TEST_KILLS", "3"))
LEDGERS = int(os.environ.get("KAFKA_CONSUMER_TEST_LEDGERS", "600"))
FIRST = 1000
LAST = FIRST + LEDGERS - 1
STREAMS = ("payments", "ttp_events")
SECONDS = 60
OFTEN = ("--stream", ",".join(STREAMS), "--transaction-seconds", 0.05, "--log-level", "warning")


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return made_tables(STREAMS, FIRST, LAST)


@pytest.fixture
def slow(tables) -> Iterator[FakeServer]:
    """A server that leaves time for accidents."""
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=4, delay=0.005) as server:
        yield server


def open_sink(
    kafka: KafkaServer, template: str, table: pa.Table, resume: int | None = None, address: str | None = None
) -> KafkaSink:
    """A sink of ``payments`` within this process."""
    publication = Publication(template=template, encoding="json")
    settings = publisher.Settings(transaction_seconds=0.25)
    sink = KafkaSink(Brokers(address or kafka.address), publication, settings)
    assert sink.open(table.schema, StreamRequest("payments", FIRST)) == resume
    return sink


def write(sink: KafkaSink, table: pa.Table, first: int, last: int, *, commit: bool = True) -> None:
    """Publish the rows of some ledgers."""
    start, end = np.searchsorted(table["ledger_sequence"].to_numpy(), [first, last + 1]).tolist()
    sink.write(table.slice(start, end - start).combine_chunks().to_batches()[0], Cursor(first, last))
    if commit:
        assert sink.checkpoint() == last + 1


def check(address: str, template: str, encoding: str, tables: dict[str, pa.Table]) -> None:
    for stream in STREAMS:
        check_topic(address, topic_of(template, tables[stream]), encoding, tables[stream])


@pytest.mark.timeout(120 + 10 * KILLS + LEDGERS // 10)
def test_kills(command, slow, tables, template) -> None:
    _kill(command, slow, tables, template, range(FIRST, LAST + 1))


@requires_corpus
@pytest.mark.timeout(120 + 10 * KILLS + LEDGERS // 10)
def test_kills_over_the_corpus(command, template) -> None:
    last, tables = corpus_tables(STREAMS, LEDGERS // 20)
    with FakeServer(tables, 1, last, ledgers_per_batch=1, delay=0.02) as slow:
        _kill(command, slow, tables, template, range(1, last + 1))


def _kill(command: Command, slow: FakeServer, tables: dict[str, pa.Table], template: str, ledgers: range) -> None:
    """Spread over start, stream and commit by a seeded chance."""
    chance = random.Random(53312000)
    options = (*OFTEN, "--topic-template", template, "--encoding", "avro", "--partitions", 3, "--key", "asset_code")
    met = set()
    for batches in slow.stages(KILLS):
        with command.start(slow.address, ledgers[0], ledgers[-1], *options) as process:
            slow.wait_for_batches(slow.batches + chance.randrange(1, batches), SECONDS)
            time.sleep(chance.random() * 0.05)
            process.kill()
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
        met.add(len(read_topic(command.brokers, topic_of(template, tables["ttp_events"]))))
    assert len(met) > KILLS / 4, "the kills must meet a topic that grows"
    slow.delay, slow.ledgers_per_batch = 0, 100
    command(slow.address, ledgers[0], ledgers[-1], *options)
    check(command.brokers, template, "avro", tables)


@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash"])
def test_restarts_of_the_broker(kafka, command, slow, tables, template, crash) -> None:
    with command.start(slow.address, FIRST, LAST, *OFTEN, "--topic-template", template) as process:
        slow.wait_for_batches(slow.batches + 40, SECONDS)
        kafka.stop(crash=crash)
        time.sleep(0.5)
        kafka.start()
        slow.delay = 0
        _, said = process.communicate(timeout=3 * SECONDS)
    assert process.returncode == 0, said
    check(kafka.address, template, "json", tables)


def test_cuts_of_the_network(kafka, slow, tables, template) -> None:
    command = Command(kafka.cuttable)
    before = kafka.proxy.cuts
    options = (*OFTEN, "--topic-template", template, "--encoding", "protobuf")
    with command.start(slow.address, FIRST, LAST, *options) as process:
        for _ in range(3):
            slow.wait_for_batches(slow.batches + 12, SECONDS)
            kafka.proxy.cut()
            time.sleep(0.3)
            kafka.proxy.mend()
        slow.delay = 0
        _, said = process.communicate(timeout=3 * SECONDS)
    assert process.returncode == 0, said
    assert kafka.proxy.cuts >= before + 6
    check(kafka.address, template, "protobuf", tables)


def test_transactions_that_the_brokers_give_up(kafka, tables, template, monkeypatch) -> None:
    """They say of it what they say when another publisher has taken over, which nobody has."""
    monkeypatch.setattr(publisher, "ORPHAN_SECONDS", 0.5)
    table = tables["payments"]
    sink = open_sink(kafka, template, table, address=kafka.cuttable)
    for first in range(FIRST, LAST + 1, 300):
        write(sink, table, first, min(first + 299, LAST), commit=False)
        kafka.proxy.cut()
        time.sleep(2.5)
        kafka.proxy.mend()
    assert sink.checkpoint() == LAST + 1
    sink.close()
    check_topic(kafka.address, topic_of(template, table), "json", table)


def test_publishers_that_begin_at_the_same_time(kafka, tables, template, monkeypatch) -> None:
    """One has read what the topic holds; another one publishes before it can say so, and that is no longer true."""
    monkeypatch.setattr(publisher, "_FENCED", set())  # as if something else had gone wrong
    table = tables["payments"]
    first = open_sink(kafka, template, table)
    slower = publisher.Publisher(Brokers(kafka.address), first.topic, f"{first.topic}.cursor", publisher.Settings())
    held = slower.take_over(1_000_000)
    assert held is not None
    write(open_sink(kafka, template, table), table, FIRST, FIRST + 99)
    with pytest.raises(FencedError, match="another kafka-consumer has taken over"):
        slower.claim(Outlet(Topics(Brokers(kafka.address)).find(first.topic), JsonEncoding(table.schema), (), {}), held)
    slower.close()
    with pytest.raises(FencedError):
        write(first, table, FIRST, FIRST + 99)
    first.close(complete=False)
    last = open_sink(kafka, template, table, FIRST + 100)
    write(last, table, FIRST + 100, LAST)
    last.close()
    check_topic(kafka.address, first.topic, "json", table)


def test_little_room(kafka, tables, template, monkeypatch) -> None:
    """One message may wait at a time."""
    monkeypatch.setattr(publisher, "MAX_ROWS", 1)
    table = tables["payments"].slice(0, 20)
    sink = open_sink(kafka, template, table)
    write(sink, table, FIRST, LAST)
    sink.close()
    check_topic(kafka.address, sink.topic, "json", table)


def test_brokers_that_stay_away_end_the_run(kafka, slow, template) -> None:
    command = Command(kafka.cuttable)
    with command.start(slow.address, FIRST, LAST, "--retry-for", 1, "--topic-template", template) as process:
        slow.wait_for_batches(slow.batches + 20, SECONDS)
        kafka.proxy.cut()
        try:
            _, said = process.communicate(timeout=3 * SECONDS)
        finally:
            kafka.proxy.mend()
    assert process.returncode == 3, said
    assert said.splitlines()[-1].startswith(f"error: cannot publish to {template.split('.')[0]}"), said
    assert "does not answer" in said
