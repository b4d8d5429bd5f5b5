"""A generator in a thread hands its items to an event loop, no further ahead than it may, and ends when it is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import aclosing

import pytest
from ttp_processor.relay import AHEAD, Relay


class Numbers:
    """A generator of numbers that tells how far it is, and whether it was closed."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.count, self.failure = count, failure
        self.made = 0
        self.closed = threading.Event()

    def __call__(self, stop: threading.Event) -> Generator[int, None, None]:
        try:
            while self.made < self.count and not stop.is_set():
                self.made += 1
                yield self.made
            if self.failure is not None:
                raise self.failure
            while self.count == 0 and not stop.wait(0.01):
                pass
        finally:
            self.closed.set()


async def ended(numbers: Numbers, told: asyncio.Event) -> None:
    await asyncio.wait_for(told.wait(), 10)
    assert numbers.closed.is_set()


def test_all_items_in_order() -> None:
    async def run() -> list[int]:
        numbers, told = Numbers(100), asyncio.Event()
        relay = Relay(numbers, name="numbers", on_end=told.set)
        got = [number async for number in relay.items()]
        relay.leave()
        await ended(numbers, told)
        return got

    assert asyncio.run(run()) == list(range(1, 101))


def test_no_further_ahead_than_it_may() -> None:
    async def run() -> None:
        numbers, told = Numbers(100), asyncio.Event()
        relay = Relay(numbers, name="numbers", on_end=told.set)
        async with aclosing(relay.items()) as items:
            assert await anext(items) == 1
            await asyncio.sleep(0.3)
            assert numbers.made <= 1 + AHEAD
        relay.leave()
        await ended(numbers, told)
        assert numbers.made <= 2 + AHEAD

    asyncio.run(run())


def test_what_it_raises_comes_after_its_items() -> None:
    async def run() -> None:
        numbers, told = Numbers(3, ValueError("four")), asyncio.Event()
        relay = Relay(numbers, name="numbers", on_end=told.set)
        items = relay.items()
        assert [await anext(items) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ValueError, match="four"):
            await anext(items)
        relay.leave()
        await ended(numbers, told)

    asyncio.run(run())


@pytest.mark.parametrize("begun", [False, True], ids=["unread", "read"])
def test_cancelled_while_it_waits(begun: bool) -> None:
    async def run() -> None:
        numbers, told = Numbers(0), asyncio.Event()
        relay = Relay(numbers, name="numbers", on_end=told.set)
        if begun:
            reading = asyncio.ensure_future(anext(relay.items()))
            await asyncio.sleep(0.05)
            reading.cancel()
        relay.leave()
        await ended(numbers, told)

    asyncio.run(run())


def test_stopped_it_gives_what_it_has() -> None:
    async def run() -> None:
        numbers, told = Numbers(100), asyncio.Event()
        relay, got = Relay(numbers, name="numbers", on_end=told.set), []
        async for number in relay.items():
            got.append(number)
            if number == 5:
                relay.stop()
        assert got == list(range(1, numbers.made + 1))
        assert 5 <= len(got) <= 6 + AHEAD
        relay.leave()
        await ended(numbers, told)

    asyncio.run(run())
