"""Streams across breaks: every ledger once, in order, or a typed error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from stellar_arrow_client import Client, Cursor, RetryPolicy, StreamRequest
from stellar_arrow_client.errors import (
    AuthenticationError,
    GapError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.request import error_payload
from stellar_arrow_client.testing import FakeServer, Fault, sample_table
from tests.client.scripted import QUICK, step

BREAK = flight.FlightUnavailableError("Connection reset by peer")


def read(client: Client, start: int | None, end: int | None) -> list[tuple[list[int], int, int]]:
    return [
        (batch.column("ledger_sequence").to_pylist(), cursor.first, cursor.last)
        for batch, cursor in client.stream(StreamRequest("samples", start, end))
    ]


def test_batches_come_as_they_are_sent(play: Callable) -> None:
    client, server = play([step(5, 6, 5, 5, 6), step(7, 9), step(10, 10, 10)])
    assert read(client, 5, 10) == [([5, 5, 6], 5, 6), ([], 7, 9), ([10], 10, 10)]
    assert server.requests == [StreamRequest("samples", 5, 10)]


def test_resumes_after_a_break(play: Callable) -> None:
    client, server = play([step(5, 6, 5), BREAK], [BREAK], [step(7, 7, 7)], [step(8, 9, 8)])
    assert read(client, 5, 9) == [([5], 5, 6), ([7], 7, 7), ([8], 8, 9)]
    assert [request.start for request in server.requests] == [5, 7, 7, 8]


def test_parts_of_a_ledger_are_joined(play: Callable) -> None:
    client, _ = play([step(5, 5, 5), step(6, 5, 6, 6), step(6, 5), step(6, 5, 6), step(6, 7, 6, 7)])
    assert read(client, 5, 7) == [([5], 5, 5), ([6, 6, 6, 6, 7], 6, 7)]


def test_parts_before_a_break_are_not_given_twice(play: Callable) -> None:
    parts = [step(5, 4, 5, value="a"), step(5, 4, 5, value="b"), step(5, 5, 5, value="c")]
    client, server = play([*parts[:2], BREAK], [parts[0], BREAK], parts)
    batches = [batch for batch, _ in client.stream(StreamRequest("samples", 5, 5))]
    assert [batch.column("value").to_pylist() for batch in batches] == [["a", "b", "c"]]
    assert [request.start for request in server.requests] == [5, 5, 5]


def test_a_stream_that_ends_too_early_is_resumed(play: Callable) -> None:
    client, server = play([step(5, 6, 5)], [step(7, 9, 7)])
    assert read(client, 5, 9) == [([5], 5, 6), ([7], 7, 9)]
    assert [request.start for request in server.requests] == [5, 7]


def test_the_latest_ledger_is_fixed_by_the_first_batch(play: Callable) -> None:
    client, server = play([step(70, 69), step(70, 70, 70), BREAK], [step(71, 71, 71), 60.0])
    stream = client.stream(StreamRequest("samples"))
    assert [next(stream)[1], next(stream)[1]] == [Cursor(70, 70), Cursor(71, 71)]
    stream.close()
    assert [request.start for request in server.requests] == [None, 71]


def test_heartbeats_are_given_out_on_demand(play: Callable) -> None:
    script = [step(5, 5, 5), step(6, 5), step(6, 5), step(6, 6, 6)]
    client, _ = play(script)
    request = StreamRequest("samples", 5, 6)
    assert [cursor.advances for _, cursor in client.stream(request)] == [True, True]
    client, _ = play(script)
    seen = [cursor.advances for _, cursor in client.stream(request, heartbeats=True)]
    assert seen == [True, False, False, True]


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ([step(5, 5, 5), step(7, 7, 7)], GapError, "ledgers 6 to 6 are missing"),
        ([step(6, 6, 6)], GapError, "ledgers 5 to 5 are missing"),
        ([step(5, 6, 5), step(6, 7, 6)], IntegrityError, "sent ledger 6 where 7 was next"),
        ([step(5, 6, 5), step(5, 6, 5)], IntegrityError, "sent ledger 5 where 7 was next"),
        ([step(5, 10, 5)], IntegrityError, "sent ledger 10, 9 was to be the last"),
        ([step(5, 6, 5, 7)], IntegrityError, "has rows of 5 to 7"),
        ([step(5, 6, 4, 5)], IntegrityError, "has rows of 4 to 5"),
        ([step(5, 4, 5), step(6, 6, 6)], GapError, "ledgers 5 to 5 are missing"),
        ([step(5, 4, 6)], IntegrityError, "has rows of 6 to 6"),
        ([(step(5, 5, 5)[0], b"")], IntegrityError, "carries no cursor"),
        ([(step(5, 5, 5)[0], b"{}")], IntegrityError, "carries no cursor"),
        ([step(5, 5, 5), flight.FlightUnauthenticatedError("no")], AuthenticationError, "refuses the credentials"),
    ],
)
def test_faults_of_the_server_are_not_retried(
    play: Callable, script: list, error: type[StellarArrowError], says: str
) -> None:
    client, server = play(script)
    with pytest.raises(error, match=says):
        read(client, 5, 9)
    assert len(server.requests) == 1


@pytest.mark.parametrize("sent", [GapError, IntegrityError, InvalidRequestError, StellarArrowError])
def test_errors_keep_their_type_and_are_not_retried(play: Callable, sent: type[StellarArrowError]) -> None:
    failure = flight.FlightServerError("ledger 7 is gone", error_payload(sent("ledger 7 is gone"), 7))
    client, server = play([step(5, 6, 5), failure])
    stream = client.stream(StreamRequest("samples", 5, 9))
    assert next(stream)[1] == Cursor(5, 6)
    with pytest.raises(sent, match=r"^ledger 7 is gone$") as caught:
        next(stream)
    assert type(caught.value) is sent
    assert caught.value.resume == 7
    assert len(server.requests) == 1


def test_a_source_that_is_away_for_a_moment_is_waited_for(play: Callable) -> None:
    away = flight.FlightUnavailableError("x", error_payload(UnavailableError("the store is away")))
    client, server = play([step(5, 5, 5), away], *[[away]] * 6, [step(6, 9, 6)])
    told: list[str] = []
    stream = client.stream(StreamRequest("samples", 5, 9), on_reconnect=lambda error: told.append(str(error)))
    assert [cursor.last for _, cursor in stream] == [5, 9]
    assert told == ["the store is away"] * 7
    assert len(server.requests) == 8


def test_retries_end_after_a_time_without_news(play: Callable) -> None:
    client, server = play([step(5, 5, 5), BREAK], [BREAK], retry=RetryPolicy(0.5, initial=0.05, maximum=0.1))
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        read(client, 5, 9)
    assert 0.5 <= time.monotonic() - began < 3
    assert len(server.requests) > 4


def test_the_first_connection_is_given_up_quickly(play: Callable) -> None:
    client, server = play([BREAK])
    with pytest.raises(UnavailableError, match=f"cannot reach {server.address}; is stellar-arrow-source running"):
        read(client, 5, 9)
    assert len(server.requests) == QUICK.first_tries


def test_a_schema_that_changes_is_an_error(play: Callable) -> None:
    other = pa.RecordBatch.from_pylist([{"ledger_sequence": 6}], pa.schema([("ledger_sequence", pa.uint32())]))
    client, _ = play([step(5, 5, 5), BREAK], [(other, Cursor(6, 6).to_metadata())])
    with pytest.raises(IntegrityError, match="columns of samples changed"):
        read(client, 5, 9)


def test_a_silent_server_counts_as_broken(play: Callable) -> None:
    policy = RetryPolicy(retry_for=5, initial=0.01, idle_timeout=0.3)
    client, server = play([step(5, 5, 5), 60.0], [step(6, 9, 6)], retry=policy)
    assert [last for *_, last in read(client, 5, 9)] == [5, 9]
    assert server.cancelled.wait(5)


def test_stop_ends_a_waiting_stream_and_cancels_the_call(play: Callable) -> None:
    client, server = play([step(5, 5, 5), 60.0])
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    assert len(list(client.stream(StreamRequest("samples", 5), stop=stop))) == 1
    assert time.monotonic() - began < 1.5
    assert server.cancelled.wait(5)


def test_closing_the_iterator_cancels_the_call_and_ends_its_thread(play: Callable) -> None:
    before = threading.active_count()
    client, server = play([step(5, 5, 5), 60.0])
    stream = client.stream(StreamRequest("samples", 5))
    next(stream)
    stream.close()
    assert server.cancelled.wait(5)
    assert threading.active_count() <= before


def test_a_reader_that_stops_reading_holds_the_server_back() -> None:
    table = sample_table(1, 400, rows_per_ledger=2)
    wide = table.append_column("wide", pa.array(["x" * 20_000] * table.num_rows))
    with FakeServer({"samples": wide}, 1, 400, ledgers_per_batch=1) as server, Client(server.address) as client:
        stream = client.stream(StreamRequest("samples", 1, 400))
        next(stream)
        time.sleep(1)
        sent = server.batches
        assert sent < 350, "the whole range was sent to a reader that took one batch"
        assert sum(1 for _ in stream) == 399


@pytest.mark.parametrize("seed", range(12))
def test_any_breaks_and_any_splits_give_the_same_rows(seed: int) -> None:
    random_ = random.Random(seed)
    first = random_.randint(1, 10**6)
    last = first + random_.randint(20, 80)
    table = sample_table(first, last, rows_per_ledger=random_.randint(1, 6))
    faults = [Fault(random_.randrange(6), random_.choice(["break", "end"])) for _ in range(random_.randrange(12))]
    if faults:
        faults[0] = Fault(max(1, faults[0].after))  # the first tries are for a server that never answered
    server = FakeServer(
        {"samples": table},
        first,
        last,
        ledgers_per_batch=random_.randint(1, 12),
        split_rows=random_.choice([None, 1, 2, 4]),
        faults=faults,
    )
    with server, Client(server.address, retry=QUICK) as client:
        got, next_ledger = [], first
        told: list[StellarArrowError] = []
        request = StreamRequest("samples", first, last, compression=random_.choice([None, "zstd", "lz4"]))
        for batch, cursor in client.stream(request, on_reconnect=told.append):
            assert cursor.first == next_ledger
            next_ledger = cursor.cursor
            got.append(batch)
        assert next_ledger == last + 1
        assert pa.Table.from_batches(got).equals(table)
        assert len(told) == len(server.requests) - 1
