"""Reading ahead within a budget of bytes."""

from __future__ import annotations

import time

import pytest

from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight.prefetch import Prefetch
from tests.support.serving import ScriptedSource, ledger_bytes, wait_until

SIZE = 1000


def source_of(latest: int = 500) -> ScriptedSource:
    return ScriptedSource(latest=latest, make=lambda sequence: ledger_bytes(sequence, 1, SIZE - 8))


def test_the_budget_holds_and_everything_arrives_in_order() -> None:
    source = source_of()
    prefetch = Prefetch(source, 1, 500, lambda: 10 * SIZE)
    wait_until(lambda: prefetch.queued_bytes == 10 * SIZE)
    time.sleep(0.05)
    assert len(source.given) <= 11
    taken: list[int] = []
    while not prefetch.ended:
        assert prefetch.queued_bytes <= 10 * SIZE
        taken += [ledger.sequence for ledger in prefetch.take(7, 5 * SIZE, wait=1, linger=0)]
    assert taken == list(range(1, 501))


def test_groups_are_bounded_by_ledgers_and_bytes_but_never_empty() -> None:
    prefetch = Prefetch(source_of(), 1, 500, lambda: 100 * SIZE)
    wait_until(lambda: prefetch.queued_bytes >= 50 * SIZE)
    assert len(prefetch.take(7, 100 * SIZE, wait=1, linger=0)) == 7
    assert len(prefetch.take(100, 5 * SIZE, wait=1, linger=0)) == 5
    assert len(prefetch.take(100, 1, wait=1, linger=0)) == 1
    prefetch.close()


def test_budget_below_one_ledger_still_moves() -> None:
    prefetch = Prefetch(source_of(5), 1, 5, lambda: 1)
    taken: list[int] = []
    while not prefetch.ended:
        taken += [ledger.sequence for ledger in prefetch.take(7, SIZE, wait=1, linger=0)]
    assert taken == [1, 2, 3, 4, 5]


def test_lingering_fills_a_group() -> None:
    source = source_of(3)
    prefetch = Prefetch(source, 1, None, lambda: 100 * SIZE)
    wait_until(lambda: prefetch.queued_bytes == 3 * SIZE)
    source.advance(3)
    assert len(prefetch.take(6, 100 * SIZE, wait=1, linger=1)) == 6
    began = time.monotonic()
    assert prefetch.take(6, 100 * SIZE, wait=0.05, linger=1) == []
    assert time.monotonic() - began < 0.5
    prefetch.close()


def test_failure_comes_after_the_ledgers_before_it() -> None:
    source = source_of()
    source.failures[4] = SourceUnavailableError("gone")
    prefetch = Prefetch(source, 1, 500, lambda: 100 * SIZE)
    wait_until(lambda: len(source.given) == 3)
    assert [ledger.sequence for ledger in prefetch.take(10, 100 * SIZE, wait=1, linger=0.5)] == [1, 2, 3]
    with pytest.raises(SourceUnavailableError, match="gone"):
        prefetch.take(10, 100 * SIZE, wait=1, linger=0)


def test_closing_ends_a_blocked_thread() -> None:
    source = source_of()
    prefetch = Prefetch(source, 1, None, lambda: SIZE)
    wait_until(lambda: source.reading == 1)
    prefetch.close()
    wait_until(lambda: source.reading == 0, 1)
