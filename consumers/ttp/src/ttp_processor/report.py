"""How balances are shown: a table for people, JSON lines or CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ttp_processor.balances import Flow, Key

COLUMNS: Final = ("holder", "asset", "received", "sent", "fees", "change")

_WIDTH: Final = 400  # of a table that no terminal limits

Row = tuple[str, str, int, int, int, int]


def show(flows: Mapping[Key, Flow], output_format: str) -> None:
    """Write to standard output, ordered by asset and holder.

    Args:
        output_format: ``table``, ``json`` (a line for each holder and asset, amounts as text) or ``csv``.
    """
    rows = [
        (holder, asset, flow.received, flow.sent, flow.fees, flow.change)
        for (holder, asset), flow in sorted(flows.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    _WRITERS[output_format](rows)


def _json(rows: Iterable[Row]) -> None:
    for holder, asset, *amounts in rows:
        line = {"holder": holder, "asset": asset} | dict(zip(COLUMNS[2:], map(str, amounts), strict=True))
        sys.stdout.write(f"{json.dumps(line)}\n")


def _csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)


def _table(rows: Iterable[Row]) -> None:
    table = Table(box=None)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("holder", "asset") else "right", no_wrap=True)
    for holder, asset, *amounts in rows:
        table.add_row(Text(holder), Text(asset), *(f"{amount:,}" for amount in amounts))
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


_WRITERS: Final[Mapping[str, Callable[[Iterable[Row]], None]]] = {"table": _table, "json": _json, "csv": _csv}
