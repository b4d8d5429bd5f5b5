"""One search server for all tests of a run, and a prefix for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.elasticsearch.tests.support import Command
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.opensearch import OpenSearchServer, opensearch_server, what_lacks

FIRST, LAST = 100, 699

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := what_lacks():
        for item in items:
            if Path(__file__).parent in item.path.parents and "search" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def search() -> Iterator[OpenSearchServer]:
    with opensearch_server() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test has."""
    return f"t{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def command(search: OpenSearchServer, prefix: str) -> Command:
    return Command(search, prefix)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serves ledgers 100 to 699 of ``samples`` and ``others``."""
    tables = {name: sample_table(FIRST, LAST, stream=name) for name in ("samples", "others")}
    with FakeServer(tables, FIRST, LAST) as server:
        yield server
