"""Measures: what is computed for every group of rows, and how it is kept exact while ledgers come and go.

A window is never "subtracted from". Every measure is reduced to aggregates per ledger and group, which are
merged anew for a result: so a maximum or a percentile is as exact after a ledger has left as a sum is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LEDGER = "ledger_sequence"
Unit = Literal["stroops", "ratio"] | None

# Buffers that come over the wire may lie anywhere; Arrow's group-by is to copy those that lie badly, silently.
os.environ.setdefault("ACERO_ALIGNMENT_HANDLING", "reallocate")

# Sums run in 128-bit decimals: 10^38 holds more than 10^19 amounts of the largest int64.
_EXACT = pa.decimal128(38, 0)


@dataclass(frozen=True, slots=True)
class Count:
    """Number of rows, or of those whose bool column ``flag`` is true."""

    name: str
    description: str
    flag: str | None = None
    unit: Unit = None


@dataclass(frozen=True, slots=True)
class Total:
    """Exact sum of an integer column (nulls left out; 0 when all are null)."""

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


Measure = Count | Total | Extreme | Distinct | Percentile | Ratio
Simple = Count | Total | Extreme


@dataclass(frozen=True, slots=True)
class Grouping:
    """One table of aggregates per ledger: rows grouped by ``by``, with the simple measures of each group.

    A grouping of ``distinct`` values has the value as its last key and the number of its rows as ``rows``.
    """

    by: tuple[str, ...]
    measures: tuple[Simple, ...]

    def per_ledger(self, rows: pa.Table) -> pa.Table:
        """ledger_sequence, ``by``, one column per measure: a row per ledger and group, in ledger order."""
        aggregates: list[tuple[Any, str, Any]] = []  # as pyarrow has them: column or none, function, options
        for index, measure in enumerate(self.measures):
            column = f"#{index}"
            match measure:
                case Count(flag=None):
                    aggregates.append(([], "count_all", pc.CountOptions(mode="all")))
                    continue
                case Count(flag=flag):
                    rows = rows.append_column(column, pc.cast(rows[flag], pa.int64()))
                    aggregates.append((column, "sum", pc.ScalarAggregateOptions(min_count=0)))
                case Total():
                    rows = rows.append_column(column, pc.cast(rows[measure.column], _EXACT))
                    aggregates.append((column, "sum", pc.ScalarAggregateOptions(min_count=0)))
                case Extreme():
                    rows = rows.append_column(column, rows[measure.column])
                    aggregates.append((column, measure.which, None))
        keys = [LEDGER, *self.by]
        grouped = rows.group_by(keys).aggregate(aggregates).sort_by(LEDGER)  # groups come in no certain order
        return grouped.rename_columns([*keys, *(measure.name for measure in self.measures)])

    def merge(self, partials: pa.Table) -> pa.Table:
        """``by``, one column per measure: the aggregates of all given ledgers in one row per group."""
        merged = partials.group_by(list(self.by)).aggregate(
            [(m.name, m.which if isinstance(m, Extreme) else "sum") for m in self.measures]
        )
        return merged.rename_columns([*self.by, *(measure.name for measure in self.measures)])


_ROWS = Count("#rows", "rows that have the value")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """All measures over the groups of ``keys``: which groupings they need and how a result comes of them."""

    keys: tuple[str, ...]
    measures: tuple[Measure, ...]

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """The grouping of the simple measures, then one per column whose values are told apart."""
        simple = tuple(m for m in self.measures if isinstance(m, Count | Total | Extreme))
        return (Grouping(self.keys, simple), *(Grouping((*self.keys, c), (_ROWS,)) for c in self._valued))

    @property
    def _valued(self) -> tuple[str, ...]:
        valued = (m.column for m in self.measures if isinstance(m, Distinct | Percentile))
        return tuple(dict.fromkeys(valued))

    def result(self, partials: list[pa.Table]) -> pa.Table:
        """Merges the tables of :attr:`groupings` (same order): keys, then every measure but the ratios."""
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
        names = [m.name for m in self.measures if not isinstance(m, Ratio)]
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
