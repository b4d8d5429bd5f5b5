"""A name of topics of the Kafka broker for each test."""

from __future__ import annotations

import pytest

from consumers.kafka.tests.support import Command
from tests.support.consumers import server, unique
from tests.support.kafka import KafkaServer

__all__ = ["server"]


@pytest.fixture
def template() -> str:
    """Names of topics that no other test has."""
    return unique("t") + ".{network}.{stream}"


@pytest.fixture
def command(kafka: KafkaServer) -> Command:
    return Command(kafka.address)
