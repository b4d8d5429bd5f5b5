"""The real decoder behind the server: what arrives is what it decodes, ledger by ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, DecodedBatch, LedgerDecoder, Stream, find_stream
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
        self.endpoint = endpoint
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


class Watched(LedgerDecoder):
    """Notes which ledgers are decoded, and of which columns."""

    decoded: ClassVar[list[tuple[list[int], tuple[str, ...]]]] = []

    def decode_buffer(self) -> DecodedBatch:
        made = super().decode_buffer()
        [(_, columns)] = self.columns
        self.decoded.append((made.sequences.tolist(), columns))
        return made


@pytest.mark.parametrize("first", [2, 20, 41])
def test_only_what_is_asked_for_is_decoded(served: Served, first: int) -> None:
    """Of the ledgers, those closed at the time; of the columns, those sent and those that the condition reads."""
    every = served.expected("ledgers", ("ledger_sequence", "ledger_close_time"))
    at = min(first, every.num_rows - 1)
    begin, end = every["ledger_close_time"][at].as_py(), every["ledger_close_time"][min(at + 9, len(every) - 1)].as_py()
    condition = f"ledger_close_time BETWEEN '{begin.isoformat()}' AND '{end.isoformat()}' AND successful"
    request = StreamRequest("payments", served.first, served.last, columns=("amount",), filter=condition)
    tables = Tables(STREAMS, find_stream, Watched)
    source = open_source(served.endpoint)
    with serving(tables=tables, open_source=lambda: source, batch_size=4) as service:
        wait_until(lambda: not service.not_ready(), 120)
        Watched.decoded.clear()
        with Client(service.location) as client:
            parts = list(client.stream(request))
    payments = served.expected("payments", ("ledger_close_time", "successful", "amount"))
    asked = (pc.field("ledger_close_time") >= begin) & (pc.field("ledger_close_time") <= end) & pc.field("successful")
    assert pa.Table.from_batches([batch for batch, _ in parts]).equals(payments.filter(asked).select(["amount"]))
    assert [cursor.first for _, cursor in parts][1:] == [cursor.cursor for _, cursor in parts][:-1]
    assert parts[-1][1].last == served.last
    matching = every.filter((pc.field("ledger_close_time") >= begin) & (pc.field("ledger_close_time") <= end))
    wanted, decoded = matching["ledger_sequence"].to_pylist(), [s for ledgers, _ in Watched.decoded for s in ledgers]
    assert set(wanted) <= set(decoded)
    assert len(decoded) <= len(wanted) + 2 * 3, "a group at each end of the time"
    assert {columns for _, columns in Watched.decoded} == {("amount", "ledger_close_time", "successful")}
