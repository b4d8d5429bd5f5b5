"""Servers that share the work on a range, as a client meets them: in order, whole, and whatever is wrong with one."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click
import pyarrow as pa
import pytest

from stellar_arrow_client import parallel
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import GapError, InvalidRequestError, StellarArrowError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.location import Locations
from tests.support.clients import Authority
from tests.support.serving import DAMAGED, ScriptedSource, ledger_bytes, serving, wait_until

LATEST = 3000
RANGE = StreamRequest("numbers", 10, 2500)
QUICK = RetryPolicy(retry_for=5.0, initial=0.01, maximum=0.05, connect_timeout=5.0, idle_timeout=5.0)
NOBODY = "grpc://127.0.0.1:1"


def source(**settings: object) -> ScriptedSource:
    return ScriptedSource(latest=LATEST, **settings)  # type: ignore[arg-type]


@contextmanager
def shared(*sources: ScriptedSource, asked: ScriptedSource | None = None, **settings: object) -> Iterator[Service]:
    """The server to ask, which names others that have ``sources``."""
    with ExitStack() as stack:
        places = tuple(stack.enter_context(serving(each)).location for each in sources)
        asked = asked or source()
        server = stack.enter_context(serving(asked, locations=places, **settings))
        for each in (*sources, asked):
            each.given.clear()  # the ledger that it learned the network from
        yield server


def read_alone(server: Service, request: StreamRequest = RANGE) -> pa.Table:
    with Client(server.location, parallel=1) as client:
        return client.read_table(request)


def test_rows_come_in_order_from_all_servers() -> None:
    one, two, asked = source(), source(), source()
    with shared(one, two, asked=asked) as server, Client(server.location) as client:
        next_ledger = 10
        for batch, cursor in client.stream(RANGE):
            assert cursor.first == next_ledger
            expected = [ledger for ledger in range(cursor.first, cursor.cursor) for _ in range(2)]
            assert batch["ledger_sequence"].to_pylist() == expected
            next_ledger = cursor.cursor
        assert next_ledger == 2501
    assert sorted(one.given + two.given) == list(range(10, 2501))
    assert one.given
    assert two.given
    assert not asked.given


def test_what_is_near_the_tip_and_short_ranges_are_left_to_the_server_that_was_asked() -> None:
    one, two, asked = source(), source(), source()
    with shared(one, two, asked=asked) as server, Client(server.location) as client:
        assert client.read_table(StreamRequest("numbers", 2900, LATEST)).num_rows == 2 * 101
        assert client.read_table(StreamRequest("numbers", 1, LATEST)).num_rows == 2 * LATEST
    assert max(one.given + two.given) == LATEST - parallel.MARGIN_LEDGERS
    assert asked.given == [*range(2900, LATEST + 1), *range(2937, LATEST + 1)]


def test_a_stream_without_end_is_shared_up_to_the_tip_and_followed_from_there() -> None:
    one, two, asked = source(), source(), source()
    ledgers: list[int] = []
    with (
        shared(one, two, asked=asked) as server,
        Client(server.location) as client,
        closing(client.stream(StreamRequest("ledgers", 1))) as batches,
    ):
        for batch, _ in batches:
            ledgers += batch["ledger_sequence"].to_pylist()
            if ledgers[-1] == LATEST:
                asked.advance(5)
            if ledgers[-1] == LATEST + 5:
                break
    assert ledgers == list(range(1, LATEST + 6))
    assert len(one.given + two.given) > 2000


def test_servers_that_cannot_be_reached_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    places = (NOBODY, "grpc://127.0.0.1:2")
    with serving(source(), locations=places) as server, Client(server.location, retry=QUICK) as client:
        with caplog.at_level(logging.WARNING):
            tables = [client.read_table(RANGE) for _ in range(3)]
        whole = read_alone(server)
    assert all(table.equals(whole) for table in tables)
    said = [record.getMessage() for record in caplog.records if "reading from other servers" in record.getMessage()]
    assert len(said) == 2
    assert all(any(place.removeprefix("grpc://") in line for line in said) for place in places)


def test_servers_that_never_answer_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "ANSWER_SECONDS", 0.5)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        places = tuple(f"grpc://127.0.0.1:{each.getsockname()[1]}" for each in silent)
        server = stack.enter_context(serving(source(), locations=places))
        with Client(server.location) as client:
            assert client.read_table(RANGE).equals(read_alone(server))
            assert client.read_table(RANGE).num_rows == 2 * 2491


def test_a_server_of_another_network_or_version_is_not_read_from(caplog: pytest.LogCaptureFixture) -> None:
    right, wrong = source(), source(passphrase="Another network")
    with shared(right, wrong) as server, Client(server.location) as client:
        with caplog.at_level(logging.WARNING):
            table = client.read_table(RANGE)
        assert table.equals(read_alone(server))
    assert table.schema.metadata[b"network"] != b"Another network"
    assert sum("is of another network" in record.getMessage() for record in caplog.records) == 1


def test_a_server_that_lacks_ledgers_is_helped_out() -> None:
    with shared(source(), source(oldest=1500)) as server, Client(server.location) as client:
        assert client.read_table(RANGE).equals(read_alone(server))


def test_what_the_server_that_was_asked_lacks_is_missing() -> None:
    with (
        shared(source(), source(), asked=source(oldest=5)) as server,
        Client(server.location) as client,
        pytest.raises(GapError, match="begins with ledger 5"),
    ):
        client.read_table(StreamRequest("numbers", 2, 2500))


def test_damage_is_told_after_all_that_is_sound() -> None:
    def make(sequence: int) -> bytes:
        return DAMAGED if sequence == 1700 else ledger_bytes(sequence)

    ledgers: list[int] = []
    with (
        shared(source(make=make), source(make=make), asked=source(make=make)) as server,
        Client(server.location) as client,
        closing(client.stream(RANGE)) as batches,
        pytest.raises(StellarArrowError) as caught,
    ):
        ledgers.extend(ledger for batch, _ in batches for ledger in batch["ledger_sequence"].to_pylist())
    assert caught.value.exit_code == DecodeError.exit_code
    assert ledgers == [ledger for ledger in range(10, 1700) for _ in range(2)]


def test_a_client_that_may_have_one_stream_reads_from_one_server(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(serving(source(), client_streams=1, client_bytes_per_second=60_000))
        places = (other.location, other.location.replace("127.0.0.1", "localhost"))
        asked = stack.enter_context(serving(source(), locations=places))
        with caplog.at_level(logging.WARNING), Client(asked.location, retry=QUICK) as client:
            assert client.read_table(RANGE).equals(read_alone(asked))
    assert any("from one server only" in record.getMessage() for record in caplog.records)


def test_no_more_is_held_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "SERVER_BYTES", 1 << 20)

    def make(sequence: int) -> bytes:
        return ledger_bytes(sequence, rows=2000)

    one, two = source(make=make), source(make=make)
    with shared(one, two) as server, Client(server.location) as client:
        with closing(client.stream(RANGE)) as batches:
            next(batches)
            given = -1
            while given != (given := len(one.given) + len(two.given)):
                time.sleep(1)
            assert given < 2000  # of 2491: what is held, on its way, and read ahead by the servers
            assert sum(batch.num_rows for batch, _ in batches) > 4_000_000
        wait_until(lambda: one.reading + two.reading == 0)


def test_all_streams_of_a_client_share_its_room() -> None:
    room = parallel.Room()
    assert room.share(2) == 2 * parallel.SERVER_BYTES
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(room.taken())
        assert 16 * room.share(8) == parallel.MOST_BYTES
    assert room.share(64) == parallel.MOST_BYTES


def test_a_stream_that_is_closed_or_stopped_ends_everywhere() -> None:
    one, two = source(), source()
    endless = StreamRequest("numbers", 10, LATEST)
    with shared(one, two) as server, Client(server.location) as client:
        batches = client.stream(endless)
        next(batches)
        batches.close()
        wait_until(lambda: one.reading + two.reading == 0)
        stop = threading.Event()
        for count, _ in enumerate(client.stream(endless, stop=stop)):
            assert count < 50
            stop.set()
        wait_until(lambda: one.reading + two.reading == 0)


def test_a_server_that_is_stopped_in_between_is_resumed_from() -> None:
    def make(sequence: int) -> bytes:
        return ledger_bytes(sequence, rows=200)

    breaks: list[StellarArrowError] = []
    part = StreamRequest("numbers", 10, 1200)
    with ExitStack() as stack:
        slow = {"client_bytes_per_second": 1_000_000, "batch_size": 4}
        others = [stack.enter_context(serving(source(make=make), **slow)) for _ in range(2)]
        places = tuple(other.location for other in others)
        asked = stack.enter_context(serving(source(make=make), locations=places))
        with Client(asked.location, retry=QUICK) as client:
            parts = []
            for batch, cursor in client.stream(part, on_reconnect=breaks.append):
                parts.append(batch)
                if cursor.first > 700 and others:
                    others.pop().close()
                    others.clear()
        assert pa.Table.from_batches(parts).equals(read_alone(asked, part))
    assert breaks
    assert "shutting down" in str(breaks[0])


def test_nobody_is_led_away_from_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.sign("server")
    one, two = source(), source()
    with (
        shared(one, two, tls_cert=certificate.cert, tls_key=certificate.key) as server,
        Client(server.location, tls_roots=authority.own.cert.read_bytes()) as client,
    ):
        assert client.read_table(RANGE).num_rows == 2 * 2491
    assert not one.given
    assert not two.given


@pytest.mark.parametrize(
    "text", ["host:8815", "http://host:8815", "grpc://host", "grpc://a:1,,grpc://b:2", "grpc://a:1 grpc://b:2"]
)
def test_locations_are_checked(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a location"):
        Locations()(text)


def test_locations_have_commas_between() -> None:
    assert Locations()("grpc://a:1, grpc+tls://[::1]:2,grpc://a:1") == ("grpc://a:1", "grpc+tls://[::1]:2")


@pytest.mark.parametrize("first", [8814, 8087, 65535])
def test_ports_of_workers_are_their_own(first: int) -> None:
    with pytest.raises(InvalidRequestError, match="--worker-port"):
        ServerConfig(workers=2, worker_port=first)
