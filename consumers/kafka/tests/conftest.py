"""A name of topics of the Kafka broker for each test."""

from __future__ import annotations

import pytest

from consumers.kafka.tests.support import Command, topic_of
from stellar_arrow_client.testing import sample_table
from tests.support.consumers import FIRST, server, unique
from tests.support.kafka import KafkaServer

__all__ = ["server"]


@pytest.fixture
def template() -> str:
    """Names of topics that no other test has."""
    return unique("t") + ".{network}.{stream}"


@pytest.fixture
def topic(template: str) -> str:
    """The topic of ``samples``."""
    return topic_of(template, sample_table(FIRST, FIRST))


@pytest.fixture
def options(template: str) -> tuple[str, ...]:
    """Publish ``samples`` there."""
    return ("--stream", "samples", "--topic-template", template)


@pytest.fixture
def command(kafka: KafkaServer) -> Command:
    return Command(kafka.address)
