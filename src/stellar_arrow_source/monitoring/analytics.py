"""What the network does, as seen in the data that passes: rates, success and operation mix by sliding window."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stellar_arrow_source.monitoring.families import ANALYTICS
from stellar_arrow_source.monitoring.metrics import metric_family

WINDOWS_SECONDS = {"1m": 60, "5m": 300, "15m": 900}

_HORIZON_SECONDS = max(WINDOWS_SECONDS.values())

_Rows = npt.NDArray[np.int64]


@dataclass(slots=True)
class Tally:
    """Sums over ledgers; what a stream does not tell stays 0."""

    ledgers: int = 0
    rows: int = 0
    transactions: int = 0
    successful_transactions: int = 0
    operations: int = 0
    successful_operations: int = 0
    operation_types: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.ledgers += other.ledgers
        self.rows += other.rows
        self.transactions += other.transactions
        self.successful_transactions += other.successful_transactions
        self.operations += other.operations
        self.successful_operations += other.successful_operations
        self.operation_types.update(other.operation_types)


def _total(column: pa.Array) -> int:
    return int(pc.sum(column).as_py() or 0)


def _measure_ledgers(rows: pa.RecordBatch, tally: Tally) -> None:
    tally.transactions += _total(rows["transaction_count"])
    tally.successful_transactions += _total(rows["successful_transaction_count"])


def _measure_transactions(rows: pa.RecordBatch, tally: Tally) -> None:
    tally.transactions += rows.num_rows
    tally.successful_transactions += rows["successful"].true_count


def _measure_operations(rows: pa.RecordBatch, tally: Tally) -> None:
    tally.operations += rows.num_rows
    tally.successful_operations += rows["successful"].true_count
    for entry in pc.value_counts(rows["operation_type_string"]).to_pylist():
        tally.operation_types[entry["values"]] += entry["counts"]


_Measure = Callable[[pa.RecordBatch, Tally], None]

_MEASURES: dict[str, tuple[tuple[str, ...], _Measure]] = {
    "ledgers": (("transaction_count", "successful_transaction_count"), _measure_ledgers),
    "transactions": (("successful",), _measure_transactions),
    "operations": (("successful", "operation_type_string"), _measure_operations),
    "payments": (("successful", "operation_type_string"), _measure_operations),
}
"""Stream → the columns its figures come from, and how. Of other streams ledgers and rows are counted."""


@dataclass(slots=True)
class _Second:
    """What was counted in one second, and of which ledgers (inclusive ranges)."""

    at: int
    tally: Tally = field(default_factory=Tally)
    spans: list[tuple[int, int]] = field(default_factory=list)


class _StreamWindow:
    """The last 15 minutes of one stream, by the second in which a ledger was first decoded."""

    def __init__(self, now: float) -> None:
        self.began = now
        self._seconds: deque[_Second] = deque()

    def unseen(self, sequences: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Which of these ascending ledgers were not counted within the horizon."""
        first, last = int(sequences[0]), int(sequences[-1])
        new = np.ones(len(sequences), np.bool_)
        for second in self._seconds:
            for low, high in second.spans:
                if low <= last and high >= first:
                    new &= (sequences < low) | (sequences > high)
        return new

    def count(self, now: float, spans: list[tuple[int, int]], tally: Tally) -> None:
        at = int(now)
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(_Second(at))
        second = self._seconds[-1]
        second.tally.add(tally)
        for low, high in spans:
            if second.spans and second.spans[-1][1] == low - 1:
                second.spans[-1] = (second.spans[-1][0], high)
            else:
                second.spans.append((low, high))

    def forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= now - _HORIZON_SECONDS:
            self._seconds.popleft()

    def total(self, now: float, seconds: int) -> Tally:
        tally = Tally()
        for second in self._seconds:
            if second.at > now - seconds:
                tally.add(second.tally)
        return tally


class LedgerAnalytics(Collector):
    """Counts decoded ledgers, each once a stream however many clients read it within 15 minutes.

    Rates are over the time of the server, not of the ledgers: of a backfill they tell its speed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, _StreamWindow] = {}
        self._lock = threading.Lock()

    def columns_beside(self, stream: str) -> tuple[str, ...]:
        """Columns that must be decoded for the figures, whichever the client asks for."""
        return _MEASURES[stream][0] if stream in _MEASURES else ()

    def observe(self, stream: str, sequences: npt.NDArray[np.uint32], batch: pa.RecordBatch, row_ends: _Rows) -> None:
        """Count the decoded ledgers that were not counted before; ``row_ends[i]`` ends the rows of ledger i."""
        now = self._clock()
        with self._lock:
            window = self._windows.setdefault(stream, _StreamWindow(now))
            window.forget(now)
            new = window.unseen(sequences)
            if not new.any():
                return
            spans, tally = [], Tally()
            for low, high in _runs(new):
                begin = int(row_ends[low - 1]) if low else 0
                rows = batch.slice(begin, int(row_ends[high - 1]) - begin)
                tally.ledgers += high - low
                tally.rows += rows.num_rows
                if stream in _MEASURES:
                    _MEASURES[stream][1](rows, tally)
                spans.append((int(sequences[low]), int(sequences[high - 1])))
            window.count(now, spans, tally)

    def report(self) -> dict[str, Any]:
        """All figures: ``{"streams": {stream: {window: {…}}}}``; what was not seen is left out."""
        return {
            "streams": {
                stream: {window: _figures(tally, span) for window, tally, span in windows}
                for stream, windows in self._totals()
            }
        }

    def collect(self) -> Iterator[Metric]:
        """The same figures for Prometheus."""
        rate, counts, success, mix = (metric_family(family) for family in ANALYTICS)
        for stream, windows in self._totals():
            for window, tally, span in windows:
                figures = _figures(tally, span)
                rate.add_metric([stream, window], figures["ledgers_per_second"])
                for of in ("ledgers", "rows"):
                    counts.add_metric([stream, window, of], figures[of])
                for of in ("transactions", "operations"):
                    if of in figures:
                        counts.add_metric([stream, window, of], figures[of]["total"])
                        success.add_metric([stream, window, of], figures[of]["success_rate"])
                for name, number in tally.operation_types.items():
                    mix.add_metric([stream, window, name], number)
        yield from (rate, counts, success, mix)

    def _totals(self) -> list[tuple[str, list[tuple[str, Tally, float]]]]:
        """By stream: name, sums and length in seconds of each window, which a young server has not filled."""
        now = self._clock()
        with self._lock:
            return [
                (
                    stream,
                    [
                        (name, window.total(now, seconds), min(float(seconds), max(1.0, now - window.began)))
                        for name, seconds in WINDOWS_SECONDS.items()
                    ],
                )
                for stream, window in self._windows.items()
            ]


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges of the True values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(low), int(high)) for low, high in edges.reshape(-1, 2)]


def _figures(tally: Tally, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "ledgers": tally.ledgers,
        "ledgers_per_second": tally.ledgers / seconds,
        "rows": tally.rows,
    }
    if tally.transactions:
        figures["transactions"] = _rated(tally.transactions, tally.successful_transactions)
    if tally.operations:
        figures["operations"] = _rated(tally.operations, tally.successful_operations) | {
            "by_type": dict(tally.operation_types.most_common())
        }
    return figures


def _rated(total: int, successful: int) -> dict[str, float]:
    return {"total": total, "successful": successful, "success_rate": successful / total}
