"""Outputs: JSON lines, tables, and a live table on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .measures import Unit
from .result import Result, iso_time
from .selection import format_units

_REDRAW_SECONDS = 0.25
_SHOWN_WHOLE = 20  # characters of a key before the middle of a strkey is left out


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
        self._console.print(render(result))

    def close(self) -> None:
        """The console is not ours."""


class LiveTable:
    """One table that changes in place, a few times a second at most; the last one stays whole."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
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
        self._live.update(render(result), refresh=True)
        self._drawn = time.monotonic()


def render(result: Result) -> Table:
    """The result as a table: amounts in units with seven decimals, strkeys with their middle left out."""
    table = Table(title=_title(result), title_justify="left", caption=_caption(result), caption_justify="left")
    for key in result.analysis.keys:
        table.add_column(key.replace("_", " "), no_wrap=True)
    for measure in result.analysis.measures:
        table.add_column(measure.name.replace("_", " "), justify="right", no_wrap=True)
    for row in result.rows:
        keys = (Text(_key(row[key])) for key in result.analysis.keys)
        values = (Text(_value(row[measure.name], measure.unit)) for measure in result.analysis.measures)
        table.add_row(*keys, *values)
    return table


def _title(result: Result) -> Text:
    span = result.span
    state = "final" if result.final else "so far" if not span.full else "sliding"
    return Text(
        f"{result.analysis.name}, {result.minutes} minutes to {iso_time(span.end)} ({state})\n"
        f"ledgers {span.first.sequence} to {span.last.sequence}, {span.ledgers:,} of them"
    )


def _caption(result: Result) -> Text:
    shown, groups = len(result.rows), result.groups
    rows = f"{shown} of {groups:,} rows, by {result.analysis.order.replace('_', ' ')}"
    if result.span.full:
        return Text(rows)
    seen = (result.span.end - result.span.first.closed) // 1_000_000
    return Text(f"{rows}; the window is not full yet: {seen // 60} min {seen % 60} s seen")


def _key(value: str | None) -> str:
    if value is None:
        return "-"
    value = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value)
    name, _, strkey = value.rpartition(":")
    if len(strkey) > _SHOWN_WHOLE:
        strkey = f"{strkey[:4]}…{strkey[-4:]}"
    return f"{name}:{strkey}" if name else strkey


def _value(value: Any, unit: Unit) -> str:
    if value is None:
        return "-"
    match unit:
        case "stroops":
            return format_units(value)
        case "ratio":
            return f"{value:,.4f}"
        case _:
            return f"{value:,}"
