"""The command ``analytics-consumer``."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console
from rich.table import Table

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.options import (
    Choice,
    Command,
    LedgerNumber,
    RunOptions,
    client_options,
    option,
    run_cli,
    run_options,
    standard_options,
)
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.runner import run

from .analyses import ANALYSES, Analysis
from .render import JsonLines, LiveTable, Tables
from .selection import AssetFilter, Selection, parse_units
from .sink import AnalyticsSink, Output, server_clock

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

_BY_NAME = {analysis.name: analysis for analysis in ANALYSES}
_SECOND = 1_000_000  # in microseconds, the unit of close times
_MAX_MINUTES = 366 * 24 * 60
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WIDTH = 200  # of a table that no terminal limits


class Duration(click.ParamType[int]):
    """``30s``, ``1m``, ``2h`` or ``1d``, in microseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 1 <= seconds <= _MAX_MINUTES * 60:
            self.fail(f"{str(value)[:40]!r} is not a duration from 1s to 366d, such as 30s, 1m, 2h or 1d", param, ctx)
        return seconds * _SECOND


def _list_analyses(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    console = _console()
    for analysis in ANALYSES:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 4))
        for key in analysis.keys:
            table.add_row(key, "key")
        for measure in analysis.measures:
            unit = f" ({measure.unit})" if measure.unit else ""
            table.add_row(measure.name, f"{measure.description}{unit}")
        options = "".join(f", --{name}" for name in sorted(analysis.options))
        console.print(f"{analysis.name}: {analysis.description}", highlight=False, markup=False)
        console.print(f"  stream {analysis.stream}, by {analysis.order}{options}", highlight=False, markup=False)
        console.print(table)
    ctx.exit()


@click.command("analytics-consumer", cls=Command)
@client_options
@click.argument(
    "analysis",
    type=Choice(list(_BY_NAME)),
    default="payment-volume",
    metavar="[ANALYSIS]",
    help="What to find out, payment-volume when left out; see --list.",
)
@click.argument(
    "window_minutes",
    type=click.IntRange(1, _MAX_MINUTES),
    default=60,
    help="Length of the window in minutes of ledger close time, 60 when left out.",
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_analyses, help="Describe the analyses."
)
@option("--top", type=click.IntRange(1, 1_000_000), default=20, help="Rows of a result.")
@option(
    "--asset",
    "assets",
    multiple=True,
    metavar="CODE[:ISSUER]|native|CONTRACT",
    help="Only this asset, this code of any issuer, or this contract's token; may be repeated.  "
    "[default: all; high-value: native]",
)
@option(
    "--threshold",
    metavar="UNITS",
    help="Least amount for high-value, in units of the asset with up to seven decimals.  [default: 1000]",
)
@option("--every", type=Duration(), default="1m", help="Close time from one result to the next.")
@option("--from", "from_ledger", type=LedgerNumber(), help="First ledger; the latest one when left out.")
@option(
    "--to",
    "to_ledger",
    type=LedgerNumber(zero_is_none=True),
    help="Last ledger, inclusive; 0 or left out to follow the tip.",
)
@option(
    "--output",
    type=Choice(["auto", "table", "jsonl"]),
    default="auto",
    help="Tables or JSON lines; auto is a live table on a terminal and JSON lines elsewhere.",
)
@run_options
@standard_options("analytics-consumer")
def command(
    *,
    client: Client,
    analysis: str,
    window_minutes: int,
    top: int,
    assets: tuple[str, ...],
    threshold: str | None,
    every: int,
    from_ledger: int | None,
    to_ledger: int | None,
    output: Literal["auto", "table", "jsonl"],
    run_options: RunOptions,
) -> int:
    """Analyse the last minutes of the ledger, live.

    Follows a stream of SERVER and adds up what happened in the last WINDOW_MINUTES before the newest ledger
    closed. Results go to stdout; the last one is given out at the end of the range or at the first interrupt.
    """
    chosen = _BY_NAME[analysis]
    selection = _selection(chosen, assets, threshold)
    if to_ledger is not None and from_ledger is None:
        raise click.UsageError("--to needs --from")
    request = StreamRequest(chosen.stream, from_ledger, to_ledger, chosen.request_columns)
    display = _output(output)
    if isinstance(display, LiveTable) and run_options.progress == "auto":
        run_options = replace(run_options, progress="none")
    sink = AnalyticsSink(
        chosen,
        selection,
        length=window_minutes * 60 * _SECOND,
        every=every,
        top=top,
        clock=server_clock(client),
        output=display,
    )
    return run(sink, client, request, options=run_options).exit_code


def _selection(analysis: Analysis, assets: tuple[str, ...], threshold: str | None) -> Selection:
    """What the options select.

    Raises:
        InvalidRequestError: an option that the analysis does not honour, or a value that is none.
    """
    for name, given in (("asset", bool(assets)), ("threshold", threshold is not None)):
        if given and name not in analysis.options:
            honour = ", ".join(other.name for other in ANALYSES if name in other.options)
            raise InvalidRequestError(f"{analysis.name} knows no --{name}; these do: {honour}")
    selection = Selection(AssetFilter.parse(assets) if assets else None)
    return selection if threshold is None else replace(selection, threshold=parse_units(threshold))


def _output(kind: Literal["auto", "table", "jsonl"]) -> Output:
    terminal = sys.stdout.isatty()
    if kind == "jsonl" or (kind == "auto" and not terminal):
        return JsonLines(sys.stdout)
    return LiveTable(Console()) if terminal else Tables(_console())


def _console() -> Console:
    """Standard output; as wide as a table needs when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH)


def main() -> None:
    """Entry point of the script."""
    run_cli(command)
