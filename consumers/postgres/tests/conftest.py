"""A PostgreSQL server for all tests of a run, and a schema for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.postgres.tests.support import Command, Reader
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.postgres import PostgresServer, find_programs, postgres_server

FIRST, LAST = 100, 699

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_programs() is None:
        reason = "no PostgreSQL server (14 or newer) is installed; scripts/test-servers says how"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def schema() -> str:
    """The name of a schema that no other test has."""
    return f"s{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serves ledgers 100 to 699 of ``samples`` and ``others``."""
    tables = {name: sample_table(FIRST, LAST, stream=name) for name in ("samples", "others")}
    with FakeServer(tables, FIRST, LAST) as server:
        yield server


@pytest.fixture
def reader(postgres: PostgresServer, schema: str) -> Reader:
    return Reader(postgres.url, schema)


@pytest.fixture
def command(postgres: PostgresServer, schema: str) -> Command:
    return Command(postgres.url, schema)
