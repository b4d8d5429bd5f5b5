"""What is decoded once for the readers of several streams."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from stellar_arrow_source.flight.shared import DecodeApartError, Requests, SharedDecoding, Wanted

SIZE = 80
"""Bytes of what is made of one stream here."""


class Feed:
    """Readers of a feed, who ask for groups of ten ledgers."""

    def __init__(self, *wants: Wanted) -> None:
        self.budget, self.compiled = 100 * SIZE, True
        self.decoded = SharedDecoding(lambda: self.budget, lambda: self.compiled)
        self.calls: list[Requests] = []
        self.works: list[Future[Any]] = []
        for wanted in wants:
            self.decoded.add(wanted)

    def ask(self, wanted: Wanted, first: int = 1, *, done: bool = True) -> Future[Any]:
        def begin(requests: Requests) -> Future[Any]:
            self.calls.append(requests)
            self.works.append(Future())
            if done:
                rows = pa.record_batch({"x": pa.array(range(10), pa.int64())})
                self.works[-1].set_result(SimpleNamespace(batches=dict.fromkeys(requests, rows)))
            return self.works[-1]

        return self.decoded.get(wanted, first, 10, begin)

    @property
    def made(self) -> list[list[str]]:
        """The streams of each call."""
        return [list(requests) for requests in self.calls]


def wanting(*streams: str) -> list[Wanted]:
    return [Wanted(stream, frozenset({"x"})) for stream in streams]


def test_one_call_makes_what_all_want() -> None:
    wants = [*wanting("trades", "payments", "effects"), Wanted("payments", frozenset({"y"}))]
    feed = Feed(*wants)
    works = {id(feed.ask(wanted)) for wanted in wants}
    assert feed.calls == [{"effects": ("x",), "payments": ("x", "y"), "trades": ("x",)}]
    assert len(works) == 1
    assert feed.decoded.held_bytes == 3 * SIZE
    feed.ask(wants[0], 11)
    assert len(feed.calls) == 2
    feed.decoded.forget(11)
    assert feed.decoded.held_bytes == 3 * SIZE
    feed.decoded.forget(21)
    assert feed.decoded.held_bytes == 0


def test_two_streams_are_decoded_by_themselves() -> None:
    wants = wanting("trades", "payments", "payments")
    feed = Feed(*wants)
    for wanted in wants:
        feed.ask(wanted)
    assert feed.made == [["trades"], ["payments"]]


def test_a_reader_that_stays_alone_is_neither_waited_for_nor_helped() -> None:
    wants = wanting("trades", "payments", "effects", "accounts")
    wants[0].alone = True
    feed = Feed(*wants)
    for wanted in wants:
        feed.ask(wanted)
    assert feed.made == [["trades"], ["accounts", "effects", "payments"]]


def test_what_is_not_compiled_is_not_waited_for() -> None:
    wants = wanting("trades", "payments", "effects")
    feed = Feed(*wants)
    feed.compiled = False
    feed.ask(wants[0])
    feed.ask(wants[1])
    assert feed.made == [["trades"], ["payments"]]
    feed.compiled = True
    for wanted in wants:
        feed.ask(wanted, 11)
    assert feed.made[2:] == [["effects", "payments", "trades"]]


def test_who_comes_when_it_has_gone_has_its_own_stream_decoded_and_is_left_out_until_it_keeps_up() -> None:
    wants = wanting("trades", "payments", "effects", "accounts")
    *quick, late = wants
    feed = Feed(*wants)
    feed.budget = 4 * SIZE
    for first in (1, 11):
        for wanted in quick:
            feed.ask(wanted, first)
    assert feed.decoded.held_bytes == feed.budget  # of the second group only
    feed.ask(late, 1)
    feed.ask(quick[0], 21)
    assert feed.made[2:] == [["accounts"], ["effects", "payments", "trades"]]
    feed.ask(late, 21)
    feed.ask(quick[0], 31)
    assert feed.made[4:] == [["accounts"], ["accounts", "effects", "payments", "trades"]]


def test_a_reader_that_joins_is_decoded_for_with_the_next_group() -> None:
    wants = wanting("trades", "payments", "effects", "accounts")
    feed = Feed(*wants[:3])
    feed.ask(wants[0])
    feed.decoded.add(wants[3])
    feed.ask(wants[3])
    feed.ask(wants[3], 11)
    assert feed.made == [["effects", "payments", "trades"], ["accounts"], ["accounts", "effects", "payments", "trades"]]


def test_a_reader_that_was_left_behind_goes_its_own_way() -> None:
    wants = wanting("trades", "payments", "effects")
    feed = Feed(*wants)
    feed.decoded.discard(wants[0])
    for wanted in wants:
        feed.ask(wanted)
    assert feed.made == [["trades"], ["payments"], ["effects"]]


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_fails_together_is_done_apart(cancelled: bool) -> None:
    wants = wanting("trades", "payments", "effects")
    feed = Feed(*wants)
    works = [feed.ask(wanted, done=False) for wanted in wants]
    if cancelled:
        assert works[0].cancel()
    else:
        works[0].set_exception(DecodeApartError())
    for wanted in wants:
        assert feed.ask(wanted).result()
    assert feed.made[1:] == [["trades"], ["payments"], ["effects"]]
    for first in (11, 21):
        for wanted in wants:
            feed.ask(wanted, first)
    assert feed.made[-1] == ["effects", "payments", "trades"]
