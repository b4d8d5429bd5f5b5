"""Databases and brokers that all tests of a run share; a test that asks for one that cannot be had is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.kafka import KafkaServer
    from tests.support.opensearch import OpenSearchServer
    from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    from tests.support.postgres import find_programs, postgres_server

    if find_programs() is None:
        pytest.skip("no PostgreSQL server (14 or newer) is installed; scripts/test-servers says how")
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A Kafka broker."""
    from tests.support.kafka import kafka_server, what_lacks

    if lack := what_lacks():
        pytest.skip(lack)
    with kafka_server() as server:
        yield server


@pytest.fixture(scope="session")
def search() -> Iterator[OpenSearchServer]:
    """An OpenSearch node."""
    from tests.support.opensearch import opensearch_server, what_lacks

    if lack := what_lacks():
        pytest.skip(lack)
    with opensearch_server() as server:
        yield server
