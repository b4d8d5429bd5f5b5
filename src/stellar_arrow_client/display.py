"""How tables look on a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from shutil import get_terminal_size
from typing import Any, Final

import pyarrow as pa

PREVIEWED_ROWS: Final = 10
MAX_CELL_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Preview:
    """A few rows, to look at.

    Attributes:
        title: what they are rows of.
        table: the rows themselves.
    """

    title: str
    table: pa.Table

    def __str__(self) -> str:
        width = get_terminal_size().columns
        return f"{self.title}\n{text_table(self.table.column_names, self._cells(), width)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self.title, self.table.column_names, self._cells())

    def _cells(self) -> list[list[str]]:
        columns = [column.to_pylist() for column in self.table.columns]
        return [[_cell(value) for value in row] for row in zip(*columns, strict=True)]


def columns_html(title: str, schema: pa.Schema) -> str:
    """The columns of a schema with what they mean, as HTML."""
    rows = []
    for field in schema:
        told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        null = "yes" if field.nullable else ""
        rows.append([field.name, str(field.type), null, told.get("unit", ""), told.get("description", "")])
    return html_table(title, ("column", "type", "null", "unit", "meaning"), rows)


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML; all text is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f"<caption>{escape(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """A table as text: columns of equal width; those beyond ``width`` characters are only named."""
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    shown = len(widths)
    while width is not None and shown > 1 and sum(widths[:shown]) + 2 * (shown - 1) > width:
        shown -= 1
    lines = [
        "  ".join(cell.ljust(cells) for cell, cells in zip(row[:shown], widths[:shown], strict=True)).rstrip()
        for row in (header, *rows)
    ]
    if shown < len(widths):
        lines.append(f"and the columns {', '.join(header[shown:])}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bytes():
            text = value.hex()
        case datetime():
            text = value.isoformat(" ")
        case _:
            text = _printable(str(value))
    return text if len(text) <= MAX_CELL_CHARS else f"{text[: MAX_CELL_CHARS - 1]}…"


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return text if text.isprintable() else repr(text)
