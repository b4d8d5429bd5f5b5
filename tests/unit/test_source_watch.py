"""Asking a source what it holds: once for all who ask at about the same time, and never for longer than is good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.flight import source_watch
from stellar_arrow_source.flight.hub import Wait
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.flight.source_watch import SourceState, SourceWatch
from stellar_arrow_source.ledgers.source import Bounds
from tests.support.serving import TABLES, ScriptedSource, wait_until


class Asked(ScriptedSource):
    """A source that answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.questions = 0

    def bounds(self) -> Bounds:
        self.questions += 1
        self.may_answer.wait(30)
        return super().bounds()


@contextmanager
def watching(
    source: ScriptedSource, monkeypatch: pytest.MonkeyPatch, waits: Callable[[], list[Wait]] = list
) -> Iterator[SourceWatch]:
    monkeypatch.setattr(source_watch, "LOOK_SECONDS", 0.05)

    def fail(error: StellarArrowError) -> None:
        raise AssertionError(error)

    watch = SourceWatch(
        lambda: source, TABLES, Preparation([]), passphrase=None, on_fatal=fail, stall_seconds=0.5, waits=waits
    )
    watch.start()
    try:
        wait_until(lambda: watch.condition.state is SourceState.OK)
        yield watch
    finally:
        watch.close()


def test_many_who_ask_share_a_question_that_nobody_waits_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Asked()
    with watching(source, monkeypatch) as watch:
        source.may_answer.clear()
        wait_until(lambda: watch.condition.state is SourceState.HUNG)
        before, began = source.questions, time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(watch.latest) for _ in range(8)]
            for answer in asked:
                with pytest.raises(SourceUnavailableError, match=r"scripted:// has not answered for 0\.5 s or more$"):
                    answer.result(20)
        assert time.monotonic() - began < 10
        assert source.questions == before
        source.may_answer.set()
        wait_until(lambda: watch.condition == (SourceState.OK, None))
        assert watch.latest() == 1000


def test_a_failure_that_took_too_long_is_told_with_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Asked()
    with watching(source, monkeypatch) as watch:
        source.may_answer.clear()
        source.unavailable = SourceUnavailableError("all tries failed")
        wait_until(lambda: watch.condition.state is SourceState.HUNG)
        source.may_answer.set()
        time.sleep(0.2)
        source.may_answer.clear()
        wait_until(lambda: "before, it failed: all tries failed" in (watch.condition.problem or ""))
        assert watch.condition.state is SourceState.HUNG
        source.may_answer.set()
        wait_until(lambda: watch.condition == (SourceState.UNREACHABLE, "all tries failed"))


def test_a_source_that_refuses_its_key_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ScriptedSource()
    with watching(source, monkeypatch) as watch:
        source.unavailable = SourceRefusedError("check the key")
        wait_until(lambda: watch.condition == (SourceState.UNUSABLE, "check the key"))
        with pytest.raises(SourceUnavailableError, match="check the key"):
            watch.latest()
        source.unavailable = None
        wait_until(lambda: watch.condition == (SourceState.OK, None))


def test_what_an_open_source_calls_a_wrong_request_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ScriptedSource()
    with watching(source, monkeypatch) as watch:
        source.unavailable = InvalidRequestError("no such ledger")
        wait_until(lambda: watch.condition == (SourceState.UNUSABLE, "no such ledger"))
        source.unavailable = None
        wait_until(lambda: watch.condition == (SourceState.OK, None))


def test_the_newest_ledger_is_read_now_and_then_while_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_watch, "GLANCE_SECONDS", 0.2)
    source = ScriptedSource()
    with watching(source, monkeypatch):
        wait_until(lambda: 1000 in source.given)
        source.advance()
        wait_until(lambda: 1001 in source.given)
    assert set(source.given) == {1000, 1001}


def test_a_ledger_is_due_only_since_the_source_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ScriptedSource()
    waiting = [Wait(1001, 3600.0)]  # at the tip, for an hour
    with watching(source, monkeypatch, lambda: list(waiting)) as watch:
        time.sleep(0.7)
        assert watch.condition.state is SourceState.OK
        source.advance()
        wait_until(lambda: watch.newest == 1001)
        assert watch.condition.state is SourceState.OK
        ends = time.monotonic() + 3
        while watch.condition.state is SourceState.OK and time.monotonic() < ends:
            source.advance()  # the tip moves on, that ledger does not come
            time.sleep(0.1)
        assert "has not given ledger 1001 for" in (watch.condition.problem or "")
        waiting.clear()
        assert watch.condition.state is SourceState.OK
