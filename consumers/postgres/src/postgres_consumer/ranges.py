"""What tables lack, cut into the ranges that are read at the same time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest

from postgres_consumer.checkpoints import Checkpoints
from postgres_consumer.session import Connection
from postgres_consumer.tables import Table
from stellar_arrow_client.request import MAX_LEDGER, StreamRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Missing:
    """What a table lacks of what is asked for.

    Attributes:
        bounded: ranges, ascending, both ends inclusive.
        follows: whether the network is followed after them.
        tip: from which ledger on; None for the latest one, when there is none yet.
    """

    bounded: tuple[tuple[int, int], ...] = ()
    follows: bool = False
    tip: int | None = None

    def __str__(self) -> str:
        parts = [f"{first} to {last}" for first, last in self.bounded]
        if self.follows:
            parts.append(f"from {self.tip or 'the latest one'} on")
        return ", ".join(parts)

    def __bool__(self) -> bool:
        return self.follows or bool(self.bounded)


def find_missing(
    connection: Connection, checkpoints: Checkpoints, table: Table, request: StreamRequest, latest: int | None
) -> Missing:
    """What a table lacks of a request; without a start it begins where the table ends, or at the latest ledger."""
    start = request.start
    if start is None:
        held = checkpoints.held(connection, table)
        for (_, before), (after, _) in pairwise(held):
            log.warning("%s lacks ledgers %s to %s; give them as START and END", table, before + 1, after - 1)
        start = held[-1][1] + 1 if held else latest
    if start is None:
        return Missing(follows=True)
    ranges = checkpoints.missing(connection, table, start, request.end)
    if request.end is None and ranges and ranges[-1][1] == MAX_LEDGER:
        return Missing(tuple(ranges[:-1]), True, ranges[-1][0])
    return Missing(tuple(ranges))


def cut(missing: Missing, latest: int | None, writers: int) -> Missing:
    """The same in about as many ranges as are read at the same time, those up to the tip among them."""
    bounded, tip = list(missing.bounded), missing.tip
    if writers > 1 and tip is not None and latest is not None and tip <= latest:
        bounded.append((tip, latest))
        tip = latest + 1
    ledgers = sum(last - first + 1 for first, last in bounded)
    size = max(-(-ledgers // writers), 1)
    pieces = ((at, min(at + size - 1, last)) for first, last in bounded for at in range(first, last + 1, size))
    return Missing(tuple(pieces), missing.follows, tip)


def rounds(
    requests: Mapping[Table, StreamRequest], missing: Mapping[Table, Missing], writers: int
) -> Iterator[list[tuple[Table, StreamRequest]]]:
    """What is read at the same time: of each stream some ranges, then the next ones, …; at last the tips."""
    steps = [
        [(table, lacking.bounded[at : at + writers]) for at in range(0, len(lacking.bounded), writers)]
        for table, lacking in missing.items()
    ]
    for step in zip_longest(*steps):
        yield [
            (table, replace(requests[table], start=first, end=last))
            for table, ranges in filter(None, step)
            for first, last in ranges
        ]
    tips = [
        (table, replace(requests[table], start=lacking.tip, end=None))
        for table, lacking in missing.items()
        if lacking.follows
    ]
    if tips:
        yield tips
