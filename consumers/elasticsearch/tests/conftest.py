"""A prefix of the search server for each test."""

from __future__ import annotations

import pytest

from consumers.elasticsearch.tests.support import Command
from tests.support.consumers import server, unique
from tests.support.opensearch import OpenSearchServer

__all__ = ["server"]


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test has."""
    return unique("t")


@pytest.fixture
def command(search: OpenSearchServer, prefix: str) -> Command:
    return Command(search, prefix)
