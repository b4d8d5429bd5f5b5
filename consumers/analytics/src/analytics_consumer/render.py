"""Outputs: JSON lines, tables, and a live table on a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Context
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .measures import Measure, Unit
from .result import Result, iso_time
from .selection import format_units, is_strkey

_REDRAW_SECONDS = 0.25
_SHOWN = Context(prec=7)  # significant digits of a price on a screen
_ANY_WIDTH = 10_000  # wider than any table
_STRKEY = re.compile(r"\b[A-Z][A-Z2-7]{55}\b")  # SEP-23: an account or contract


class JsonLines:
    """One JSON object a line, for every result that is due and the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def update(self, result: Callable[[], Result], *, due: bool) -> None:
        if due:
            self.finish(result())

    def finish(self, result: Result) -> None:
        self._stream.write(f"{result.to_json()}\n")
        self._stream.flush()

    def close(self) -> None:
        """The stream is not ours."""


class Tables:
    """One table under the other, for every result that is due and the last one."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def update(self, result: Callable[[], Result], *, due: bool) -> None:
        if due:
            self.finish(result())

    def finish(self, result: Result) -> None:
        self._console.print(Display(result))

    def close(self) -> None:
        """The console is not ours."""


class LiveTable:
    """One table that changes in place, a few times a second at most; the last one stays whole."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())
        self._drawn = 0.0

    def update(self, result: Callable[[], Result], *, due: bool) -> None:
        if time.monotonic() - self._drawn >= _REDRAW_SECONDS:
            self._draw(result())

    def finish(self, result: Result) -> None:
        self._live.vertical_overflow = "visible"
        self._draw(result)

    def close(self) -> None:
        self._live.stop()

    def _draw(self, result: Result) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(Display(result), refresh=True)
        self._drawn = time.monotonic()


@dataclass(frozen=True, slots=True)
class Display:
    """A result on a screen: a table, or one record under the other where a table would not fit in.

    Amounts are in units with seven decimals, of tokens that are no Stellar asset in their smallest ones; strkeys have
    their middle left out.
    """

    result: Result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = self._table()
        wanted = console.measure(table, options=options.update(width=_ANY_WIDTH)).maximum
        yield _title(self.result)
        yield table if wanted <= options.max_width else self._records()
        yield _caption(self.result)

    def _table(self) -> Table:
        table = Table()
        for key in self.result.analysis.keys:
            table.add_column(_words(key))
        for measure in self.result.analysis.measures:
            table.add_column(_words(measure.name), justify="right")
        for row in self.result.rows:
            table.add_row(*(cell for _, cell in self._cells(row)))
        return table

    def _records(self) -> Table:
        table = Table(show_header=False)
        table.add_column()
        table.add_column(justify="right", overflow="fold")
        for row in self.result.rows:
            for name, cell in self._cells(row):
                table.add_row(_words(name), cell)
            table.add_section()
        return table

    def _cells(self, row: dict[str, Any]) -> Iterator[tuple[str, Text]]:
        for key in self.result.analysis.keys:
            yield key, Text(_key(row[key]))
        for measure in self.result.analysis.measures:
            yield measure.name, Text(_value(row[measure.name], _unit(measure, row)))


def _unit(measure: Measure, row: dict[str, Any]) -> Unit:
    """The unit of one value: tokens of a Stellar asset have seven decimals, those of others what nobody knows here."""
    if measure.unit == "tokens":
        return None if is_strkey(row["asset"] or "", "C") else "stroops"
    return measure.unit


def _words(name: str) -> str:
    return name.replace("_", " ")


def _title(result: Result) -> Text:
    span = result.span
    state = "final" if result.final else "so far" if not span.full else "sliding"
    return Text(
        f"{result.analysis.name}, {result.minutes} minutes to {iso_time(span.end)} ({state})\n"
        f"ledgers {span.first.sequence} to {span.last.sequence}, {span.ledgers:,} of them"
    )


def _caption(result: Result) -> Text:
    shown, groups = len(result.rows), result.groups
    rows = f"{shown} of {groups:,} rows, by {_words(result.analysis.order)}"
    if result.span.full:
        return Text(rows)
    seen = (result.span.end - result.span.first.closed) // 1_000_000
    return Text(f"{rows}; the window is not full yet: {seen // 60} min {seen % 60} s seen")


def _key(value: str | None) -> str:
    if value is None:
        return "-"
    value = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value)
    return _STRKEY.sub(lambda found: f"{found[0][:4]}…{found[0][-4:]}", value)


def _value(value: Any, unit: Unit) -> str:
    if value is None:
        return "-"
    match unit:
        case "stroops":
            return format_units(value)
        case "ratio":
            return f"{value:,.4f}"
        case "price":
            return f"{_SHOWN.plus(value).normalize():,f}"
        case _:
            return f"{value:,}"
