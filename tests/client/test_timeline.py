"""Ledgers are found by the times at which they closed, with few looks."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from stellar_arrow_client.timeline import first_closed_at


@given(st.integers(1, 2**31), st.lists(st.integers(0, 2**20), min_size=1, max_size=300), st.data())
def test_first_closed_at(oldest: int, steps: list[int], data: st.DataObject) -> None:
    times, looks = [sum(steps[: index + 1]) for index in range(len(steps))], 0
    time = data.draw(st.sampled_from(times) | st.integers(-1, times[-1] + 1))

    def close_time(ledger: int) -> int:
        nonlocal looks
        looks += 1
        assert oldest <= ledger < oldest + len(times)
        return times[ledger - oldest]

    found = first_closed_at(time, oldest, oldest + len(times) - 1, close_time)
    assert found == oldest + bisect_left(times, time)
    assert looks <= 2 + 2 * len(times).bit_length()


def test_a_regular_history_takes_a_few_looks() -> None:
    looks = 0

    def close_time(ledger: int) -> int:
        nonlocal looks
        looks += 1
        return ledger * 5_500_000 + (ledger * 7919 % 900_000)

    for ledger in range(3, 60_000_000, 4_999_999):
        assert first_closed_at(close_time(ledger), 2, 60_000_000, close_time) == ledger
    assert looks / 13 < 12
