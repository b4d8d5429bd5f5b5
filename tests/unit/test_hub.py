"""Reading ahead within a budget of bytes, once for all who are at about the same place."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight import feeds as feeds_module
from stellar_arrow_source.flight import hub as hub_module
from stellar_arrow_source.flight.hub import LedgerHub, LedgerReader
from tests.support.serving import ScriptedSource, ledger_bytes, wait_until

SIZE = 1000


def source_of(latest: int = 500) -> ScriptedSource:
    return ScriptedSource(latest=latest, make=lambda sequence: ledger_bytes(sequence, 1, SIZE - 8))


def drain(reader: LedgerReader, ledgers: int = 7) -> list[int]:
    taken: list[int] = []
    while not reader.ended:
        taken += [ledger.sequence for ledger in reader.take(ledgers, 100 * SIZE, wait=1, linger=0)]
    return taken


def drain_to(reader: LedgerReader, last: int) -> list[int]:
    taken: list[int] = []
    while last not in taken:
        taken += sequences(reader, wait=0.05)
    return taken


def sequences(reader: LedgerReader, wait: float = 0.0) -> list[int]:
    return [ledger.sequence for ledger in reader.take(7, 100 * SIZE, wait=wait, linger=0)]


def test_the_budget_holds_and_everything_arrives_in_order() -> None:
    source = source_of()
    hub = LedgerHub(lambda: 10 * SIZE)
    reader = hub.open(source, 1, 500)
    wait_until(lambda: hub.held_bytes == 10 * SIZE)
    time.sleep(0.05)
    assert len(source.given) <= 11
    taken: list[int] = []
    while not reader.ended:
        assert hub.held_bytes <= 10 * SIZE
        taken += [ledger.sequence for ledger in reader.take(7, 5 * SIZE, wait=1, linger=0)]
    assert taken == list(range(1, 501))


def test_groups_are_bounded_by_ledgers_and_bytes_but_never_empty() -> None:
    hub = LedgerHub(lambda: 100 * SIZE)
    reader = hub.open(source_of(), 1, 500)
    wait_until(lambda: hub.held_bytes >= 50 * SIZE)
    assert len(reader.take(7, 100 * SIZE, wait=1, linger=0)) == 7
    assert len(reader.take(100, 5 * SIZE, wait=1, linger=0)) == 5
    assert len(reader.take(100, 1, wait=1, linger=0)) == 1
    reader.close()


def test_budget_below_one_ledger_still_moves() -> None:
    hub = LedgerHub(lambda: 1)
    reader = hub.open(source_of(5), 1, 5)
    taken: list[int] = []
    while not reader.ended:
        taken += [ledger.sequence for ledger in reader.take(7, SIZE, wait=1, linger=0)]
    assert taken == [1, 2, 3, 4, 5]


def test_lingering_fills_a_group() -> None:
    source = source_of(3)
    hub = LedgerHub(lambda: 100 * SIZE)
    reader = hub.open(source, 1, None)
    wait_until(lambda: hub.held_bytes == 3 * SIZE)
    source.advance(3)
    assert len(reader.take(6, 100 * SIZE, wait=1, linger=1)) == 6
    began = time.monotonic()
    assert reader.take(6, 100 * SIZE, wait=0.05, linger=1) == []
    assert time.monotonic() - began < 0.5
    reader.close()


def test_failure_comes_after_the_ledgers_before_it() -> None:
    source = source_of()
    source.failures[4] = SourceUnavailableError("gone")
    hub = LedgerHub(lambda: 100 * SIZE)
    reader = hub.open(source, 1, 500)
    wait_until(lambda: len(source.given) == 3)
    assert [ledger.sequence for ledger in reader.take(10, 100 * SIZE, wait=1, linger=0.5)] == [1, 2, 3]
    with pytest.raises(SourceUnavailableError, match="gone"):
        reader.take(10, 100 * SIZE, wait=1, linger=0)


def test_closing_ends_a_blocked_thread() -> None:
    source = source_of()
    hub = LedgerHub(lambda: SIZE)
    reader = hub.open(source, 1, None)
    wait_until(lambda: source.reading == 1)
    reader.close()
    wait_until(lambda: source.reading == 0, 1)


def test_readers_of_one_range_share_what_is_read() -> None:
    source = source_of()
    hub = LedgerHub(lambda: 50 * SIZE)
    readers = [hub.open(source, 1, 500)]
    wait_until(lambda: hub.held_bytes == 50 * SIZE)
    readers[0].take(20, 100 * SIZE, wait=1, linger=1)
    readers += [hub.open(source, start, 500) for start in (1, 21, 40)]
    threads = []
    taken: list[list[int]] = [[] for _ in readers]
    for reader, out, ledgers in zip(readers, taken, (1, 5, 9, 50), strict=True):
        threads.append(threading.Thread(target=lambda r=reader, o=out, n=ledgers: o.extend(drain(r, n))))
        threads[-1].start()
    for thread in threads:
        thread.join(10)
    assert taken == [list(range(first, 501)) for first in (21, 1, 21, 40)]
    assert source.given == list(range(1, 501))


def test_other_ranges_and_places_are_read_on_their_own() -> None:
    source = source_of()
    hub = LedgerHub(lambda: 10 * SIZE)
    first, other_end, far = (hub.open(source, *span) for span in ((1, 500), (1, 400), (300, 500)))
    assert drain(far) == list(range(300, 501))
    assert drain(other_end) == list(range(1, 401))
    assert drain(first) == list(range(1, 501))
    before = hub.open(source, 1, 500)  # the window of the first has moved on
    assert drain(before) == list(range(1, 501))


def test_a_reader_that_stalls_does_not_stop_another_for_long(monkeypatch) -> None:
    monkeypatch.setattr(hub_module, "FAIRNESS_SECONDS", 0.2)
    source = source_of()
    hub = LedgerHub(lambda: 10 * SIZE)
    stalled, other = (hub.open(source, 1, 500) for _ in range(2))
    wait_until(lambda: source.reading == 1)
    assert drain(other) == list(range(1, 501))
    assert source.given == list(range(1, 501)), "it goes on with what was shared"
    assert drain(stalled) == list(range(1, 501))


def test_one_from_history_comes_to_those_at_the_tip() -> None:
    source = source_of(300)
    hub = LedgerHub(lambda: 10 * SIZE)
    at_tip = [hub.open(source, 300, None) for _ in range(2)]
    late = hub.open(source, 1, None)
    assert drain_to(late, 300) == list(range(1, 301))
    assert [sequences(reader) for reader in at_tip] == [[300], [300]]
    time.sleep(hub_module.MEETING_SECONDS)
    assert sequences(late) == []
    wait_until(lambda: source.reading == 1, 1)
    source.given.clear()
    source.advance(5)
    wait_until(lambda: source.given == list(range(301, 306)), 1)
    assert [sequences(reader) for reader in (late, *at_tip)] == [list(range(301, 306))] * 3
    for reader in (late, *at_tip):
        reader.close()


def test_those_who_are_close_wait_for_each_other_and_go_on_together() -> None:
    source = source_of(2000)
    hub = LedgerHub(lambda: 10 * SIZE)
    ahead = hub.open(source, 1, 2000)
    first = drain_to(ahead, 20)
    wait_until(lambda: hub.held_ledgers == 10)  # none of the first ledgers is left
    behind = [hub.open(source, 1, 2000) for _ in range(2)]
    taken: dict[LedgerReader, list[int]] = {ahead: first, **{reader: [] for reader in behind}}
    together: list[int] = []
    while not all(reader.ended for reader in taken):
        for reader, ledgers in taken.items():
            ledgers += sequences(reader)
        together.append(source.reading)
        time.sleep(0.005)
    assert list(taken.values()) == [list(range(1, 2001))] * 3
    assert together[0] == 2
    assert together[len(together) // 2] == 1
    assert len(source.given) < 2000 + 200


def test_one_that_does_not_come_is_waited_for_once(monkeypatch) -> None:
    monkeypatch.setattr(feeds_module, "PATIENCE_SECONDS", 0.4)
    source = source_of(200)
    hub = LedgerHub(lambda: 10 * SIZE)
    ahead = hub.open(source, 1, 200)
    taken = drain_to(ahead, 20)
    wait_until(lambda: hub.held_ledgers == 10)
    stalled = hub.open(source, 1, 200)
    assert drain_to(stalled, 7) == list(range(1, 8))  # one that never moved would not be waited for at all
    time.sleep(hub_module.MEETING_SECONDS)
    held_back = 0
    while not ahead.ended:
        group = ahead.take(2, 100 * SIZE, wait=0.05, linger=0)
        held_back += not group
        taken += [ledger.sequence for ledger in group]
        time.sleep(0.02)  # so it is close for longer than it waits
    assert taken == list(range(1, 201))
    assert 1 <= held_back <= 12
    assert drain(stalled) == list(range(8, 201))


def test_whoever_comes_behind_can_hold_up_another_for_some_seconds_only() -> None:
    """Streams that are opened one after the other, close behind another, and are not read on."""
    source = source_of(10_000)
    hub = LedgerHub(lambda: 10 * SIZE)
    ahead = hub.open(source, 1, 10_000)
    taken, held_back, began = drain_to(ahead, 40), 0.0, time.monotonic()
    while time.monotonic() - began < 6:
        behind = hub.open(source, ahead.position - 25, 10_000)
        drain_to(behind, behind.position)
        time.sleep(hub_module.MEETING_SECONDS)
        for _ in range(12):
            now = time.monotonic()
            taken += (group := [ledger.sequence for ledger in ahead.take(1, SIZE, wait=0.1, linger=0)])
            held_back += 0 if group else time.monotonic() - now
        behind.close()
    ahead.close()
    assert taken == list(range(1, len(taken) + 1))
    assert feeds_module.PATIENCE_SECONDS < held_back < feeds_module.PATIENCE_IN_ALL + 1


def test_nobody_waits_for_one_who_held_up_others(monkeypatch) -> None:
    monkeypatch.setattr(hub_module, "FAIRNESS_SECONDS", 0.2)
    source = source_of(2000)
    hub = LedgerHub(lambda: 10 * SIZE)
    slow, quick = (hub.open(source, 1, 2000) for _ in range(2))
    taken = drain_to(quick, 22)
    assert sequences(slow) == list(range(1, 8))
    time.sleep(hub_module.MEETING_SECONDS)
    held_back = 0
    while not quick.ended:
        taken += (group := sequences(quick, wait=0.05))
        held_back += not group
        time.sleep(0.002)
    assert taken == list(range(1, 2001))
    assert held_back * 0.05 < feeds_module.PATIENCE_SECONDS / 2
    slow.close()


def test_failed_reading_is_not_joined_but_tried_again() -> None:
    source = source_of()
    source.failures[4] = SourceUnavailableError("gone")
    hub = LedgerHub(lambda: 100 * SIZE)
    first = hub.open(source, 1, 500)
    wait_until(lambda: source.reading == 0 and len(source.given) == 3)
    assert len(first.take(10, 100 * SIZE, wait=1, linger=0.1)) == 3
    with pytest.raises(SourceUnavailableError, match="gone"):
        first.take(10, 100 * SIZE, wait=1, linger=0)
    del source.failures[4]
    assert drain(hub.open(source, 1, 500)) == list(range(1, 501))


def test_the_last_reader_ends_the_reading() -> None:
    source = source_of()
    hub = LedgerHub(lambda: SIZE)
    readers = [hub.open(source, 1, None) for _ in range(2)]
    wait_until(lambda: source.reading == 1)
    readers[0].close()
    readers[0].close()
    time.sleep(0.3)
    assert source.reading == 1
    readers[1].close()
    wait_until(lambda: source.reading == 0, 1)
    assert hub.held_bytes == 0


def test_readers_of_one_range_take_the_same_groups() -> None:
    hub = LedgerHub(lambda: 600 * SIZE)
    readers = [hub.open(source_of(), 1, 500)]
    wait_until(lambda: hub.held_bytes == 500 * SIZE)
    readers += [hub.open(readers[0].source, 1, 500), hub.open(readers[0].source, 15, 500)]
    groups = []
    for reader in readers:
        groups.append([])
        while not reader.ended:
            taken = reader.take(32, (20 if reader is readers[0] else 90) * SIZE, wait=1, linger=0)
            groups[-1].append((taken[0].sequence, len(taken)))
    assert groups[0] == groups[1]
    assert [group[0] for group in groups[0]] == list(range(1, 501, 20))
    assert groups[2] == [(15, 6), *groups[0][1:]], "who begins elsewhere goes on with the others' groups"


def test_groups_are_forgotten_with_their_ledgers() -> None:
    hub = LedgerHub(lambda: SIZE)  # less than a group
    reader = hub.open(source_of(), 1, 500)
    while not reader.ended:
        reader.take(7, 100 * SIZE, wait=1, linger=0.01)
    assert len(reader._feed.groups) <= 1


def test_one_who_is_left_behind_has_not_come_to_the_end() -> None:
    hub, source = LedgerHub(lambda: 10 * SIZE), source_of(10_000)
    quick, slow = (hub.open(source, 1, None) for _ in range(2))
    drain_to(quick, 14)
    with (feed := slow._feed).changed:
        feed.leave_behind(quick)
        quick.close()
    wait_until(lambda: feed.ended)
    assert not slow.ended
    assert drain_to(slow, 50)[:50] == list(range(1, 51))
    slow.close()


def test_what_is_decoded_for_several_is_decoded_once_and_counted() -> None:
    hub = LedgerHub(lambda: 600 * SIZE)
    first = hub.open(source_of(), 1, 500, "payments", ["amount", "memo"])
    wait_until(lambda: hub.held_bytes == 500 * SIZE)
    made: list[tuple[str, ...]] = []

    def begin(requests: Mapping[str, tuple[str, ...]]) -> Future[Any]:
        made.extend(requests.values())
        work: Future[Any] = Future()
        amounts = pa.record_batch({"amount": pa.array([1, 2, 3], pa.int64())})
        work.set_result(SimpleNamespace(batches={"payments": amounts}))
        return work

    def take(reader: LedgerReader) -> None:
        reader.decode(reader.take(10, 100 * SIZE, wait=1, linger=0), begin)

    take(first)
    assert made == [("amount", "memo")]
    second = hub.open(first.source, 11, 500, "payments", ["amount", "fee"])
    other = hub.open(first.source, 11, 500, "trades", ["price"])
    for reader in (first, second, other):
        take(reader)
    assert made[1:] == [("amount", "fee", "memo"), ("price",)]
    assert hub.held_bytes == 500 * SIZE + 2 * 24
    second.close()
    take(first)
    assert made[3:] == [("amount", "memo")]
    for reader in (first, other):
        reader.close()
    assert hub.held_bytes == 0
