"""From times to ledgers: ledgers close one after the other, so a few looks at their close times find any time."""

from __future__ import annotations

from collections.abc import Callable


def first_closed_at(time: int, oldest: int, newest: int, close_time: Callable[[int], int]) -> int:
    """The first of the ledgers ``oldest`` to ``newest`` that closed at ``time`` or later; ``newest + 1`` if none did.

    Every second look is at the middle, so that there are at most twice as many as bisection needs; the others are
    where the ledger would be if all closed in equal intervals, which they nearly do.

    Args:
        close_time: of a ledger, in the unit of ``time``; it never falls from one ledger to the next.
    """
    low, high = oldest, newest
    at_low, at_high = close_time(low), close_time(high)
    if time <= at_low:
        return low
    if time > at_high:
        return high + 1
    # close_time(low) < time <= close_time(high)
    estimate = True
    while high - low > 1:
        middle = low + (high - low) // 2
        if estimate:
            middle = low + (high - low) * (time - at_low) // (at_high - at_low)
            middle = min(max(middle, low + 1), high - 1)
        estimate = not estimate
        at_middle = close_time(middle)
        if at_middle < time:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return high
