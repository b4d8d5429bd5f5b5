"""Each client gets what it may use and no more, whatever it tries, and the others do not suffer from it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from stellar_arrow_client import Client, RetryPolicy
from stellar_arrow_client.errors import AuthenticationError, LimitError, PermissionDeniedError
from stellar_arrow_client.request import Cursor
from tests.support.clients import ClientsFile, bearer
from tests.support.serving import ScriptedSource, serving, wait_until

LATEST = 20_000
GROUP_BYTES = 100 * 2 * (4 + 4 + 4 + 10)
"""Arrow bytes of the batch that 100 ledgers of two rows make, or slightly less."""


@pytest.fixture
def clients(tmp_path: Path) -> ClientsFile:
    return ClientsFile(tmp_path / "clients.json")


def keep_cursors(stream: Iterator[tuple[pa.RecordBatch, Cursor]], cursors: list[Cursor]) -> None:
    cursors.extend(cursor for _, cursor in stream)


def flood(location: str, token: str | None, seconds: float, threads: int = 6) -> Counter[str]:
    """Call as often as possible from several connections; how often with which outcome."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + seconds

    def hammer() -> None:
        options = bearer(token) if token else flight.FlightCallOptions(timeout=30)
        with flight.FlightClient(location) as client:
            while time.monotonic() < until:
                try:
                    list(client.do_action("latest-ledger", options))
                    outcomes["ok"] += 1
                except flight.FlightError as error:
                    told = json.loads(error.extra_info)
                    outcomes[told["code"] if told["retry_after"] > 0 else "no time to wait"] += 1

    running = [threading.Thread(target=hammer) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return outcomes


def test_requests_are_limited_under_a_flood(clients: ClientsFile) -> None:
    greedy = clients.add("greedy", limits={"requests_per_second": 10})
    modest = clients.add("modest")
    with serving(auth_file=clients.path) as service:
        waits: list[float] = []
        done = threading.Event()

        def use_modestly() -> None:
            with flight.FlightClient(service.location) as client:
                while not done.is_set():
                    began = time.monotonic()
                    assert client.do_get(flight.Ticket(b"numbers:1:10"), bearer(modest)).read_all().num_rows == 20
                    waits.append(time.monotonic() - began)

        other = threading.Thread(target=use_modestly)
        other.start()
        began = time.monotonic()
        outcomes = flood(service.location, greedy, 2.0)
        seconds = time.monotonic() - began
        done.set()
        other.join()
    assert set(outcomes) == {"ok", "LimitError"}
    assert 10 <= outcomes["ok"] <= 10 * (seconds + 1) + 1
    assert outcomes["LimitError"] > outcomes["ok"]
    assert len(waits) > 5
    assert max(waits) < 5


def test_addresses_are_limited_where_everybody_may_connect() -> None:
    with serving(client_requests_per_second=10) as service:
        began = time.monotonic()
        outcomes = flood(service.location, None, 1.5)
        seconds = time.monotonic() - began
    assert 10 <= outcomes["ok"] <= 10 * (seconds + 1) + 1
    assert outcomes["LimitError"] > 0


def test_a_client_that_is_told_to_wait_waits(clients: ClientsFile) -> None:
    token = clients.add("alice", limits={"requests_per_second": 4})
    with serving(auth_file=clients.path) as service:
        began = time.monotonic()
        quick = RetryPolicy(first_tries=4, initial=0.001, maximum=2.0)
        with Client(service.location, token=token, retry=quick) as client:
            for _ in range(10):
                assert client.latest_ledger() == 1000
        assert time.monotonic() - began >= (10 - 4 - 1) / 4


def test_streams_at_a_time_are_limited(clients: ClientsFile) -> None:
    alice = clients.add("alice", limits={"streams": 2})
    bob = clients.add("bob")
    with (
        serving(ScriptedSource(latest=100), auth_file=clients.path) as service,
        flight.FlightClient(service.location) as client,
    ):
        opened = [client.do_get(flight.Ticket(b"numbers:1:"), bearer(alice)) for _ in range(2)]
        for _ in range(6):
            with pytest.raises(flight.FlightUnavailableError, match="2 streams are open, your limit is 2") as caught:
                client.do_get(flight.Ticket(b"numbers:1:"), bearer(alice))
            assert json.loads(caught.value.extra_info)["code"] == "LimitError"
        assert client.do_get(flight.Ticket(b"numbers:1:10"), bearer(bob)).read_all().num_rows == 20
        opened[0].cancel()

        def opens() -> bool:
            try:
                return client.do_get(flight.Ticket(b"numbers:1:10"), bearer(alice)).read_all().num_rows == 20
            except flight.FlightUnavailableError:
                return False

        wait_until(opens)
        opened[1].cancel()


def test_bytes_a_second_slow_a_stream_down_and_lose_nothing(clients: ClientsFile) -> None:
    rate = 20 * GROUP_BYTES
    token = clients.add("alice", limits={"bytes_per_second": rate})
    with serving(ScriptedSource(latest=LATEST), auth_file=clients.path) as service:
        with Client(service.location, token=token) as client:
            began, bytes_, cursors = time.monotonic(), 0, []
            for batch, cursor in client.stream("numbers:1:6000"):
                cursors.append(cursor)
                bytes_ += batch.nbytes
                assert bytes_ <= rate * (time.monotonic() - began + 1) + 2 * batch.nbytes
        assert bytes_ >= 55 * GROUP_BYTES
        assert time.monotonic() - began > 1.5
    assert (cursors[0].first, cursors[-1].last) == (1, 6000)
    assert all(before.cursor == after.first for before, after in pairwise(cursors))


def test_all_streams_of_a_client_share_its_bytes_a_second(clients: ClientsFile) -> None:
    rate = 10 * GROUP_BYTES
    token = clients.add("alice", limits={"bytes_per_second": rate})
    seconds, got = 2.0, Counter[int]()
    with serving(ScriptedSource(latest=LATEST), auth_file=clients.path) as service:

        def read(number: int) -> None:
            with Client(service.location, token=token) as client:
                for batch, _ in client.stream("numbers:1:"):
                    got[number] += batch.nbytes
                    if time.monotonic() > until:
                        break

        began = time.monotonic()
        until = began + seconds
        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
    assert set(got) == {0, 1, 2, 3}
    assert rate <= got.total() <= rate * (took + 1) + 8 * GROUP_BYTES * 2


def test_a_stream_that_must_wait_shows_that_it_lives(clients: ClientsFile) -> None:
    token = clients.add("alice", limits={"bytes_per_second": GROUP_BYTES // 5})
    with (
        serving(ScriptedSource(latest=LATEST), auth_file=clients.path) as service,
        Client(service.location, token=token) as client,
    ):
        came = []
        for batch, cursor in client.stream("numbers:1:", heartbeats=True):
            came.append(cursor)
            assert (batch.num_rows > 0) is cursor.advances
            if len(came) == 4:
                break
    assert came[:3] == [Cursor(1, 100), Cursor(101, 100), Cursor(101, 100)]


def test_the_bytes_of_a_day_end_a_stream_with_the_ledger_to_resume_at(clients: ClientsFile) -> None:
    token = clients.add("alice", limits={"bytes_per_day": 3 * GROUP_BYTES})
    with (
        serving(ScriptedSource(latest=LATEST), auth_file=clients.path) as service,
        Client(service.location, token=token, retry=RetryPolicy(retry_for=1.0)) as client,
    ):
        came: list[Cursor] = []
        with pytest.raises(LimitError, match="of today, your limit, are used up; come back at 00:00 UTC") as caught:
            keep_cursors(client.stream("numbers:1:"), came)
        assert caught.value.resume == came[-1].cursor >= 201
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 86_400
        with pytest.raises(LimitError, match="used up"):
            next(client.stream("ledgers:1:10"))
        assert client.latest_ledger() == LATEST
        clients.add("alice", limits={"bytes_per_day": 1 << 40})
        wait_until(lambda: _reads(client), 2)


def _reads(client: Client) -> bool:
    try:
        return client.read_table("ledgers:1:10").num_rows == 10
    except LimitError:
        return False


# --- what ends a stream that runs


def _revoke(clients: ClientsFile) -> None:
    clients.remove("alice")


def _replace_token(clients: ClientsFile) -> None:
    clients.add("alice", token_sha256="00" * 32)


def _narrow_streams(clients: ClientsFile) -> None:
    clients.add("alice", streams=["ledgers"])


def _narrow_ledgers(clients: ClientsFile) -> None:
    clients.add("alice", last_ledger=1000)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (_revoke, AuthenticationError, "the credentials of alice are revoked"),
        (_replace_token, AuthenticationError, "the credentials of alice are revoked"),
        (_narrow_streams, PermissionDeniedError, "alice may not read numbers, only ledgers"),
        (_narrow_ledgers, PermissionDeniedError, "only ledgers up to 1000"),
    ],
)
def test_a_stream_ends_when_its_client_loses_the_right_to_it(
    clients: ClientsFile, change: Callable[[ClientsFile], None], kind: type[Exception], says: str
) -> None:
    token = clients.add("alice")
    source = ScriptedSource(latest=500)
    with serving(source, auth_file=clients.path) as service, Client(service.location, token=token) as client:
        stream = client.stream("numbers:1:")
        came = [next(stream)[1]]
        change(clients)
        began = time.monotonic()
        with pytest.raises(kind, match=says) as caught:
            keep_cursors(stream, came)
        assert time.monotonic() - began < 3
        assert caught.value.resume == came[-1].cursor == 501  # type: ignore[attr-defined]
        wait_until(lambda: source.reading == 0)


def test_a_stream_ends_when_the_time_of_its_client_is_over(clients: ClientsFile) -> None:
    ends: Any = datetime.now(UTC) + timedelta(seconds=4)
    token = clients.add("alice", expires=ends.isoformat())
    with serving(auth_file=clients.path) as service, Client(service.location, token=token) as client:
        stream = client.stream("numbers:1:")
        next(stream)
        with pytest.raises(AuthenticationError, match="alice expired at"):
            for _ in stream:
                pass
        assert 0 <= (datetime.now(UTC) - ends).total_seconds() < 2


def test_a_stream_that_is_held_back_ends_too(clients: ClientsFile) -> None:
    token = clients.add("alice", limits={"bytes_per_second": 1})
    with serving(auth_file=clients.path) as service, Client(service.location, token=token) as client:
        stream = client.stream("numbers:1:")
        next(stream)
        clients.remove("alice")
        began = time.monotonic()
        with pytest.raises(AuthenticationError, match="revoked"):
            next(stream)
        assert time.monotonic() - began < 3
