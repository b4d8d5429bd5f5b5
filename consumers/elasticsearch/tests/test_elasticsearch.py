"""Elasticsearch itself; the other tests run against OpenSearch, which has all of its modules here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.elasticsearch.tests.test_accidents import KILLS, LEDGERS, OFTEN, SECONDS, STREAMS, check, kill
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus
from tests.support.elasticsearch import ElasticsearchServer, elasticsearch_server, what_lacks
from tests.support.made_tables import corpus_tables, made_tables


@pytest.fixture(scope="module")
def search() -> Iterator[ElasticsearchServer]:
    if lack := what_lacks():
        pytest.skip(lack)
    with elasticsearch_server() as server:
        yield server


def test_a_restart(command, search: ElasticsearchServer) -> None:
    tables = made_tables(STREAMS, 1001, 1200)
    with (
        FakeServer(tables, 1001, 1200, ledgers_per_batch=2, delay=0.02) as server,
        command.start(server.address, 1001, 1200, *OFTEN) as process,
    ):
        command.wait_until_held("payments", 1040, SECONDS)
        search.restart()
        server.delay = 0
        _, said = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, said
    assert "the search server does not answer, trying again" in said
    check(command, tables, 1001, 1200)


@requires_corpus
@pytest.mark.timeout(120 + 10 * KILLS + LEDGERS // 5)
def test_kills_over_the_corpus(command) -> None:
    last, tables = corpus_tables(STREAMS, LEDGERS // 20)
    with FakeServer(tables, 1, last, ledgers_per_batch=1, delay=0.02) as slow:
        kill(command, slow, tables, 1, last)
