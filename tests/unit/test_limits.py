"""What open streams share."""

from __future__ import annotations

from contextlib import ExitStack

from stellar_arrow_source.flight.limits import GROUP_BYTES, StreamLimiter

LEAST, MOST = GROUP_BYTES


def test_the_more_streams_are_open_the_smaller_are_their_groups() -> None:
    limiter = StreamLimiter(64, 24 << 20)
    groups = [limiter.group_bytes()]
    with ExitStack() as stack:
        for _ in range(22):
            stack.enter_context(limiter.admit())
            groups.append(limiter.group_bytes())
            assert groups[-1] == LEAST or 2 * groups[-1] <= limiter.read_ahead_share()
    assert groups[:4] == [MOST, MOST, 6 << 20, LEAST]
    assert set(groups[4:]) == {LEAST}
    assert limiter.group_bytes() == MOST
    assert StreamLimiter(64, 1 << 20).group_bytes() == LEAST
