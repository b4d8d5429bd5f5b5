"""Who is served, how far behind the tip, and how old the tip is."""

from __future__ import annotations

import pytest

from stellar_arrow_client.errors import (
    UnavailableError,
)
from stellar_arrow_client.request import Cursor
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.monitoring.activity import IDLE_SECONDS, MOST_CLIENTS, Activity, OpenStream
from stellar_arrow_source.monitoring.metrics import Metrics
from stellar_arrow_source.monitoring.tip import Tip
from tests.support.metrics import samples


class Served:
    """An activity whose clock a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.metrics = Metrics()
        self.tip = Tip(lambda: self.now, lambda: 1_700_000_000.0)
        self.activity = Activity(self.metrics, self.tip, lambda: self.now)

    def send(self, opened: OpenStream, first: int, last: int, nbytes: int = 10) -> None:
        self.activity.sent(opened, Cursor(first, last), 1, nbytes, 0.0)

    def found(self) -> dict[tuple[str, tuple[str, ...]], float]:
        return {
            (name.removeprefix("stellar_arrow_"), labels): value
            for (name, labels), value in samples(self.metrics.exposition()).items()
        }


def test_streams_and_lag_are_told_by_client() -> None:
    served = Served()
    served.tip.reach(100)
    with (
        served.activity.stream("payments", "alice", 50, None) as live,
        served.activity.stream("payments", "alice", 1, 80) as bounded,
        served.activity.stream("ledgers", "bob", 90, None) as other,
    ):
        served.send(live, 50, 95, 500)
        served.send(bounded, 1, 10, 7)
        served.send(other, 90, 99)
        found = served.found()
        assert found["clients_connected", ()] == 2
        assert found["client_streams_open", ("alice",)] == 2
        assert found["client_ledgers_served_total", ("alice",)] == 56
        assert found["client_bytes_served_total", ("alice",)] == 507
        assert found["client_lag_ledgers", ("alice",)] == 5
        assert found["tip_lag_ledgers", ()] == found["client_lag_ledgers", ("bob",)] == 1
        assert [stream["client"] for stream in served.activity.report()] == ["alice", "bob", "alice"]
        live.outcome = "complete"
        served.activity.dropped(bounded, SourceUnavailableError("gone"), draining=False)
        served.activity.dropped(other, UnavailableError("bye"), draining=True)
    found = served.found()
    assert found["clients_connected", ()] == found["tip_lag_ledgers", ()] == 0
    assert found["client_bytes_served_total", ("alice",)] == 507
    # Labels come in alphabetical order: outcome, stream.
    assert found["streams_ended_total", ("complete", "payments")] == 1
    assert found["streams_ended_total", ("dropped", "payments")] == 1
    assert found["streams_dropped_total", ("source",)] == found["streams_dropped_total", ("draining",)] == 1


def test_clients_told_apart_are_bounded_and_no_byte_is_lost() -> None:
    served = Served()
    for number in range(MOST_CLIENTS + 20):
        with served.activity.stream("ledgers", f"client-{number}", 1, 10) as opened:
            served.send(opened, 1, 10)
        served.now += 1
    found = served.found()
    names = {labels[0] for name, labels in found if name == "client_bytes_served_total"}
    assert names == {"other", *(f"client-{number}" for number in range(MOST_CLIENTS))}
    assert found["client_bytes_served_total", ("other",)] == 200
    served.now += IDLE_SECONDS - 60
    with served.activity.stream("ledgers", "late", 1, 10) as opened:
        served.send(opened, 1, 10)
    found = served.found()
    assert found["client_bytes_served_total", ("late",)] == 10
    assert ("client_bytes_served_total", ("client-0",)) not in found
    assert found["client_bytes_served_total", ("other",)] == 210
    assert sum(v for (name, _), v in found.items() if name == "client_bytes_served_total") == 10 * (MOST_CLIENTS + 21)


def test_latency_is_that_of_ledgers_that_were_waited_for() -> None:
    served = Served()
    served.tip.see(10, 0)
    served.now += 60
    with served.activity.stream("ledgers", "alice", 1, None) as opened:
        served.now += 1
        served.send(opened, 1, 10)  # it had been there
        served.now += 1
        served.tip.see(11, 0)
        served.now += 0.004
        served.send(opened, 11, 11)
        served.send(opened, 12, 11)  # a heartbeat
    found = served.found()
    assert found["tip_latency_seconds_count", ("ledgers",)] == 1
    assert found["tip_latency_seconds_sum", ("ledgers",)] == pytest.approx(0.004)


class Hands:
    """Clocks that a test sets: monotonic and wall clock."""

    def __init__(self) -> None:
        self.now, self.date = 10.0, 1_700_000_000.0

    def tip(self) -> Tip:
        return Tip(lambda: self.now, lambda: self.date)


def test_a_tip_that_moves_is_live_and_stands_still_from_its_last_move() -> None:
    clock = Hands()
    tip = clock.tip()
    assert (tip.newest, tip.live, tip.still_seconds(), tip.lag_seconds()) == (None, False, 0, None)
    tip.reach(100)
    clock.now += 50
    tip.reach(100)
    assert (tip.live, tip.still_seconds()) == (False, 0)
    tip.reach(101)
    tip.reach(99)
    clock.now += 7
    assert (tip.newest, tip.live, tip.still_seconds()) == (101, True, 7)


def test_lag_is_told_by_the_newest_ledger_that_came() -> None:
    clock = Hands()
    tip = clock.tip()
    tip.see(7, int(clock.date) - 30)
    tip.see(5, int(clock.date) - 5)
    assert (tip.seen, tip.close_time, tip.lag_seconds()) == (7, int(clock.date) - 30, 30)
    tip.see(8, int(clock.date) + 2)  # clocks differ
    assert tip.lag_seconds() == 0


def test_a_recent_first_ledger_makes_a_source_live_an_old_one_does_not() -> None:
    clock = Hands()
    for age, live in ((60, True), (86_400, False)):
        tip = clock.tip()
        tip.reach(5)
        tip.see(5, int(clock.date) - age)
        clock.now += 90
        assert (tip.live, tip.still_seconds()) == (live, 90 if live else 0)
