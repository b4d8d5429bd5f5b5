"""Streams over real sockets: cursors, following the tip, slow and vanished readers, failures on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import flight

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight.cutting import MAX_BATCH_BYTES
from tests.support.serving import (
    DAMAGED,
    TABLES,
    PlainDecoder,
    ScriptedSource,
    ledger_bytes,
    serving,
    wait_until,
)


def read(service: Any, text: str) -> list[tuple[pa.RecordBatch, Cursor]]:
    with flight.FlightClient(service.location) as client:
        return [
            (chunk.data, Cursor.from_metadata(chunk.app_metadata.to_pybytes()))
            for chunk in client.do_get(flight.Ticket(text.encode()))
        ]


def assert_covers(cursors: Sequence[Cursor], first: int, last: int) -> None:
    """Each ledger is covered once, in order."""
    assert cursors[0].first == first
    assert all(after.first == before.cursor for before, after in pairwise(cursors))
    assert cursors[-1].last == last


def test_cursors_say_which_ledgers_the_rows_belong_to() -> None:
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence, rows=sequence % 3))
    with serving(source, batch_size=7) as service:
        chunks = read(service, "numbers:5:300")
    assert_covers([cursor for _, cursor in chunks], 5, 300)
    for batch, cursor in chunks:
        expected = [s for s in range(cursor.first, cursor.last + 1) for _ in range(s % 3)]
        assert batch["ledger_sequence"].to_pylist() == expected
        assert cursor.last - cursor.first < 7


def test_ledgers_without_rows_are_covered_too() -> None:
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence, rows=0))
    with serving(source) as service:
        chunks = read(service, "numbers:5:900")
    assert_covers([cursor for _, cursor in chunks], 5, 900)
    assert sum(batch.num_rows for batch, _ in chunks) == 0
    assert len(chunks) < 40


def test_filtered_rows_leave_every_ledger_covered() -> None:
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence, rows=sequence % 3))
    request = StreamRequest("numbers", 5, 300, columns=("index",), filter="ledger_sequence < 100 AND index > 0")
    with serving(source, batch_size=7) as service, flight.FlightClient(service.location) as client:
        assert client.get_flight_info(flight.FlightDescriptor.for_command(request.to_ticket())).total_records == -1
        chunks = list(client.do_get(flight.Ticket(request.to_ticket())))
    cursors = [Cursor.from_metadata(chunk.app_metadata.to_pybytes()) for chunk in chunks]
    assert_covers(cursors, 5, 300)
    rows = {cursor: chunk.data.column("index").to_pylist() for cursor, chunk in zip(cursors, chunks, strict=True)}
    assert chunks[0].data.schema.names == ["index"]
    for cursor, got in rows.items():
        covered = range(cursor.first, min(cursor.last, 99) + 1)
        assert got == [index for s in covered for index in range(s % 3) if index > 0]
    assert sum(map(len, rows.values())) > 20


@pytest.mark.parametrize(
    ("condition", "first", "last"),
    [
        ("ledger_sequence BETWEEN 300 AND 320", 300, 320),
        ("index = 1 AND ledger_sequence < 12", 5, 12),
        ("ledger_sequence > 890", 890, 900),
        ("ledger_sequence = 2000", 900, 900),
        ("ledger_sequence > 5000 OR ledger_sequence IN (7, 9)", 7, 900),
    ],
)
def test_ledgers_that_cannot_match_are_not_even_fetched(condition: str, first: int, last: int) -> None:
    source = ScriptedSource()
    with serving(source) as service, Client(service.location) as client:
        source.given.clear()
        parts = list(client.stream(StreamRequest("numbers", 5, 900, filter=condition)))
    assert set(source.given) == set(range(first, last + 1))
    assert_covers([cursor for _, cursor in parts], 5, 900)
    whole = pa.table({"ledger_sequence": [s for s in range(5, 901) for _ in range(2)], "index": [0, 1] * 896})
    with duckdb.connect() as connection:
        connection.register("numbers", whole)
        expected = connection.execute(f"SELECT * FROM numbers WHERE {condition} ORDER BY 1, 2").fetchall()
    rows = [(row["ledger_sequence"], row["index"]) for batch, _ in parts for row in batch.to_pylist()]
    assert rows == expected


def test_ledgers_that_are_still_to_come_are_not_passed_over() -> None:
    source = ScriptedSource(latest=100)
    with serving(source) as service, Client(service.location) as client:
        stream = client.stream(StreamRequest("numbers", 50, 110, filter="ledger_sequence > 105"))
        first = next(stream)[1]
        assert first == Cursor(50, 100)
        source.advance(10)
        parts = list(stream)
    assert_covers([first, *(cursor for _, cursor in parts)], 50, 110)
    assert sum(batch.num_rows for batch, _ in parts) == 2 * 5


def test_batches_are_cut_by_bytes_and_a_large_ledger_is_split() -> None:
    class Wide(PlainDecoder):
        text = "x" * 10_000

    # Ledger 50 alone makes 20 MB of rows, the others 0.1 MB each.
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence, rows=2000 if sequence == 50 else 10))
    with serving(source, tables=TABLES._replace(decoder=Wide)) as service:
        chunks = read(service, "numbers:1:100")
        with Client(service.location) as client:
            table = client.read_table(StreamRequest("numbers", 1, 100))
    assert_covers([cursor for _, cursor in chunks], 1, 100)
    assert max(len(batch.serialize()) for batch, _ in chunks) <= MAX_BATCH_BYTES
    split = [cursor for _, cursor in chunks if cursor.first == 50]
    assert [cursor.cursor for cursor in split] == [50] * (len(split) - 1) + [51]
    assert len(split) >= 5
    rows = [row for batch, _ in chunks for row in batch["ledger_sequence"].to_pylist()]
    assert rows == [s for s in range(1, 101) for _ in range(2000 if s == 50 else 10)]
    assert table["ledger_sequence"].to_pylist() == rows


def test_following_the_tip_is_prompt_and_says_when_nothing_comes() -> None:
    source = ScriptedSource(latest=100)
    with serving(source) as service, flight.FlightClient(service.location) as client:
        reader = client.do_get(flight.Ticket(b"numbers:100:"))
        assert Cursor.from_metadata(reader.read_chunk().app_metadata.to_pybytes()) == Cursor(100, 100)
        idle_since = time.monotonic()
        heartbeat = reader.read_chunk()
        assert 0.5 < time.monotonic() - idle_since < 3
        assert heartbeat.data.num_rows == 0
        assert Cursor.from_metadata(heartbeat.app_metadata.to_pybytes()) == Cursor(101, 100)
        delays = []
        for sequence in range(101, 121):
            time.sleep(0.02)
            began = time.perf_counter()
            source.advance()
            chunk = reader.read_chunk()
            delays.append(time.perf_counter() - began)
            assert Cursor.from_metadata(chunk.app_metadata.to_pybytes()) == Cursor(sequence, sequence)
        assert sorted(delays)[len(delays) // 4] < 0.01  # a busy machine delays some; polling would most
        reader.cancel()


def test_range_beyond_the_newest_ledger_waits_for_it() -> None:
    source = ScriptedSource(latest=100)
    with serving(source) as service, Client(service.location) as client:
        stream = client.stream(StreamRequest("numbers", 99, 103))
        got = [next(stream)[1]]
        source.advance(5)
        got += [cursor for _, cursor in stream]
        assert_covers(got, 99, 103)


def test_cancelling_frees_the_producer() -> None:
    source = ScriptedSource()
    with serving(source) as service, flight.FlightClient(service.location) as client:
        reader = client.do_get(flight.Ticket(b"numbers:1:"))
        reader.read_chunk()
        assert source.reading == 1
        assert service.health()["open_streams"] == 1
        reader.cancel()
        wait_until(lambda: source.reading == 0 and service.health()["open_streams"] == 0, 2)


def test_client_that_vanishes_frees_the_producer() -> None:
    source = ScriptedSource()
    with serving(source) as service:
        client = flight.FlightClient(service.location)
        client.do_get(flight.Ticket(b"numbers:1:")).read_chunk()
        client.close()
        del client
        wait_until(lambda: source.reading == 0 and service.health()["open_streams"] == 0, 2)


def test_slow_reader_holds_no_more_than_the_budget() -> None:
    budget, size = 1 << 20, 10_000
    source = ScriptedSource(latest=10_000, make=lambda sequence: ledger_bytes(sequence, 100, size))
    with serving(source, prefetch_bytes=budget) as service, flight.FlightClient(service.location) as client:
        reader = client.do_get(flight.Ticket(b"numbers:1:9000"))
        reader.read_chunk()
        time.sleep(0.5)
        parked = len(source.given)
        time.sleep(0.5)
        assert len(source.given) == parked < 9000
        assert service._hub.held_bytes <= budget + size
        rows = 200 * 50 + sum(chunk.data.num_rows for chunk in reader)
        assert rows >= 100 * 8900
        assert source.given[-1] == 9000


def test_streams_share_the_read_ahead_budget() -> None:
    source = ScriptedSource(latest=100_000, make=lambda sequence: ledger_bytes(sequence, 50, 10_000))
    with serving(source, prefetch_bytes=2 << 20) as service:
        clients = [flight.FlightClient(service.location) for _ in range(8)]
        readers = [client.do_get(flight.Ticket(b"numbers:1:")) for client in clients]
        for reader in readers:
            reader.read_chunk()
        time.sleep(1)
        assert service._hub.held_bytes <= 4 << 20
        for reader, client in zip(readers, clients, strict=True):
            reader.cancel()
            client.close()


def test_stream_beyond_the_limit_is_refused_and_admitted_later() -> None:
    with serving(max_connections=1) as service, flight.FlightClient(service.location) as client:
        first = client.do_get(flight.Ticket(b"numbers:1:"))
        first.read_chunk()
        with pytest.raises(flight.FlightUnavailableError) as raised:
            client.do_get(flight.Ticket(b"numbers:1:5")).read_all()
        payload = json.loads(raised.value.extra_info)
        assert payload["code"] == "UnavailableError"
        assert payload["exit_code"] == 3
        assert "MAX_CONNECTIONS" in payload["message"]
        first.cancel()
        wait_until(lambda: service.health()["open_streams"] == 0)
        assert client.do_get(flight.Ticket(b"numbers:1:5")).read_all().num_rows == 10


def failing(service: Any, ticket: str) -> tuple[list[Cursor], flight.FlightError]:
    cursors: list[Cursor] = []

    def collect() -> None:
        for chunk in client.do_get(flight.Ticket(ticket.encode())):
            cursors.append(Cursor.from_metadata(chunk.app_metadata.to_pybytes()))

    with flight.FlightClient(service.location) as client, pytest.raises(flight.FlightError) as raised:
        collect()
    assert "Traceback" not in str(raised.value)
    assert ".py" not in str(raised.value)
    return cursors, raised.value


def test_lost_source_ends_the_stream_with_the_ledger_to_resume_from() -> None:
    source = ScriptedSource()
    source.failures[205] = SourceUnavailableError("the source is gone")
    with serving(source) as service:
        cursors, error = failing(service, "numbers:1:300")
    assert_covers(cursors, 1, 204)
    assert isinstance(error, flight.FlightUnavailableError)
    assert json.loads(error.extra_info) == {
        "code": "SourceUnavailableError", "resume": 205, "exit_code": 3, "message": "the source is gone",
    }  # fmt: skip


def test_damaged_ledger_ends_the_stream_after_all_ledgers_before_it() -> None:
    source = ScriptedSource(make=lambda sequence: DAMAGED if sequence == 150 else ledger_bytes(sequence))
    with serving(source) as service:
        cursors, error = failing(service, "numbers:1:300")
    assert_covers(cursors, 1, 149)
    payload = json.loads(error.extra_info)
    assert (payload["code"], payload["resume"], payload["exit_code"]) == ("DecodeError", 150, 4)
    assert "LedgerCloseMeta.v" in payload["message"]


def test_source_that_leaves_a_ledger_out_or_swaps_one_is_caught() -> None:
    source = ScriptedSource(make=lambda sequence: ledger_bytes(sequence + 1 if sequence == 150 else sequence))
    with serving(source) as service:
        _, error = failing(service, "numbers:150:300")
    payload = json.loads(error.extra_info)
    assert (payload["code"], payload["resume"]) == ("IntegrityError", 150)
    assert "151" in payload["message"]


def test_unexpected_failure_tells_the_client_nothing_of_the_inside() -> None:
    source = ScriptedSource()
    source.failures[205] = ZeroDivisionError("secret of the inside")
    with serving(source) as service:
        _, error = failing(service, "numbers:1:300")
    assert isinstance(error, flight.FlightInternalError)
    assert "secret" not in str(error)
    payload = json.loads(error.extra_info)
    assert (payload["code"], payload["resume"], payload["exit_code"]) == ("StellarArrowError", 205, 1)


def test_endless_message_is_cut_to_what_the_wire_carries() -> None:
    source = ScriptedSource()
    source.failures[5] = SourceUnavailableError("ä" * 100_000)
    with serving(source) as service:
        _, error = failing(service, "numbers:1:300")
    payload = json.loads(error.extra_info)
    assert payload["code"] == "SourceUnavailableError"
    assert 100 < len(payload["message"]) <= 600


def test_the_client_resumes_after_the_server_was_replaced() -> None:
    source = ScriptedSource()
    with serving(source) as service, Client(service.location) as client:
        port = service.port
        stream = client.stream(StreamRequest("numbers", 1, None))
        cursors = [next(stream)[1]]
        service.close()
        source.advance(500)
        with serving(source, port=port):
            while cursors[-1].last < 1500:
                cursors.append(next(stream)[1])
            stream.close()  # type: ignore[attr-defined]
    assert_covers(cursors, 1, 1500)
