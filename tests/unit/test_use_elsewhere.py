"""What a client uses of one process of a server counts in the others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from stellar_arrow_client.errors import LimitError
from stellar_arrow_source.access.grants import Limits
from stellar_arrow_source.access.rates import Accounts, Use


class Processes:
    """Two processes of one server, under one clock, that tell each other what they hear."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.one, self.two = (Accounts(8, lambda: self.now, lambda: self.now) for _ in range(2))

    def tell(self) -> None:
        self.two.hear("one", self.one.news())
        self.one.hear("two", self.two.news())


def test_streams_are_counted_together() -> None:
    processes, limits = Processes(), Limits(streams=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(processes.one.of("ann").stream(limits))
        processes.tell()
        with pytest.raises(LimitError, match="2 streams are open, your limit is 2"):
            stack.enter_context(processes.two.of("ann").stream(limits))
        stack.enter_context(processes.two.of("bob").stream(limits))
    processes.tell()
    with processes.two.of("ann").stream(limits):
        pass


def test_streams_of_a_process_that_ended_are_open_no_more() -> None:
    processes, limits = Processes(), Limits(streams=1)
    with processes.one.of("ann").stream(limits):
        processes.tell()
        processes.two.forget("one")
        with processes.two.of("ann").stream(limits):
            pass


def test_bytes_of_the_day_are_counted_together() -> None:
    processes, limits = Processes(), Limits(bytes_per_day=1000)
    processes.one.of("ann").spend(limits, 600)
    processes.two.of("ann").spend(limits, 500)
    assert processes.one.of("ann").delay(limits) == processes.two.of("ann").delay(limits) == 0
    processes.tell()
    for process in (processes.one, processes.two):
        with pytest.raises(LimitError, match="1000 bytes of today"):
            process.of("ann").delay(limits)


def test_bytes_of_the_second_are_shared() -> None:
    processes, limits = Processes(), Limits(bytes_per_second=100)
    for process in (processes.one, processes.two):
        process.of("ann").spend(limits, 100)
        assert process.of("ann").delay(limits) == 0
    processes.tell()
    assert processes.one.of("ann").delay(limits) == processes.two.of("ann").delay(limits) == 1
    processes.now += 1
    assert processes.one.of("ann").delay(limits) == 0


def test_requests_are_counted_together() -> None:
    processes, limits = Processes(), Limits(requests_per_second=2)
    processes.two.of("ann").request(limits)
    for _ in range(2):
        processes.one.of("ann").request(limits)
    processes.tell()
    with pytest.raises(LimitError):
        processes.two.of("ann").request(limits)


def test_what_was_used_long_ago_is_no_debt() -> None:
    processes, limits = Processes(), Limits(bytes_per_second=100)
    processes.two.of("ann").spend(limits, 1)
    for _ in range(50):
        processes.one.of("ann").spend(limits, 100)
        processes.tell()
        processes.now += 1
    processes.now += 1
    assert processes.two.of("ann").delay(limits) == 0


def test_there_is_no_news_of_those_who_did_nothing() -> None:
    processes = Processes()
    processes.one.of("ann").spend(Limits(), 5)
    processes.one.of("bob")
    assert processes.one.news() == {"ann": Use(nbytes=5)}
    assert processes.one.news() == {}
    with processes.one.of("ann").stream(Limits()):
        assert processes.one.news() == {"ann": Use(streams=1)}
        assert processes.one.news() == {}
    assert processes.one.news() == {"ann": Use()}
