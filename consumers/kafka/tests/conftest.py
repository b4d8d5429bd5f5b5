"""A Kafka broker for all tests of a run, and a name of topics for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from consumers.kafka.tests.support import Command
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.kafka import KafkaServer, kafka_server, what_lacks

FIRST, LAST = 100, 699

_numbers = itertools.count()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    if lack := what_lacks():
        pytest.skip(lack)
    with kafka_server() as server:
        yield server


@pytest.fixture
def template() -> str:
    """Names of topics that no other test has."""
    return f"t{os.getpid()}-{next(_numbers)}.{{network}}.{{stream}}"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serves ledgers 100 to 699 of ``samples`` and ``others``."""
    tables = {name: sample_table(FIRST, LAST, stream=name) for name in ("samples", "others")}
    with FakeServer(tables, FIRST, LAST) as server:
        yield server


@pytest.fixture
def command(kafka: KafkaServer) -> Command:
    return Command(kafka.address)
