"""What a table lacks, cut into the ranges that are read at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stellar_arrow_client.request import StreamRequest


def cut(missing: Sequence[StreamRequest], latest: int | None, writers: int) -> tuple[StreamRequest, ...]:
    """The same in about as many parts as are read at the same time, those up to the tip among them.

    Args:
        latest: the newest ledger; None while there is none.
    """
    bounded = [part for part in missing if part.end is not None]
    tips = [part for part in missing if part.end is None]
    if writers > 1 and latest is not None:
        for at, tip in enumerate(tips):
            if tip.start is not None and tip.start <= latest:
                bounded.append(replace(tip, end=latest))
                tips[at] = replace(tip, start=latest + 1)
    ranges = [(part, part.start, part.end) for part in bounded if part.start is not None and part.end is not None]
    size = max(-(-sum(last - first + 1 for _, first, last in ranges) // writers), 1)
    pieces = (
        replace(part, start=at, end=min(at + size - 1, last))
        for part, first, last in ranges
        for at in range(first, last + 1, size)
    )
    return (*pieces, *tips)
