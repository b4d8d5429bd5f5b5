"""A condition on rows as the server evaluates it; :mod:`stellar_arrow_source.flight.filters` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Span(NamedTuple):
    """Least and greatest value that a column can have where a condition is true, in its smallest unit; None = any."""

    low: int | None = None
    high: int | None = None

    def meets(self, low: int | None, high: int | None) -> bool:
        """Whether a value of these bounds can be one of the span."""
        below = self.high is not None and low is not None and low > self.high
        above = self.low is not None and high is not None and high < self.low
        return not (below or above)

    def both(self, other: Span) -> Span:
        return Span(
            max((low for low in (self.low, other.low) if low is not None), default=None),
            min((high for high in (self.high, other.high) if high is not None), default=None),
        )

    def either(self, other: Span) -> Span:
        return Span(
            None if self.low is None or other.low is None else min(self.low, other.low),
            None if self.high is None or other.high is None else max(self.high, other.high),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RowFilter:
    """A condition.

    Attributes:
        columns: that it reads.
        expression: what Arrow evaluates.
        sequences, close_times: outside of them it is true of no row; close times in microseconds.
    """

    columns: tuple[str, ...]
    expression: pc.Expression
    sequences: Span
    close_times: Span

    def apply(self, batch: pa.RecordBatch, row_ends: NDArray[np.int64]) -> tuple[pa.RecordBatch, NDArray[np.int64]]:
        """The rows of ``batch`` that meet the condition, and ``row_ends`` counted over these."""
        mask = _evaluate(self.expression, batch.select(list(self.columns)))
        kept = np.concatenate([[0], np.cumsum(mask)])
        return batch.filter(pa.array(mask)), kept[row_ends]


def _evaluate(expression: pc.Expression, batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """bool (rows,): whether the condition is true, null counting as false."""
    numbered = batch.append_column("#", pa.array(np.arange(batch.num_rows)))
    chosen = numbered.filter(expression).column("#").to_numpy(zero_copy_only=False)
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[chosen] = True
    return mask
