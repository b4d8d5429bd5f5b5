"""Several sources as one: every ledger once, in order, whichever of them gives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import NetworkMismatchError, SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.joined import Failover, HistoryAndLive
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from tests.ledgers.servers import QUICK, history, scripted
from tests.ledgers.stores import NEVER, Store, made, take
from tests.ledgers.test_rpc import serving

LEDGERS = made(100, 199)


class Memory:
    """Ledgers that may grow; it fails when it comes to one of ``fails_at``, once each."""

    network_passphrase: str | None = None

    def __init__(self, name: str, first: int, last: int, *, fails_at: tuple[int, ...] = ()) -> None:
        self.endpoint, self.first, self.last = name, first, last
        self.fails_at = set(fails_at)
        self.closed = False
        self.given: list[int] = []

    def bounds(self) -> Bounds:
        return Bounds(self.first, self.last)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        if start < self.first:
            raise GapError(f"{self.endpoint} begins with {self.first}")
        while not stop.is_set() and (end is None or start <= end):
            if start in self.fails_at:
                self.fails_at.remove(start)
                raise SourceUnavailableError(f"{self.endpoint} is away")
            if start > self.last:
                stop.wait(0.01)
                continue
            self.given.append(start)
            yield RawLedger(start, LEDGERS[start - 100])
            start += 1

    def close(self) -> None:
        self.closed = True


def sequences(source: LedgerSource, start: int, end: int) -> list[int]:
    return [ledger.sequence for ledger in source.ledgers(start, end, NEVER)]


def failover(*sources: Memory) -> Failover:
    return Failover({source.endpoint: lambda source=source: source for source in sources})  # type: ignore[misc]


# -- history, then live


@pytest.mark.parametrize(("start", "end"), [(100, 199), (100, 150), (150, 151), (151, 199), (160, 170)])
def test_a_range_over_both(start: int, end: int) -> None:
    store, tip = Memory("store", 100, 150), Memory("tip", 140, 199)
    joined = HistoryAndLive(store, tip)
    assert joined.bounds() == (100, 199)
    assert sequences(joined, start, end) == list(range(start, end + 1))
    assert store.given == list(range(start, min(end, 150) + 1))
    assert tip.given == list(range(max(start, 151), end + 1))


def test_history_that_grows_meanwhile_is_used_as_far_as_it_reaches() -> None:
    store, tip = Memory("store", 100, 110), Memory("tip", 150, 199)
    reader = HistoryAndLive(store, tip).ledgers(100, 199, NEVER)
    taken = [ledger.sequence for ledger in islice(reader, 8)]
    store.last = 160
    assert taken + [ledger.sequence for ledger in reader] == list(range(100, 200))


def test_what_neither_has_is_a_gap_that_names_both() -> None:
    joined = HistoryAndLive(Memory("store", 100, 120), Memory("tip", 130, 199))
    taken: list[bytes] = []
    with pytest.raises(GapError, match="ledger 121 is nowhere: store ends with ledger 120, and tip begins with 130"):
        take(joined.ledgers(100, 199, NEVER), taken)
    assert tuple(taken) == LEDGERS[:21]


def test_the_tip_is_followed_through_a_store_and_a_server(tmp_path: Path) -> None:
    Store(tmp_path).write(100, LEDGERS[:40])
    with serving(130, LEDGERS[30:60]) as server:
        source = open_source(str(tmp_path), live=server.endpoint, retry=QUICK)
        assert source.bounds() == (100, 159)
        stop = threading.Event()
        reader = source.ledgers(100, None, stop)
        taken = [bytes(next(reader).xdr) for _ in range(60)]
        threading.Timer(0.2, lambda: server.ledgers.extend(LEDGERS[60:])).start()
        taken += [bytes(next(reader).xdr) for _ in range(40)]
        assert tuple(taken) == LEDGERS
        threading.Timer(0.1, stop.set).start()
        assert list(reader) == []
        source.close()


# -- equal sources


def test_the_next_goes_on_where_one_fails() -> None:
    one, other = Memory("one", 100, 199, fails_at=(120, 160)), Memory("other", 100, 199, fails_at=(140,))
    assert sequences(failover(one, other), 100, 199) == list(range(100, 200))
    assert one.given == [*range(100, 120), *range(140, 160)]
    assert other.given == [*range(120, 140), *range(160, 200)]


def test_all_of_them_away() -> None:
    one, other = Memory("one", 100, 199, fails_at=(120,)), Memory("other", 100, 199, fails_at=(120,))
    with pytest.raises(SourceUnavailableError, match="none of the ledger sources can be reached: one, other"):
        sequences(failover(one, other), 100, 199)


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


def test_sources_of_different_networks_are_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        Store(tmp_path / name, manifest={"networkPassphrase": name}).write(100, LEDGERS[:2])
    with pytest.raises(NetworkMismatchError, match=r"different networks: .*one \('one'\) and .*other \('other'\)"):
        open_source(f"{tmp_path}/one,{tmp_path}/other")
    with pytest.raises(NetworkMismatchError, match="different networks"):
        open_source(f"{tmp_path}/one", live=f"{tmp_path}/other")


def test_closing_closes_all() -> None:
    one, other = Memory("one", 100, 199), Memory("other", 100, 199)
    failover(one, other).close()
    assert one.closed
    assert other.closed
