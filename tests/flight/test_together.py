"""Clients of several streams who are at the same place: their ledgers are decoded once, and each has its own rows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.request import urlopen

import pyarrow as pa
import pytest
from pyarrow import flight
from structlog.testing import capture_logs

from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.flight.service import Service
from tests.support.metrics import samples
from tests.support.serving import DAMAGED, STREAMS, TABLES, Decoded, PlainDecoder, ScriptedSource, ledger_bytes, serving

NAMES = tuple(stream.name for stream in STREAMS)
FIRST, LAST = 11, 60
REQUESTS = tuple(StreamRequest(name, FIRST, LAST) for name in NAMES)
DECODE_SECONDS = 0.05


class Noting(PlainDecoder):
    """Tells what it was asked to decode, in time that can be measured."""

    calls: list[tuple[tuple[str, ...], int]]
    fault: str | None = None

    def decode(self, xdrs: Sequence[bytes]) -> Decoded:
        decoded = super().decode(xdrs)
        self.calls.append((tuple(sorted(self._requests)), len(xdrs)))
        if self.fault in self._requests and FIRST in decoded.sequences:
            raise ValueError("the decoder of that stream is at fault")
        time.sleep(DECODE_SECONDS)
        return decoded


class Answer(NamedTuple):
    rows: pa.Table
    error: str | None


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    monkeypatch.setattr(Noting, "calls", [], raising=False)
    return TABLES._replace(decoder=Noting, together="all")  # type: ignore[arg-type]


def read(service: Service, request: StreamRequest, begun: Callable[[], object] = lambda: None) -> Answer:
    with flight.connect(service.location) as client:
        reader, batches, error = client.do_get(flight.Ticket(request.to_ticket())), [], None
        try:
            for chunk in reader:
                if not batches:
                    begun()
                batches.append(chunk.data)
        except flight.FlightError as caught:
            told = json.loads(caught.extra_info)
            error = f"{told['code']}: {told['message']}"
        return Answer(pa.Table.from_batches(batches, reader.schema), error)


def read_at_once(service: Service, source: ScriptedSource, requests: Sequence[StreamRequest]) -> list[Answer]:
    """What clients get who all wait for the first of their ledgers when it comes."""
    answers: dict[int, Answer] = {}
    waiting = threading.Barrier(len(requests) + 1)

    def run(number: int) -> None:
        answers[number] = read(service, requests[number], lambda: waiting.wait(20))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    waiting.wait(20)  # all have heard that there is nothing yet
    source.advance(LAST - source.latest)
    for thread in threads:
        thread.join(30)
    return [answers[number] for number in range(len(requests))]


@contextmanager
def server(tables: Tables, make: Callable[[int], bytes] = ledger_bytes) -> Iterator[tuple[Service, ScriptedSource]]:
    source = ScriptedSource(latest=FIRST - 1, make=make)
    with serving(source, tables=tables) as service:
        Noting.calls.clear()  # what it learned the network by
        yield service, source


def alone(service: Service, requests: Sequence[StreamRequest]) -> list[Answer]:
    """What each client gets when there is no other."""
    return [read(service, request) for request in requests]


def test_all_have_their_rows_of_one_decode(tables: Tables) -> None:
    with server(tables) as (service, source):
        together = read_at_once(service, source, REQUESTS)
        calls = list(Noting.calls)
        assert {streams for streams, _ in calls} == {tuple(sorted(NAMES))}
        assert sum(ledgers for _, ledgers in calls) == LAST - FIRST + 1
        with urlopen(f"http://127.0.0.1:{service.health_port}/metrics", timeout=10) as page:
            found = samples(page.read())
        assert together == alone(service, REQUESTS)
    assert [answer.rows.num_rows for answer in together] == [100, 50, 100]
    seconds = 0.0
    for name in NAMES:
        assert found["stellar_arrow_ledgers_decoded_total", (name,)] == LAST - FIRST + 1
        seconds += found["stellar_arrow_decode_seconds_sum", (name,)]
    # Each call's time is told once, whichever number of streams it was for.
    assert 1 <= seconds / (len(calls) * DECODE_SECONDS) < 2


def test_all_are_told_of_a_damaged_ledger_after_those_before_it(tables: Tables) -> None:
    with server(tables, lambda sequence: DAMAGED if sequence == 40 else ledger_bytes(sequence)) as (service, source):
        together = read_at_once(service, source, REQUESTS)
        assert together == alone(service, REQUESTS)
    for answer in together:
        assert answer.rows["ledger_sequence"][-1].as_py() == 39
        assert answer.error is not None
        assert answer.error.startswith("DecodeError")


def test_what_is_wrong_with_one_stream_does_not_end_the_others(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "fault", "transactions")
    with server(tables) as (service, source), capture_logs() as lines:
        together = read_at_once(service, source, REQUESTS)
    assert "ledgers are decoded for each stream apart" in [line["event"] for line in lines]
    assert [answer.error is None for answer in together] == [True, True, False]
    assert [answer.rows.num_rows for answer in together] == [100, 50, 0]


def test_who_asks_for_opt_in_columns_is_served_by_itself(tables: Tables) -> None:
    raw = StreamRequest("numbers", FIRST, LAST, columns=("raw_xdr",))
    with server(tables) as (service, source):
        together = read_at_once(service, source, (*REQUESTS, raw))
        assert {streams for streams, _ in Noting.calls} == {("numbers",), tuple(sorted(NAMES))}
        assert together == alone(service, (*REQUESTS, raw))


def test_nobody_waits_for_what_several_streams_are_compiled_to(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    never = ["sleep", "60"]
    monkeypatch.setattr("stellar_arrow_source.flight.service.Preparation", lambda names: Preparation(names, never))
    with server(tables._replace(unprepared=lambda: ["all"])) as (service, source):
        together = read_at_once(service, source, REQUESTS)
        assert {streams for streams, _ in Noting.calls} == {(name,) for name in NAMES}
        assert together == alone(service, REQUESTS)


def test_what_the_compiler_leaves_over_is_not_compiled_for_several_streams(tables: Tables) -> None:
    preparation = Preparation(["all"], ["false"])
    assert not preparation.is_compiled("all")
    preparation.start(b"a ledger", None)
    assert preparation.finished(20)
    assert not preparation.is_compiled("all")
    assert preparation.is_compiled("numbers")
