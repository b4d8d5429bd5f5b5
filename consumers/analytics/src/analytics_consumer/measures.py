"""Measures: what is computed for every group of rows, and how it is kept exact while ledgers come and go.

A window is never "subtracted from". Every measure is reduced to aggregates per ledger and group, which are
merged anew for a result: so a maximum or a percentile is as exact after a ledger has left as a sum is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.request import LEDGER

Unit = Literal["stroops", "tokens", "price", "ratio"] | None
"""``tokens`` are the smallest units of whatever asset the row is about; a ``price`` is an exact decimal."""

WIDE = pa.decimal256(76, 0)
"""Holds 10^37 of the largest amounts that a contract can name (i128)."""

# Sums of int64 run in 128-bit decimals: 10^38 holds more than 10^19 of the largest.
_EXACT = pa.decimal128(38, 0)

# Dividing these gives 38 decimals, so even 1 / (2^63 - 1) has 20 significant digits.
_DIVIDEND, _DIVISOR = pa.decimal256(37, 18), pa.decimal256(19, 0)


def quotient(numerator: pa.ChunkedArray, denominator: pa.ChunkedArray) -> pa.ChunkedArray:
    """``numerator / denominator`` of int64s that are not negative, cut off after 38 decimals; null where over 0."""
    divisor = pc.if_else(pc.equal(denominator, 0), pa.scalar(None, pa.int64()), denominator)
    return pc.divide(pc.cast(numerator, _DIVIDEND), pc.cast(divisor, _DIVISOR))


@dataclass(frozen=True, slots=True)
class Count:
    """Number of rows, or of those whose bool column ``flag`` is true."""

    name: str
    description: str
    flag: str | None = None
    unit: Unit = None


@dataclass(frozen=True, slots=True)
class Total:
    """Exact sum of an int64 or :data:`WIDE` column (nulls left out; 0 when all are null)."""

    name: str
    description: str
    column: str
    unit: Unit = "stroops"


@dataclass(frozen=True, slots=True)
class Extreme:
    """Largest or smallest value of a column (null when all are null)."""

    name: str
    description: str
    column: str
    which: Literal["max", "min"] = "max"
    unit: Unit = "stroops"


@dataclass(frozen=True, slots=True)
class Edge:
    """First or last value of a column in the order of the stream (null when all are null)."""

    name: str
    description: str
    column: str
    which: Literal["first", "last"]
    unit: Unit = "price"


@dataclass(frozen=True, slots=True)
class Distinct:
    """Number of different values of a column, nulls left out."""

    name: str
    description: str
    column: str
    unit: Unit = None


@dataclass(frozen=True, slots=True)
class Percentile:
    """Exact percentile of an int64 column: the least value that ``percent`` % of rows do not exceed."""

    name: str
    description: str
    column: str
    percent: int
    unit: Unit = "stroops"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One measure divided by another; null when there is nothing to divide by."""

    name: str
    description: str
    numerator: str
    denominator: str
    unit: Unit = "ratio"


@dataclass(frozen=True, slots=True)
class Price:
    """One total divided by another, as an exact decimal; null when there is nothing to divide by."""

    name: str
    description: str
    numerator: str
    denominator: str
    unit: Unit = "price"


Measure = Count | Total | Extreme | Edge | Distinct | Percentile | Ratio | Price
Simple = Count | Total | Extreme | Edge


@dataclass(frozen=True, slots=True)
class Grouping:
    """One table of aggregates per ledger: rows grouped by ``by``, with the simple measures of each group.

    A grouping of ``distinct`` values has the value as its last key and the number of its rows as ``rows``.
    """

    by: tuple[str, ...]
    measures: tuple[Simple, ...]

    def per_ledger(self, rows: pa.Table) -> pa.Table:
        """ledger_sequence, ``by``, one column per measure: a row per ledger and group, in ledger order."""
        keys = (LEDGER, *self.by)
        values = {measure.name: _measured(rows, measure) for measure in self.measures}
        table = pa.table({**{key: rows[key] for key in keys}, **values})
        return self._aggregate(table, keys).sort_by(LEDGER)  # groups come in no certain order

    def merge(self, partials: pa.Table) -> pa.Table:
        """``by``, one column per measure: a row per group, of all given ledgers, which must be in order."""
        return self._aggregate(partials, self.by)

    def _aggregate(self, table: pa.Table, keys: tuple[str, ...]) -> pa.Table:
        aggregates: list[tuple[str, str, pc.FunctionOptions | None]] = []
        edges = {}
        for measure in self.measures:
            name = measure.name
            match measure:
                case Count() | Total():
                    aggregates.append((name, "sum", pc.ScalarAggregateOptions(min_count=0)))
                case Extreme():
                    aggregates.append((name, measure.which, None))
                case Edge():  # Arrow's own first and last know no decimals: the least and largest row numbers do
                    edges[name] = table[name]
                    numbers = pc.if_else(pc.is_valid(table[name]), pa.array(range(table.num_rows), pa.int64()), _NO_ROW)
                    table = table.set_column(table.column_names.index(name), name, numbers)
                    aggregates.append((name, "min" if measure.which == "first" else "max", None))
        found = table.group_by(list(keys)).aggregate(aggregates)
        found = found.rename_columns([*keys, *(measure.name for measure in self.measures)])
        for name, values in edges.items():
            found = found.set_column(found.column_names.index(name), name, values.take(found[name]))
        return found


_NO_ROW = pa.scalar(None, pa.int64())


def _measured(rows: pa.Table, measure: Simple) -> pa.ChunkedArray | pa.Array:
    """What the aggregate of a measure is taken of."""
    match measure:
        case Count(flag=None):
            return pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows)
        case Count(flag=flag):
            return pc.cast(rows[flag], pa.int64())
        case Total():
            column = rows[measure.column]
            return column if column.type == WIDE else pc.cast(column, _EXACT)
        case _:
            return rows[measure.column]


_ROWS = Count("#rows", "rows that have the value")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """All measures over the groups of ``keys``: which groupings they need and how a result comes of them."""

    keys: tuple[str, ...]
    measures: tuple[Measure, ...]

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """The grouping of the simple measures, then one per column whose values are told apart."""
        simple = tuple(m for m in self.measures if isinstance(m, Simple))
        return (Grouping(self.keys, simple), *(Grouping((*self.keys, c), (_ROWS,)) for c in self._valued))

    @property
    def _valued(self) -> tuple[str, ...]:
        valued = (m.column for m in self.measures if isinstance(m, Distinct | Percentile))
        return tuple(dict.fromkeys(valued))

    def result(self, partials: list[pa.Table]) -> pa.Table:
        """Merges the tables of :attr:`groupings` (same order): keys, then every measure but ratios and prices."""
        merged = [g.merge(table) for g, table in zip(self.groupings, partials, strict=True)]
        parts = [merged[0]]
        for column, values in zip(self._valued, merged[1:], strict=True):
            known = values.filter(pc.is_valid(values[column]))
            for measure in self.measures:
                if isinstance(measure, Distinct) and measure.column == column:
                    parts.append(self._distinct(known, measure))
            wanted = [m for m in self.measures if isinstance(m, Percentile) and m.column == column]
            if wanted:
                parts.append(self._percentiles(known, column, wanted))
        # Groups are brought together by a last group-by, not by joins: a join takes null keys for different.
        names = [m.name for m in self.measures if not isinstance(m, Ratio | Price)]
        every = pa.concat_tables(parts, promote_options="default")
        table = every.group_by(list(self.keys)).aggregate([(name, "max") for name in names])
        table = table.rename_columns([*self.keys, *names])
        for measure in self.measures:
            if isinstance(measure, Distinct):
                index = table.column_names.index(measure.name)
                table = table.set_column(index, measure.name, pc.fill_null(table[measure.name], 0))
        return table

    def _distinct(self, values: pa.Table, measure: Distinct) -> pa.Table:
        counted = values.group_by(list(self.keys)).aggregate([([], "count_all", pc.CountOptions(mode="all"))])
        return counted.rename_columns([*self.keys, measure.name])

    def _percentiles(self, values: pa.Table, column: str, measures: list[Percentile]) -> pa.Table:
        listed = values.group_by(list(self.keys)).aggregate([(column, "list"), (_ROWS.name, "list")])
        listed = listed.rename_columns([*self.keys, "values", "rows"])
        found: list[list[int]] = [[] for _ in measures]
        for group_values, group_rows in zip(listed["values"], listed["rows"], strict=True):
            value, rows = group_values.values.to_numpy(), group_rows.values.to_numpy()
            order = np.argsort(value)
            reached = np.cumsum(rows[order])
            for result, measure in zip(found, measures, strict=True):
                rank = -(-measure.percent * int(reached[-1]) // 100)
                result.append(int(value[order[np.searchsorted(reached, rank)]]))
        table = listed.select(list(self.keys))
        for result, measure in zip(found, measures, strict=True):
            table = table.append_column(measure.name, pa.array(result, pa.int64()))
        return table
