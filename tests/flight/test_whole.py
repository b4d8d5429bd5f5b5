"""The real decoder behind the server: what arrives is what it decodes, ledger by ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pyarrow as pa
import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, LedgerDecoder, Stream, find_stream
from tests.support import corpus
from tests.support.serving import serving, wait_until

SYNTHETIC = ("synthetic://?ledgers=63", 2, 64)
OF_2022 = (str(corpus.ROOT / "testnet-2022"), 1410048, 1410303)
SELDOM = frozenset({"config_settings", "contract_code", "restored_keys", "evicted_keys"})
"""Streams that have no row in either."""
SINCE_SOROBAN = SELDOM | {"contract_events", "diagnostic_events", "contract_data", "ttl", "liquidity_pools"}
"""Streams that have no row in those ledgers of 2022."""

PLACES = [
    pytest.param((*SYNTHETIC, SELDOM), id="synthetic"),
    pytest.param((*OF_2022, SINCE_SOROBAN), id="store", marks=corpus.requires_corpus),
]


class Served:
    """A server over one source, and what the decoder alone makes of the same ledgers."""

    def __init__(self, service: Service, endpoint: str, first: int, last: int, empty: frozenset[str]) -> None:
        self.service, self.first, self.last, self.empty = service, first, last, empty
        source = open_source(endpoint)
        self._ledgers = [bytes(ledger.xdr) for ledger in source.ledgers(first, last, threading.Event())]
        self._passphrase = source.network_passphrase
        source.close()

    def expected(self, stream: str, columns: tuple[str, ...] | None) -> pa.Table:
        decoder = LedgerDecoder({stream: columns}, passphrase=self._passphrase)
        return pa.Table.from_batches([decoder.decode([xdr]).batches[stream] for xdr in self._ledgers])


@pytest.fixture(scope="module", params=PLACES)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    endpoint, first, last, empty = request.param
    tables = Tables(STREAMS, find_stream, LedgerDecoder)
    with serving(tables=tables, open_source=lambda: open_source(endpoint), batch_size=24) as service:
        wait_until(lambda: not service.not_ready(), 120)
        yield Served(service, endpoint, first, last, empty)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
@pytest.mark.parametrize("every_column", [False, True], ids=["usual columns", "every column"])
def test_rows_are_those_of_the_decoder(served: Served, stream: Stream, every_column: bool) -> None:
    columns = tuple(column.name for column in stream.columns) if every_column else None
    request = StreamRequest(stream.name, served.first, served.last, columns=columns)
    expected = served.expected(stream.name, columns)
    with Client(served.service.location) as client:
        parts = list(client.stream(request))
        schema = client.schema(stream.name, columns)
    table = pa.Table.from_batches([batch for batch, _ in parts])
    assert (expected.num_rows == 0) == (stream.name in served.empty)
    assert table.equals(expected)
    assert schema.equals(table.schema, check_metadata=True)
    assert b"network" in schema.metadata
    cursors = [cursor for _, cursor in parts]
    assert (cursors[0].first, cursors[-1].last) == (served.first, served.last)
    assert all(after.first == before.cursor for before, after in pairwise(cursors))
    assert len(cursors) > 1


def test_projection_and_compression_change_nothing_else(served: Served) -> None:
    columns = ("operation_type_string", "ledger_sequence", "successful")
    request = StreamRequest("operations", served.first, served.last, columns=columns, compression="zstd")
    with Client(served.service.location) as client:
        table = client.read_table(request)
    assert table.schema.names == list(columns)
    assert table.equals(served.expected("operations", None).select(columns))


def test_every_stream_is_listed(served: Served) -> None:
    with Client(served.service.location) as client:
        assert [stream.name for stream in client.streams()] == [stream.name for stream in STREAMS]
        assert client.latest_ledger() == served.last


def test_endpoints_read_at_the_same_time_make_the_whole(served: Served) -> None:
    request = StreamRequest("payments", served.first, served.last)
    with Client(served.service.location) as client:
        parts = [StreamRequest.parse(endpoint.ticket.ticket) for endpoint in client.plan(request).endpoints]
        with ThreadPoolExecutor(4) as pool:
            tables = list(pool.map(client.read_table, parts))
    assert pa.concat_tables(tables).equals(served.expected("payments", None))
