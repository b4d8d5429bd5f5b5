"""Equal sources: one that is away or hangs is stood in for, without a gap or a double, and gone back to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import NetworkMismatchError, SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.failover import Failover
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from stellar_arrow_source.ledgers.tally import FAILOVERS
from tests.ledgers.memory import LEDGERS, OTHER_LEDGERS, Memory, sequences
from tests.ledgers.servers import QUICK, history, scripted
from tests.ledgers.stores import NEVER, Store, take
from tests.ledgers.test_rpc import always, serving
from tests.support.rpc_server import send
from tests.support.serving import wait_until

SILENCE = 1.0


class Hanging(Memory):
    """It comes to a stop where a test says, and does not hear of stop events there.

    Attributes:
        gives, answers: cleared while it gives no ledgers, or does not tell what it has.
        stops_at: the ledger before which both are cleared, once.
        takes: seconds for each ledger.
        gave: the ledgers that it gave.
    """

    def __init__(self, name: str, first: int, last: int, *, stops_at: int = 0, takes: float = 0.0) -> None:
        super().__init__(name, first, last)
        self.gives, self.answers = threading.Event(), threading.Event()
        self.go_on()
        self.stops_at, self.takes = stops_at, takes
        self.gave: list[int] = []

    def stop(self) -> None:
        self.gives.clear()
        self.answers.clear()

    def go_on(self) -> None:
        self.gives.set()
        self.answers.set()

    def bounds(self) -> Bounds:
        self.answers.wait(60)
        return super().bounds()

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        for ledger in super().ledgers(start, end, stop):
            if ledger.sequence == self.stops_at:
                self.stops_at = 0
                self.stop()
            stop.wait(self.takes)
            self.gives.wait(60)
            if stop.is_set():
                return
            self.gave.append(ledger.sequence)
            yield ledger


def failover(*sources: Memory, silence: float = SILENCE) -> Failover:
    def opener(source: Memory) -> Callable[[], LedgerSource]:
        return lambda: source

    return Failover([(source.endpoint, opener(source)) for source in sources], silence)


def follow(source: Failover, start: int, into: list[int]) -> threading.Event:
    """Take ledgers as they come, in a thread, until the event is set."""
    stop = threading.Event()

    def read() -> None:
        for ledger in source.ledgers(start, None, stop):
            into.append(ledger.sequence)  # one by one, for others look at it

    threading.Thread(target=read, daemon=True).start()
    return stop


# -- away


def test_the_next_goes_on_where_one_fails() -> None:
    one, other = Memory("one", 100, 199, fails_at=(120, 160)), Memory("other", 100, 199, fails_at=(140,))
    assert sequences(failover(one, other), 100, 199) == list(range(100, 200))
    assert one.given == [*range(100, 120), *range(140, 160)]
    assert other.given == [*range(120, 140), *range(160, 200)]


def test_all_of_them_away() -> None:
    one, other = Memory("one", 100, 199, fails_at=(120,)), Memory("other", 100, 199, fails_at=(120,))
    with pytest.raises(SourceUnavailableError, match="none of the ledger sources can be reached: one, other"):
        sequences(failover(one, other), 100, 199)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_one_that_refuses_its_key_is_stood_in_for(status: int) -> None:
    """As when a provider's key expires, or its service moves."""

    def refuse(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> bool:
        if not expired.is_set():
            return False
        send(handler, b"", status)
        return True

    expired = threading.Event()
    with (
        serving(100, LEDGERS, odd=refuse) as one,
        serving(100, LEDGERS) as other,
        closing(open_source(f"{one.endpoint},{other.endpoint}", retry=QUICK)) as source,
    ):
        with closing(source.ledgers(100, 199, NEVER)) as ledgers:
            read = [ledger.sequence for ledger in islice(ledgers, 20)]
            expired.set()
            read += [ledger.sequence for ledger in ledgers]
        assert read == list(range(100, 200))
        assert source.bounds().latest == 199


def test_all_that_refuse_are_away() -> None:
    with (
        serving(100, LEDGERS, odd=always(b"", 401)) as one,
        serving(100, LEDGERS, odd=always(b"", 403)) as other,
        closing(open_source(f"{one.endpoint},{other.endpoint}", retry=QUICK)) as source,
        pytest.raises(SourceUnavailableError, match="none of the ledger sources") as caught,
    ):
        sequences(source, 100, 199)
    assert isinstance(caught.value.__cause__, SourceRefusedError)


def test_damage_is_no_reason_to_ask_another() -> None:
    """Else a damaged store would never be noticed."""

    class Damaged(Memory):
        def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
            raise IntegrityError("damaged")

    with pytest.raises(IntegrityError, match="damaged"):
        sequences(failover(Damaged("one", 100, 199), Memory("other", 100, 199)), 100, 199)


def test_servers_killed_in_turn() -> None:
    with scripted(history(100, LEDGERS)) as one, scripted(history(100, LEDGERS)) as other:
        source = open_source(f"{one.endpoint}, {other.endpoint}", retry=QUICK)
        assert source.endpoint == f"{one.endpoint}, {other.endpoint}"
        assert sequences(source, 100, 199) == list(range(100, 200))
        source.close()
    gone = one.endpoint
    with scripted(history(100, LEDGERS)) as third:
        source = open_source(f"{gone},{third.endpoint}", retry=QUICK)
        began = time.monotonic()
        assert sequences(source, 100, 199) == list(range(100, 200))
        assert source.bounds().latest == 199
        assert time.monotonic() - began < 30
        source.close()


def test_one_that_is_away_at_the_start_does_no_harm(tmp_path: Path) -> None:
    Store(tmp_path / "here").write(100, LEDGERS)
    source = open_source(f"{tmp_path}/absent,{tmp_path}/here", retry=QUICK)
    assert sequences(source, 100, 199) == list(range(100, 200))
    source.close()
    with pytest.raises(SourceUnavailableError, match="none of the ledger sources"):
        open_source(f"{tmp_path}/absent,{tmp_path}/gone", retry=QUICK)


@pytest.mark.parametrize("second", ["", "/other"])
def test_servers_of_one_host(second: str) -> None:
    """Their names are alike, for what comes after the host may be a key."""
    with serving(100, LEDGERS) as server:
        source = open_source(f"{server.endpoint},{server.endpoint}{second}", retry=QUICK)
        assert sequences(source, 100, 199) == list(range(100, 200))
        assert source.endpoint == f"{server.endpoint}, {server.endpoint}"
        source.close()


def test_sources_of_different_networks_are_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        Store(tmp_path / name, manifest={"networkPassphrase": name}).write(100, LEDGERS[:2])
    with pytest.raises(NetworkMismatchError, match=r"different networks: .*one \('one'\) and .*other \('other'\)"):
        open_source(f"{tmp_path}/one,{tmp_path}/other")


def test_one_that_goes_on_with_another_history_is_refused() -> None:
    """Sources that declare no network may be of different ones all the same."""
    one, other = Memory("one", 100, 199, fails_at=(120,)), Memory("other", 100, 199, ledgers=OTHER_LEDGERS)
    taken: list[bytes] = []
    with pytest.raises(IntegrityError, match="ledger 120 of other does not follow ledger 119 of the source before it"):
        take(failover(one, other).ledgers(100, 199, NEVER), taken)
    assert tuple(taken) == LEDGERS[:20]


def test_closing_closes_all() -> None:
    one, other = Memory("one", 100, 199), Memory("other", 100, 199)
    failover(one, other).close()
    assert one.closed
    assert other.closed


# -- hanging


def test_one_that_hangs_in_history() -> None:
    one, other = Hanging("one", 100, 199, stops_at=120), Hanging("other", 100, 199)
    assert sequences(failover(one, other), 100, 199) == list(range(100, 200))
    assert other.gave == list(range(120, 200))


def test_one_that_answers_but_does_not_give() -> None:
    one, other = Hanging("one", 100, 199), Hanging("other", 100, 199)
    one.gives.clear()
    assert sequences(failover(one, other), 100, 199) == list(range(100, 200))
    assert other.gave == list(range(100, 200))


def test_one_that_hangs_at_the_tip_and_comes_back() -> None:
    one, other = Hanging("one", 100, 149), Hanging("other", 100, 149)
    source, got = failover(one, other), list[int]()
    before = FAILOVERS.total()
    stop = follow(source, 100, got)
    wait_until(lambda: len(got) == 50)
    one.stop()
    one.last = other.last = 159
    wait_until(lambda: len(got) == 60, 30)
    assert other.gave == list(range(150, 160))
    assert source.bounds().latest == 159
    assert FAILOVERS.total() == before + 1

    one.go_on()
    wait_until(lambda: FAILOVERS.total() == before + 2, 60)
    # The reader leaves a moment later; what it has still had of the other does not come again.
    one.last = other.last = 164
    wait_until(lambda: len(got) == 65, 30)
    time.sleep(2 * SILENCE)
    one.last = other.last = 169
    wait_until(lambda: len(got) == 70, 30)
    assert one.gave[-5:] == list(range(165, 170))
    assert got == list(range(100, 170))
    stop.set()
    source.close()


def test_a_quiet_tip_is_no_hung_source() -> None:
    one, other = Hanging("one", 100, 149), Hanging("other", 100, 149)
    source, got = failover(one, other, silence=2.0), list[int]()
    before = FAILOVERS.total()
    stop = follow(source, 100, got)
    wait_until(lambda: len(got) == 50)
    time.sleep(7)
    assert FAILOVERS.total() == before
    one.last = other.last = 159
    wait_until(lambda: len(got) == 60)
    assert one.gave == list(range(100, 160))
    assert other.gave == []
    stop.set()
    source.close()


def test_one_that_falls_behind_at_the_tip() -> None:
    one, other = Hanging("one", 100, 149), Hanging("other", 100, 179)
    source, got = failover(one, other), list[int]()
    stop = follow(source, 100, got)
    wait_until(lambda: len(got) == 80, 30)
    assert one.gave == list(range(100, 150))
    assert other.gave == list(range(150, 180))
    time.sleep(5 * SILENCE)  # it is tried, and is behind
    other.last = 189
    wait_until(lambda: len(got) == 90, 30)
    assert got == list(range(100, 190))
    assert one.gave == list(range(100, 150))
    stop.set()
    source.close()


def test_while_all_hang_none_is_away() -> None:
    one, other = Hanging("one", 100, 199, stops_at=150), Hanging("other", 100, 199)
    other.stop()
    source, got = failover(one, other), list[int]()
    before = FAILOVERS.total()
    stop = follow(source, 100, got)
    wait_until(lambda: len(got) == 50)
    time.sleep(4 * SILENCE)
    assert len(got) == 50
    assert FAILOVERS.total() == before
    one.go_on()
    wait_until(lambda: len(got) == 100, 30)
    assert got == list(range(100, 200))
    stop.set()
    other.go_on()
    source.close()


def test_one_that_answers_but_gives_nothing_is_not_gone_back_to() -> None:
    one, other = Hanging("one", 100, 149), Hanging("other", 100, 149)
    source = failover(one, other, silence=0.5)
    one.gives.clear()
    assert sequences(source, 100, 149) == list(range(100, 150))
    before = FAILOVERS.total()
    for _ in range(30):
        assert source.bounds().latest == 149
        time.sleep(0.2)
    assert FAILOVERS.total() == before
    one.gives.set()

    def gone_back() -> bool:
        return source.bounds().latest == 149 and FAILOVERS.total() == before + 1

    wait_until(gone_back, 60)


def test_one_that_begins_later_does_not_stand_in() -> None:
    one, short, other = Hanging("one", 100, 199, stops_at=120), Hanging("short", 130, 199), Hanging("other", 100, 199)
    assert sequences(failover(one, short, other), 100, 199) == list(range(100, 200))
    assert short.gave == []


def test_slow_ones_give_all_the_same() -> None:
    """Else each would be left before its first ledger comes."""
    one, other = Hanging("one", 100, 199, takes=1.5), Hanging("other", 100, 199, takes=1.5)
    assert sequences(failover(one, other, silence=0.5), 100, 102) == [100, 101, 102]


def test_what_is_asked_of_one_that_hangs_is_asked_of_another() -> None:
    one, other = Hanging("one", 100, 149), Hanging("other", 100, 159)
    source = failover(one, other)
    one.stop()
    assert source.bounds() == (100, 159)
    assert sequences(source, 100, 159) == list(range(100, 160))
    assert one.gave == []
    one.go_on()


def test_one_that_cannot_be_opened_in_time() -> None:
    hung, other = threading.Event(), Hanging("other", 100, 199)
    one = Hanging("one", 100, 199)

    def open_late() -> LedgerSource:
        hung.wait(60)
        return one

    source = Failover([("one", open_late), ("other", lambda: other)], SILENCE)
    assert sequences(source, 100, 199) == list(range(100, 200))
    source.close()
    hung.set()
    wait_until(lambda: one.closed)


def test_what_has_begun_ends_with_its_reader() -> None:
    one, other = Memory("one", 100, 149), Memory("other", 100, 149)
    source, before = failover(one, other), set(threading.enumerate())
    reader = source.ledgers(100, None, NEVER)
    with closing(cast(Generator[RawLedger], reader)):
        assert [ledger.sequence for ledger in islice(reader, 50)] == list(range(100, 150))
        assert set(threading.enumerate()) > before
    wait_until(lambda: set(threading.enumerate()) <= before)
