"""Work that several want is done once, within a bound of memory."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from stellar_arrow_source.flight.once import Once


class Works:
    """Begins works, which end when a test says so."""

    def __init__(self) -> None:
        self.begun: list[Future[bytes]] = []

    def begin(self) -> Future[bytes]:
        self.begun.append(Future())
        return self.begun[-1]


def done(result: bytes) -> Future[bytes]:
    work: Future[bytes] = Future()
    work.set_result(result)
    return work


@pytest.fixture
def works() -> Works:
    return Works()


def test_a_hundred_ask_and_one_works(works: Works) -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    asked = [once.get("key", works.begin) for _ in range(50)]
    assert once.held_bytes == 0
    works.begun[0].set_result(bytes(100))
    asked += [once.get("key", works.begin) for _ in range(50)]
    assert len(works.begun) == 1
    assert {id(work) for work in asked} == {id(works.begun[0])}
    assert once.held_bytes == 100


def test_what_is_kept_is_bounded(works: Works) -> None:
    once: Once[int, bytes] = Once(lambda: 250, len)
    for key in range(10):
        once.get(key, lambda: done(bytes(100)))
        assert once.held_bytes <= 250
    for key in (9, 8, 0):
        once.get(key, works.begin)
    assert len(works.begun) == 1


def test_what_is_being_made_is_kept_however_little_room_there_is(works: Works) -> None:
    once: Once[str, bytes] = Once(lambda: 10, len)
    first = once.get("first", works.begin)
    assert once.get("large", lambda: done(bytes(100))).result() == bytes(100)
    assert once.held_bytes == 0
    assert once.get("first", works.begin) is first


def test_all_who_share_it_are_told_of_a_failure_and_the_next_begins_again(works: Works) -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    shared = [once.get("key", works.begin) for _ in range(3)]
    works.begun[0].set_exception(ValueError("no"))
    for work in shared:
        with pytest.raises(ValueError, match="no"):
            work.result()
    assert once.get("key", lambda: done(b"yes")).result() == b"yes"
    assert once.held_bytes == 3


def test_what_one_has_cancelled_is_begun_again_for_the_others(works: Works) -> None:
    once: Once[str, bytes] = Once(lambda: 1000, len)
    once.get("key", works.begin).cancel()
    again = once.get("key", works.begin)
    assert again is works.begun[1]
    again.set_result(b"done")
    assert once.get("key", works.begin).result() == b"done"


def test_what_is_past_is_forgotten_done_or_not(works: Works) -> None:
    once: Once[int, bytes] = Once(lambda: 1000, len)
    for key in range(3):
        once.get(key, lambda: done(bytes(100)))
    late = once.get(3, works.begin)
    once.forget(lambda key: key != 1)
    assert once.held_bytes == 100
    late.set_result(bytes(100))
    assert late.result() == bytes(100)
    assert once.held_bytes == 100


def test_who_hears_of_a_failure_first_may_ask_again_at_once(works: Works) -> None:
    """A moment before the failed work is let go of."""
    once: Once[str, bytes] = Once(lambda: 1000, len)
    again: list[Future[bytes]] = []
    failing: Future[bytes] = Future()
    failing.add_done_callback(lambda _: again.append(once.get("key", works.begin)))
    assert once.get("key", lambda: failing) is failing
    failing.set_exception(ValueError("broken"))
    assert again == works.begun
    works.begun[0].set_result(b"sound")
    assert once.get("key", works.begin).result() == b"sound"
    assert len(works.begun) == 1
