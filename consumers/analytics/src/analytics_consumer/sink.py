"""The consumer itself: batches in, results of the sliding window out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import IntegrityError, UnavailableError
from stellar_arrow_client.request import LEDGER, TIME, Cursor, StreamRequest

from .analyses import Analysis
from .measures import Measure, Price, Ratio
from .result import Result
from .selection import Selection
from .window import Ledger, SlidingWindow, between

log = logging.getLogger(__name__)

_LAST_TIME = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1_000_000
_MAX_LEDGERS = 1 << 20  # of a batch; servers send some thousands at most
_PRICES = Context(prec=18, rounding=ROUND_DOWN)  # a price has at least 20 significant digits before

#: Close times, in microseconds since 1970, of the ledgers from the first to the last given, inclusive.
Clock = Callable[[int, int], Mapping[int, int]]


class Output(Protocol):
    """Where results go."""

    def update(self, result: Callable[[], Result], *, due: bool) -> None:
        """Ledgers have come in; ``due`` is true once every ``every`` of close time."""

    def finish(self, result: Result) -> None:
        """The last result."""

    def close(self) -> None:
        """Nothing more will come."""


def server_clock(client: Client) -> Clock:
    """The clock for ledgers without rows: it asks the server's ``ledgers`` stream.

    It is asked in the middle of a stream, so it waits for a server that restarts as long as the stream does.
    """

    def close_times(first: int, last: int) -> Mapping[int, int]:
        request = StreamRequest("ledgers", first, last, (LEDGER, TIME))
        waits, deadline = client.retry.waits(), time.monotonic() + client.retry.retry_for
        while True:
            try:
                return dict(_close_times(client.read_table(request)))
            except UnavailableError as error:
                wait = next(waits)
                if time.monotonic() + wait >= deadline:
                    raise
                log.warning("asking for close times failed, trying again: %s", error)
            time.sleep(wait)

    return close_times


class AnalyticsSink:
    """A :class:`stellar_arrow_client.sink.Sink` that keeps a sliding window and gives out its results.

    Its state is memory only: a new run begins with an empty window. Results depend on the ledgers alone,
    not on how they were cut into batches.

    Args:
        length, every: in microseconds of ledger close time.
        top: rows of a result.
        clock: asked for the close times of ledgers that have no row in the stream.
    """

    def __init__(
        self,
        analysis: Analysis,
        selection: Selection,
        *,
        length: int,
        every: int,
        top: int,
        clock: Clock,
        output: Output,
    ) -> None:
        self._analysis = analysis
        self._selection = selection
        self._length = length
        self._every = every
        self._top = top
        self._clock = clock
        self._output = output
        self._window = SlidingWindow(analysis.aggregation, length)
        self._tick: int | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Nothing is kept from an earlier run, so the request stands as it is."""
        return None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Takes in whole ledgers; gives out a result after each ledger that begins another ``every``.

        Raises:
            IntegrityError: ledgers or close times that contradict each other, an amount that is no number.
        """
        table = pa.Table.from_batches([batch])
        ledgers = self._complete(table, cursor)
        try:
            aggregates = self._window.aggregate(self._analysis.rows(table, self._selection))
        except pa.ArrowInvalid as error:
            raise IntegrityError(f"in ledgers {cursor.first} to {cursor.last}: {error}") from None
        done = 0
        for index, ledger in enumerate(ledgers, 1):
            tick = ledger.closed // self._every
            if self._tick is not None and tick > self._tick:
                self._window.add(ledgers[done:index], _cut(aggregates, ledgers[done:index]))
                done = index
                self._output.update(self.result, due=True)
            self._tick = tick
        if done < len(ledgers):
            self._window.add(ledgers[done:], _cut(aggregates, ledgers[done:]))
        self._output.update(self.result, due=False)

    def checkpoint(self) -> int | None:
        """Nothing is ever durable."""
        return None

    def close(self, *, complete: bool = True) -> None:
        """Gives out the final result, unless the run failed or no ledger came."""
        try:
            if complete and self._window.span is not None:
                self._output.finish(self.result(final=True))
        finally:
            self._output.close()

    def result(self, *, final: bool = False) -> Result:
        """The window as it is; there must have been a ledger."""
        table, span = self._window.result(), self._window.span
        if table is None or span is None:
            raise ValueError("no ledger has come yet")
        order = [(self._analysis.order, "descending"), *((key, "ascending") for key in self._analysis.keys)]
        best = table.take(pc.sort_indices(table, sort_keys=order)[: self._top])
        return Result(
            analysis=self._analysis,
            length=self._length,
            span=span,
            groups=table.num_rows,
            rows=[self._row(values) for values in best.to_pylist()],
            final=final,
        )

    def _row(self, values: dict[str, Any]) -> dict[str, Any]:
        row = {key: values[key] for key in self._analysis.keys}
        for measure in self._analysis.measures:
            row[measure.name] = _result(measure, {**values, **row})
        return row

    def _complete(self, table: pa.Table, cursor: Cursor) -> list[Ledger]:
        """The ledgers that the batch completes, with their close times."""
        if cursor.last - cursor.first >= _MAX_LEDGERS:
            raise IntegrityError(f"the server sent ledgers {cursor.first} to {cursor.last} as one batch")
        closed = _close_times(table)
        absent = [sequence for sequence in range(cursor.first, cursor.last + 1) if sequence not in closed]
        if absent:
            closed = {**self._clock(absent[0], absent[-1]), **closed}
        try:
            return [Ledger(sequence, closed[sequence]) for sequence in range(cursor.first, cursor.last + 1)]
        except KeyError as missing:
            raise IntegrityError(f"the server's ledgers stream does not have ledger {missing}") from None


def _result(measure: Measure, values: Mapping[str, Any]) -> int | float | Decimal | None:
    """The value of a measure; ``values`` holds what the window gave and the measures before this one."""
    match measure:
        case Ratio():
            below = values[measure.denominator]
            return round(values[measure.numerator] / below, 6) if below else None
        case Price():
            below = values[measure.denominator]
            return _PRICES.divide(Decimal(values[measure.numerator]), Decimal(below)).normalize() if below else None
    value = values[measure.name]
    if value is None:
        return None
    return _PRICES.plus(value).normalize() if measure.unit == "price" else int(value)


def _close_times(table: pa.Table) -> dict[int, int]:
    """Close time of every ledger that has a row.

    Raises:
        IntegrityError: rows out of order, or two close times for one ledger.
    """
    if table[LEDGER].null_count or table[TIME].null_count:
        raise IntegrityError("the server sent a row without ledger or close time")
    sequences = table[LEDGER].to_numpy().astype(np.int64)
    closed = table[TIME].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    if not ((closed >= 0) & (closed <= _LAST_TIME)).all():
        raise IntegrityError("the server sent a close time that is not between 1970 and 9999")
    step = np.diff(sequences)
    if (step < 0).any():
        at = int(np.argmax(step < 0))
        raise IntegrityError(f"the server sent rows of ledger {sequences[at + 1]} after those of {sequences[at]}")
    if (np.diff(closed)[step == 0] != 0).any():
        raise IntegrityError("the server sent two close times for one ledger")
    found, first = np.unique(sequences, return_index=True)
    return dict(zip(found.tolist(), closed[first].tolist(), strict=True))


def _cut(aggregates: Sequence[pa.Table], ledgers: Sequence[Ledger]) -> list[pa.Table]:
    """The aggregates of some neighbouring ledgers."""
    return [between(table, ledgers[0].sequence, ledgers[-1].sequence) for table in aggregates]
