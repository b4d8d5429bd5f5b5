"""OpenSearch: elasticsearch-consumer beside the same bulk requests sent ready-made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import urllib3
from consumers_data import Data, Way
from elasticsearch_consumer.checkpoints import Checkpoint, Checkpoints
from elasticsearch_consumer.documents import Bulk, bulks
from elasticsearch_consumer.fields import properties_of
from elasticsearch_consumer.indices import Indices, Series
from elasticsearch_consumer.plan import DEFAULT_INDEX_LEDGERS, Wanted, about
from elasticsearch_consumer.session import Access, Session
from elasticsearch_consumer.sink import ElasticsearchSink, Target
from elasticsearch_consumer.writer import BulkWriter

from stellar_arrow_client import StreamRequest
from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.policy import RetryPolicy

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.opensearch import OpenSearchServer, opensearch_server

CONNECTIONS: Final = 2
BULK_BYTES: Final = 4 * 1024 * 1024
SETTINGS: Final = {"index.number_of_replicas": "0"}


@contextmanager
def ways(data: Data) -> Iterator[list[Way]]:
    """A server, and the ways to write into it."""
    ready = [bulk for part in data.parts for bulk in bulks(part.batch, DEFAULT_INDEX_LEDGERS, BULK_BYTES)]
    with opensearch_server() as server:

        def clear() -> None:
            server.ask("DELETE", "/bench*")

        yield [
            Way("elasticsearch-consumer", lambda: _consume(server, data), clear),
            Way("the same bulk requests, ready-made", lambda: _send(server, data, ready), clear),
        ]


def _prepare(server: OpenSearchServer, data: Data) -> tuple[Session, Indices, Wanted]:
    session = Session(server.url, Access(), RetryPolicy())
    schema = data.parts[0].batch.schema
    request = StreamRequest(data.stream, data.parts[0].cursor.first, data.parts[-1].cursor.last)
    wanted = Wanted("bench", Chosen("", request, schema), None)
    indices = Indices(session, Series("bench", DEFAULT_INDEX_LEDGERS))
    indices.put_template(properties_of(schema), about(schema), SETTINGS)
    return session, indices, wanted


def _consume(server: OpenSearchServer, data: Data) -> None:
    """As the command does, without reading from a server."""
    session, indices, wanted = _prepare(server, data)
    checkpoints, checkpoint = Checkpoints(session, "bench"), Checkpoint(wanted.content)
    checkpoints.create()
    checkpoints.take("bench", checkpoint)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        writer = BulkWriter(session, indices, threads, CONNECTIONS, RetryPolicy())
        sink = ElasticsearchSink(
            Target(indices.series, checkpoints, checkpoint, wanted.chosen.schema, BULK_BYTES), writer
        )
        for batch, cursor in data.parts:
            sink.write(batch, cursor)
        sink.checkpoint()
        sink.close()


def _send(server: OpenSearchServer, data: Data, ready: list[Bulk]) -> None:
    _, indices, _ = _prepare(server, data)
    names = {bulk.period: indices.ready(bulk.period) for bulk in ready}
    pool = urllib3.PoolManager(maxsize=CONNECTIONS)

    def send(bulk: Bulk) -> None:
        url = f"{server.url}/{names[bulk.period]}/_bulk?filter_path=errors"
        answer = pool.request("POST", url, body=bulk.body, headers={"Content-Type": "application/x-ndjson"})
        assert answer.json() == {"errors": False}

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(send, ready))
