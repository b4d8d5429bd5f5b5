"""Work that several threads want is done once, within a bound of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from stellar_arrow_source.flight.once import Once


def ignore() -> None: ...


def run(threads: int, work: Callable[[int], None]) -> None:
    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(20)
        assert not thread.is_alive()


def test_a_hundred_ask_and_one_works() -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    calls: list[int] = []
    seen: list[bytes] = []

    def make() -> bytes:
        calls.append(1)
        time.sleep(0.1)
        return b"x" * 100

    run(100, lambda _: seen.append(once.get("key", make, ignore)))
    assert len(calls) == 1
    assert len({id(result) for result in seen}) == 1
    assert len(seen) == 100
    assert once.held_bytes == 100


def test_what_is_kept_is_bounded() -> None:
    once: Once[str, bytes] = Once(lambda: 250, len)
    for key in range(10):
        assert once.get(key, lambda: bytes(100), ignore) == bytes(100)
        assert once.held_bytes <= 250
    made: list[int] = []

    def make(key: int) -> bytes:
        made.append(key)
        return bytes(100)

    for key in (9, 8, 0):
        once.get(key, lambda key=key: make(key), ignore)  # type: ignore[misc]
    assert made == [0]


def test_more_than_the_bound_is_given_but_not_kept() -> None:
    once: Once[str, bytes] = Once(lambda: 10, len)
    assert once.get("key", lambda: bytes(100), ignore) == bytes(100)
    assert once.held_bytes == 0


def test_all_who_wait_are_told_of_a_failure_and_the_next_tries_again() -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    failures: list[str] = []
    begun = threading.Event()

    def fail() -> bytes:
        begun.set()
        time.sleep(0.2)
        raise ValueError("no")

    def work(number: int) -> None:
        if number:
            begun.wait()
        try:
            once.get("key", fail, ignore)
        except ValueError as error:
            failures.append(str(error))

    run(5, work)
    assert failures == ["no"] * 5
    assert once.get("key", lambda: b"yes", ignore) == b"yes"


def test_a_timeout_of_the_work_itself_is_a_failure() -> None:
    def fail() -> bytes:
        raise TimeoutError("too slow")

    with pytest.raises(TimeoutError, match="too slow"):
        Once[str, bytes](lambda: 1000, len).get("key", fail, ignore)


def test_who_waits_can_leave() -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    begun, release = threading.Event(), threading.Event()

    def make() -> bytes:
        begun.set()
        release.wait()
        return b"done"

    def leave() -> None:
        raise InterruptedError

    worker = threading.Thread(target=lambda: once.get("key", make, ignore))
    worker.start()
    begun.wait()
    with pytest.raises(InterruptedError):
        once.get("key", make, leave)
    release.set()
    worker.join()
    assert once.get("key", lambda: b"other", ignore) == b"done"
