"""What the readers of one feed want decoded, and what is decoded once for several of them.

Readers of one stream share the columns that any of them asks for. Where readers want several streams, one call makes
all of them: a ledger is walked once, not once for each stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stellar_arrow_source.flight.once import Once

if TYPE_CHECKING:
    from stellar_arrow_source.tables import DecodedBatch

LEAST_STREAMS: Final = 3
"""From how many different streams on one call makes them all.

The walk for all streams marks more than each needs. So two streams gain little or nothing (0.8 to 1.0 of the time of
two calls), three take 0.6 to 0.9 of that of three, all 22 take 0.5.
"""

Requests = Mapping[str, tuple[str, ...]]
"""Stream → the columns to decode of it."""

Begin = Callable[[Requests], "Future[DecodedBatch]"]


class DecodeApartError(Exception):
    """What was asked for together cannot be decoded: each stream by itself will tell what is the matter with it."""


@dataclass(eq=False, slots=True)
class Wanted:
    """What one reader wants decoded.

    Attributes:
        alone: not together with other streams.
        late: what was made for it together with others was gone when it came; the next is made without it.
    """

    stream: str
    columns: frozenset[str]
    alone: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """The ledgers of one call; and of which stream, with which columns, where not of all that are wanted."""

    first: int
    ledgers: int
    stream: str | None = None
    columns: tuple[str, ...] = ()


class SharedDecoding:
    """Decodes for the readers of one feed, who take the same groups of ledgers.

    Args:
        budget: bytes of what has been decoded that may be kept now for those who come later.
        together: whether several streams can be decoded together now, with nothing left to be compiled.
    """

    def __init__(self, budget: Callable[[], int], together: Callable[[], bool]) -> None:
        self._can_together = together
        self._works: Once[_Group, DecodedBatch] = Once(budget, _decoded_bytes)
        self._together: dict[_Group, Requests] = {}
        """What was asked for together of each group, also of those whose result has gone."""
        self._wants: set[Wanted] = set()
        self._columns: dict[str, tuple[str, ...]] = {}
        self._requests: Requests | None = None
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of what is kept."""
        return self._works.held_bytes

    def add(self, wanted: Wanted) -> None:
        """Decode what a reader wants, too, from now on."""
        with self._lock:
            self._wants.add(wanted)
            self._anew()

    def discard(self, wanted: Wanted) -> None:
        """What a reader wanted need not be decoded for it any more."""
        with self._lock:
            self._wants.discard(wanted)
            self._anew()

    def forget(self, before: int) -> None:
        """Let go of what has been made of ledgers before that one, for all readers have had it."""
        with self._lock:
            self._works.forget(lambda group: group.first < before)
            for group in [group for group in self._together if group.first < before]:
                del self._together[group]

    def get(self, wanted: Wanted, first: int, ledgers: int, begin: Begin) -> Future[DecodedBatch]:
        """What ``begin`` makes of a group for what it is told: what this reader wants at least.

        It may fail with :class:`DecodeApartError` or be cancelled by another reader, who shared it: then ask again.
        """
        with self._lock:
            if wanted not in self._wants or len(self._wants) == 1:  # it has been left behind, or is alone
                return begin({wanted.stream: tuple(sorted(wanted.columns))})
            work = None if wanted.alone else self._with_others(wanted, _Group(first, ledgers), begin)
            if work is None:
                columns = self._columns_of(wanted.stream)
                key = _Group(first, ledgers, wanted.stream, columns)
                work = self._works.get(key, lambda: begin({wanted.stream: columns}))
            return work

    def _with_others(self, wanted: Wanted, group: _Group, begin: Begin) -> Future[DecodedBatch] | None:
        """What is made of all streams, begun for the first who asks; None if it does not help this reader.

        It is not made again for who comes after it has gone: that one's stream alone costs less than all.
        """
        requests = self._together.get(group)
        if requests is None:
            self._note(wanted, late=False)
            if not (wishes := self._of_all()) or not self._can_together():
                return None
            self._together[group] = wishes
            return self._works.get(group, lambda: begin(wishes))
        work = self._works.find(group)
        self._note(wanted, late=work is None)
        return work if wanted.columns.issubset(requests.get(wanted.stream, ())) else None

    def _note(self, wanted: Wanted, *, late: bool) -> None:
        if wanted.late != late:
            wanted.late = late
            self._anew()

    def _anew(self) -> None:
        """What is made of all that is wanted has changed; it is put together when it is asked for."""
        self._columns.clear()
        self._requests = None

    def _of_all(self) -> Requests:
        """What to decode in one call; nothing if that would not help."""
        if self._requests is None:
            streams = {each.stream for each in self._wants if not (each.alone or each.late)}
            enough = len(streams) >= LEAST_STREAMS
            self._requests = {stream: self._shareable(stream) for stream in sorted(streams)} if enough else {}
        return self._requests

    def _shareable(self, stream: str) -> tuple[str, ...]:
        return _union(each for each in self._wants if each.stream == stream and not each.alone)

    def _columns_of(self, stream: str) -> tuple[str, ...]:
        """Of a stream, those that any reader wants."""
        columns = self._columns.get(stream)
        if columns is None:
            columns = self._columns[stream] = _union(each for each in self._wants if each.stream == stream)
        return columns


def _union(wants: Iterable[Wanted]) -> tuple[str, ...]:
    return tuple(sorted(frozenset[str]().union(*(each.columns for each in wants))))


def _decoded_bytes(decoded: DecodedBatch) -> int:
    # 4 µs of 92 columns, and what they share is counted once; `nbytes` takes 171.
    return sum(batch.get_total_buffer_size() for batch in decoded.batches.values())
