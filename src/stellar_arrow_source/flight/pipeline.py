"""One stream from the source to the wire: read ahead, decode in groups, cut, account for every ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_client.request import Cursor
from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.flight.conditions import RowFilter, Span
from stellar_arrow_source.flight.cutting import Part, cut
from stellar_arrow_source.flight.decoders import Brief
from stellar_arrow_source.flight.hub import LedgerReader
from stellar_arrow_source.flight.shared import DecodeApartError, Requests
from stellar_arrow_source.ledgers.header import ledger_close_time
from stellar_arrow_source.ledgers.source import RawLedger
from stellar_arrow_source.tracing import Step, no_step

if TYPE_CHECKING:
    from stellar_arrow_source.tables import DecodedBatch


POLL_SECONDS = 0.05
HEARTBEAT_SECONDS = 1.0
LINGER_SECONDS = 0.05
"""How long an unfilled group waits for ledgers that are known to exist."""

Decode = Callable[[Requests, "list[bytes | memoryview]"], "DecodedBatch"]
Rows = tuple[pa.RecordBatch, "npt.NDArray[np.int64]"]
"""The rows of one stream, and the number of rows up to and with each ledger."""

Submit = Callable[[Callable[[], "DecodedBatch"], Requests, int], "Future[DecodedBatch]"]
Observer = Callable[["DecodedBatch", int, float], None]
"""Called after each decode call with its result, the bytes of its XDR and its seconds."""


class Pipeline:
    """Makes the parts of one stream, in order.

    Args:
        is_ready: whether the stream can be decoded yet; takes at most about so many seconds.
        decode: makes what is asked for, of this stream and others, of the XDR of ledgers.
        submit: has that done, of so many ledgers, by another thread where it may take long.
        group_ledgers, group_bytes: most ledgers and bytes of XDR that are decoded in one call.
        reach: the ledgers that ``ledgers`` gives; the others from ``start`` to ``end`` can have no row.
    """

    def __init__(
        self,
        ledgers: LedgerReader,
        is_ready: Callable[[float], bool],
        decode: Decode,
        submit: Submit,
        stream: str,
        schema: pa.Schema,
        *,
        row_filter: RowFilter | None,
        start: int,
        end: int | None,
        reach: tuple[int, int | None],
        group_ledgers: int,
        group_bytes: Callable[[], int],
        newest: Callable[[], int | None],
        observe: Observer,
        step: Step = no_step,
    ) -> None:
        self._position = start
        self._ledgers = ledgers
        self._is_ready = is_ready
        self._make, self._submit = decode, submit
        self._stream = stream
        self._names = schema.names
        self._columns = tuple(dict.fromkeys((*schema.names, *(row_filter.columns if row_filter else ()))))
        self._row_filter = row_filter
        self._empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
        self._end = end
        self._first, self._last = reach
        self._group_ledgers, self._group_bytes = group_ledgers, group_bytes
        self._newest = newest
        self._observe = observe
        self._step = step

    def parts(self, poll: Callable[[], None]) -> Iterator[Part]:
        """Yield the parts; ``poll`` is called at least every :data:`POLL_SECONDS` and ends them by raising.

        Raises:
            StellarArrowError: of the source or the decoder, after all ledgers before the fault.
        """
        yield from self._until(self._is_ready, poll)
        if self._position < self._first:
            yield self._nothing(self._first - 1)
        said, asked = time.monotonic(), time.time_ns()
        while self._last is None or self._position <= self._last:
            poll()
            group = self._next_group()
            if group:
                self._step("fetch", asked, _figures(group))
                if self._is_over(group[0]):
                    break
                if not self._can_match(group):
                    yield self._nothing(group[-1].sequence)
                    continue
                for part in self._decode(group, poll):
                    poll()
                    self._position = part.cursor.cursor
                    yield part
                said, asked = time.monotonic(), time.time_ns()
            elif self._ledgers.ended:
                raise GapError(f"the source ended before ledger {self._position}; ask for it again later")
            elif time.monotonic() - said >= HEARTBEAT_SECONDS:
                yield self._heartbeat()
                said = time.monotonic()
        if self._end is not None and self._position <= self._end:
            yield self._nothing(self._end)

    def _nothing(self, last: int) -> Part:
        """No row up to a ledger, which need not be looked at."""
        first, self._position = self._position, last + 1
        return Part(self._empty, Cursor(first, last), 0)

    def _is_over(self, ledger: RawLedger) -> bool:
        """Whether neither this ledger nor any later one of the range can have rows, for close times only rise."""
        newest = self._newest()
        if self._row_filter is None or self._end is None or newest is None or newest < self._end:
            return False
        latest, closed = self._row_filter.close_times.high, self._closed(ledger)
        return latest is not None and closed is not None and closed > latest

    def _can_match(self, group: list[RawLedger]) -> bool:
        """Whether the condition can be true of a row of these ledgers; their headers alone are looked at."""
        if self._row_filter is None:
            return True
        first, last = group[0], group[-1]
        return self._row_filter.sequences.meets(first.sequence, last.sequence) and (
            self._row_filter.close_times == Span()
            or self._row_filter.close_times.meets(self._closed(first), self._closed(last))
        )

    def _closed(self, ledger: RawLedger) -> int | None:
        """When a ledger was closed, in microseconds; None for one that is damaged, as the decoder will say."""
        try:
            return ledger_close_time(ledger.xdr) * 1_000_000
        except IntegrityError:
            return None

    def _until(self, is_done: Callable[[float], bool], poll: Callable[[], None]) -> Iterator[Part]:
        """Wait with heartbeats; ``is_done`` takes at most about so many seconds."""
        said = time.monotonic()
        while not is_done(POLL_SECONDS):
            poll()
            if time.monotonic() - said >= HEARTBEAT_SECONDS:
                yield self._heartbeat()
                said = time.monotonic()

    def _heartbeat(self) -> Part:
        return Part(self._empty, Cursor(self._position, self._position - 1), 0)

    def _next_group(self) -> list[RawLedger]:
        newest = self._newest()
        behind = newest is not None and self._position < newest
        group = self._ledgers.take(
            self._group_ledgers,
            self._group_bytes(),
            wait=POLL_SECONDS,
            linger=LINGER_SECONDS if behind else 0.0,
        )
        for expected, ledger in enumerate(group, self._position):
            if ledger.sequence != expected:
                raise GapError(f"the source gave ledger {ledger.sequence} where {expected} was due")
        return group

    def _decode(self, group: list[RawLedger], poll: Callable[[], None]) -> Iterator[Part]:
        began = time.time_ns()
        try:
            rows = yield from self._result(lambda: self._ledgers.decode(group, partial(self._begin, group)), poll)
        except DecodeError as error:
            # The ledgers before a damaged one are sound: they are sent before the error is.
            if error.index > 0:
                sound, own = group[: error.index], {self._stream: self._columns}
                yield from self._cut(sound, (yield from self._result(lambda: self._begin(sound, own), poll)))
            raise
        self._step("decode", began, _figures(group))
        yield from self._cut(group, rows)

    def _result(
        self, begin: Callable[[], Future[DecodedBatch]], poll: Callable[[], None]
    ) -> Generator[Part, None, Rows]:
        """The rows of this stream, with heartbeats meanwhile."""
        while True:
            future = begin()
            try:
                if isinstance(future, Brief):
                    future.do()
                if not future.done():
                    yield from self._until(lambda seconds: bool(wait([future], seconds).done), poll)  # noqa: B023
                decoded = future.result()
                # No more than these is held while they are sent: what others share may be ten times as much.
                return decoded.batches[self._stream], decoded.row_ends[self._stream]
            except (CancelledError, DecodeApartError):
                pass  # a reader who shared it left before its turn came, or it is to be decoded by itself
            finally:
                future.cancel()

    def _begin(self, group: list[RawLedger], requests: Requests) -> Future[DecodedBatch]:
        return self._submit(partial(self._decode_whole, group, requests), requests, len(group))

    def _decode_whole(self, group: list[RawLedger], requests: Requests) -> DecodedBatch:
        began = time.perf_counter()
        decoded = self._make(requests, [ledger.xdr for ledger in group])
        seconds = time.perf_counter() - began
        sequences = np.asarray(decoded.sequences)
        wrong = np.flatnonzero(sequences != np.arange(group[0].sequence, group[0].sequence + len(group)))
        if len(wrong):
            at = int(wrong[0])
            raise IntegrityError(f"what the source gave as ledger {group[at].sequence} is ledger {sequences[at]}")
        self._observe(decoded, sum(len(ledger.xdr) for ledger in group), seconds)
        return decoded

    def _cut(self, group: list[RawLedger], decoded: Rows) -> Iterator[Part]:
        rows, row_ends = decoded
        if self._row_filter is not None:
            rows, row_ends = self._row_filter.apply(rows.select(self._columns), row_ends)
        yield from cut(rows.select(self._names), group[0].sequence, row_ends)


def _figures(group: list[RawLedger]) -> dict[str, int]:
    return {"first": group[0].sequence, "last": group[-1].sequence, "bytes": sum(len(ledger.xdr) for ledger in group)}
