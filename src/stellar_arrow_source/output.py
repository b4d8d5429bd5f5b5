"""How the commands that tell something print it: for people or for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import click

from stellar_arrow_client.options import Choice, option

F = TypeVar("F")


def format_option(function: F) -> F:
    """``--format text|json`` and ``--json``, handed on as ``output``."""
    spelled = option(
        "--format", "output", type=Choice(["text", "json"]), default="text", help="For people or for programs."
    )
    short = option("--json", "output", flag_value="json", help="The same as --format json.")
    decorated: F = spelled(short(function))
    return decorated


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns aligned by spaces; the last one is left ragged."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
