"""The command ``stellar-arrow-source head``: rows of a stream without a server."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import click

from stellar_arrow_client.options import Choice, Command, LedgerNumber, option
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.signals import draining
from stellar_arrow_source.completing import complete_columns, complete_stream
from stellar_arrow_source.config import ServerConfig, config_of, source_options
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.networks import network_name
from stellar_arrow_source.progress import progress_option, showing

if TYPE_CHECKING:
    import pyarrow as pa

_RETRIES = 3  # someone waits in front of the terminal
_ENDLESS = 1 << 20  # width of what is no terminal


@click.command("head", cls=Command)
@click.argument("stream", shell_complete=complete_stream, help="Name of a stream, or another name of it.")
@source_options
@option("--start", type=LedgerNumber(), help="First ledger; when left out, the newest that have enough rows.")
@option("--rows", type=click.IntRange(1, 100_000), default=5, help="Rows to show.")
@option(
    "--ledgers",
    type=click.IntRange(1, 10_000_000),
    default=1000,
    help="Most ledgers to look through for a stream that has few rows.",
)
@option(
    "--columns",
    metavar="NAME,…",
    shell_complete=complete_columns,
    help="Columns wanted; all that are not opt-in when left out.",
)
@option("--filter", "condition", metavar="SQL", help="Rows wanted, such as \"asset_code = 'USDC'\".")
@option(
    "--format",
    "output",
    type=Choice(["auto", "table", "record", "json", "csv"]),
    default="auto",
    help="A line for each row, a line for each column, JSON lines or CSV; auto is what fits a terminal, and JSON lines"
    " elsewhere.",
)
@progress_option
@click.pass_context
def head(
    ctx: click.Context, /, stream: str, start: int | None, rows: int, ledgers: int, columns: str | None,
    condition: str | None, output: str, progress: str, **_source: object,
) -> int | None:  # fmt: skip
    """Show the first rows of STREAM, read from a source of ledgers without a server.

    On a terminal hashes and addresses are shortened and columns without a value are left out.
    """
    config = config_of(ctx)
    # gRPC reads this when it is loaded; what it has to say is said by the errors of the sources.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_source.compiling import tell_of_compiling
    from stellar_arrow_source.flight.backend import ledger_tables
    from stellar_arrow_source.flight.planning import plan
    from stellar_arrow_source.ledgers.endpoint import open_source
    from stellar_arrow_source.ledgers.source import RetryPolicy
    from stellar_arrow_source.preview.reading import read_rows

    tell_of_compiling()
    names = None if columns is None else tuple(name.strip() for name in columns.split(","))
    request = StreamRequest(stream, start, columns=names, filter=condition)
    tables = ledger_tables(config.ttp_mode)
    wanted = plan(request.to_ticket(), tables, config.passphrase)
    stop = threading.Event()
    source = open_source(
        config.endpoint,
        live=config.live,
        passphrase=config.passphrase,
        retry=RetryPolicy(attempts=_RETRIES),
        tls=config.source_tls,
        failover_seconds=config.failover_seconds,
    )
    with closing(source), draining(stop) as interruption, showing(ledgers, progress) as show:
        try:
            found = read_rows(
                source, tables, wanted, rows=rows, ledgers=ledgers,
                passphrase=config.passphrase or source.network_passphrase, stop=stop, show=show,
            )  # fmt: skip
        except SourceUnavailableError as error:
            if config.endpoint != ServerConfig().endpoint:
                raise
            raise SourceUnavailableError(f"{error} Give --source, or --mock-data for made-up ledgers") from None
    looked = "no ledger"
    if found.first is not None:
        looked = f"ledger {found.first}" if found.first == found.last else f"ledgers {found.first} to {found.last}"
    network = f" of {network_name(found.passphrase)}" if found.passphrase else ""
    if found.rows.num_rows:
        _show(found.rows, output, every_column=names is not None)
    click.echo(f"{found.rows.num_rows} rows of {wanted.request.stream} from {looked}{network}", err=True)
    if found.rows.num_rows < rows and interruption.signal is None:
        click.echo("there is no other in these; look further with --ledgers, or elsewhere with --start", err=True)
    for reason, number in found.skipped.items():
        click.echo(f"skipped in {reason}: {number}", err=True)
    return None if interruption.signal is None else 128 + interruption.signal


def _show(rows: pa.Table, output: str, *, every_column: bool) -> None:
    from rich.console import Console

    from stellar_arrow_source.preview import render

    terminal = sys.stdout.isatty()
    if output == "json" or (output == "auto" and not terminal):
        render.write_json(rows, sys.stdout)
        return
    if output == "csv":
        render.write_csv(rows, sys.stdout)
        return
    if terminal and not every_column:
        held = [name for name in rows.schema.names if rows[name].null_count < rows.num_rows]
        if len(held) < rows.num_columns:
            click.echo(f"{rows.num_columns - len(held)} columns without a value here are left out", err=True)
        rows = rows.select(held)
    console = Console(file=sys.stdout, width=None if terminal else _ENDLESS)
    if output != "record":
        texts = render.texts_of(rows, render.MOST if terminal else None)
        if output == "table" or render.table_width(rows, texts) <= console.width:
            render.print_table(rows, texts, console)
            return
    render.print_records(rows, render.texts_of(rows, render.MOST_IN_RECORD if terminal else None), console)
