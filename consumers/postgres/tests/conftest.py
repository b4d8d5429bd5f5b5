"""A schema of the PostgreSQL server for each test."""

from __future__ import annotations

import pytest

from consumers.postgres.tests.support import Command, Reader
from tests.support.consumers import server, unique
from tests.support.postgres import PostgresServer

__all__ = ["server"]


@pytest.fixture
def schema() -> str:
    """The name of a schema that no other test has."""
    return unique("s")


@pytest.fixture
def reader(postgres: PostgresServer, schema: str) -> Reader:
    return Reader(postgres.url, schema)


@pytest.fixture
def command(postgres: PostgresServer, schema: str) -> Command:
    return Command(postgres.url, schema)
