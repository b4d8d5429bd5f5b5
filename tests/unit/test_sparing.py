"""What happens again and again is told now and then, with how often it happened."""

from __future__ import annotations

from stellar_arrow_source.sparing import TELL_SECONDS, Sparing
from tests.support.metrics import Clock


def test_a_line_now_and_then() -> None:
    clock = Clock()
    sparing = Sparing(clock)
    assert sparing.tell() == ""
    assert [sparing.tell() for _ in range(5)] == [None] * 5
    clock.now += TELL_SECONDS
    assert sparing.tell() == " (5 more since the last such line)"
    assert sparing.tell() is None
    clock.now += 10 * TELL_SECONDS
    assert sparing.tell() == " (1 more since the last such line)"
    clock.now += TELL_SECONDS
    assert sparing.tell() == ""
