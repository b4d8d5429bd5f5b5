"""Writes rows as JSON lines, as CSV, as a table, or transposed: a line for each column, which suits wide streams."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import IO, Literal

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stellar_arrow_source.preview.values import cell, json_rows, printable, shorten

Format = Literal["table", "record", "json", "csv"]
MOST = 15
"""Characters of a value in a table on a terminal."""
MOST_IN_RECORD = 24
_GAP = 2
_TYPE_MOST = 13


def write_json(rows: pa.Table, out: IO[str]) -> None:
    """A JSON object a line."""
    for row in json_rows(rows):
        out.write(json.dumps(row) + "\n")


def write_csv(rows: pa.Table, out: IO[str]) -> None:
    """A header, then a line for each row; null is an empty cell, what is nested is JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for row in json_rows(rows):
        writer.writerow([cell(value) for value in row.values()])


def texts_of(rows: pa.Table, most: int | None) -> list[list[str]]:
    """For each row the texts of its cells, of at most ``most`` characters; None for whole ones."""
    texts = [[printable(cell(value)) for value in row.values()] for row in json_rows(rows)]
    return texts if most is None else [[shorten(text, most) for text in row] for row in texts]


def table_width(rows: pa.Table, texts: Sequence[Sequence[str]]) -> int:
    """Characters of a line of :func:`print_table`."""
    columns = zip(rows.schema.names, zip(*texts, strict=True), strict=True)
    return sum(max(map(len, (name, *column))) + _GAP for name, column in columns)


def print_table(rows: pa.Table, texts: Sequence[Sequence[str]], console: Console) -> None:
    """A line for each row; numbers stand to the right."""
    table = _new_table()
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if number else "left", no_wrap=True)
    for row in texts:
        table.add_row(*(Text(text) for text in row))
    console.print(table, crop=False, soft_wrap=True)


def print_records(rows: pa.Table, texts: Sequence[Sequence[str]], console: Console) -> None:
    """A line for each column, with its name, its type and its value in as many rows as fit; then the next rows."""
    labels = [(field.name, shorten(str(field.type), _TYPE_MOST)) for field in rows.schema]
    taken = max(len(name) for name, _ in labels) + max(len(type) for _, type in labels) + 2 * _GAP
    first = 0
    while first < len(texts):
        last, width = first, taken
        while last < len(texts):
            width += max(len(str(last + 1)), *map(len, texts[last])) + _GAP
            if width > console.width and last > first:
                break
            last += 1
        table = _new_table()
        table.add_column("column", no_wrap=True)
        table.add_column("type", no_wrap=True, style="dim")
        for row in range(first, last):
            table.add_column(str(row + 1), no_wrap=True)
        for index, (name, type) in enumerate(labels):
            table.add_row(name, type, *(Text(texts[row][index]) for row in range(first, last)))
        if first:
            console.print()
        console.print(table, crop=False, soft_wrap=True)
        first = last


def _new_table() -> Table:
    return Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
