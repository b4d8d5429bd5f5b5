"""The command ``stellar-arrow-source``: serves by default, and tells about its streams."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from stellar_arrow_client.options import Choice, Group, option, run_cli, standard_options
from stellar_arrow_source.config import config_of, server_options
from stellar_arrow_source.preview.cli import head
from stellar_arrow_source.token_cli import token

if TYPE_CHECKING:
    from stellar_arrow_source.tables import Column

_format = option(
    "--format", "output", type=Choice(["text", "json"]), default="text", help="For people or for programs."
)


@click.group("stellar-arrow-source", cls=Group, invoke_without_command=True, epilog="Without a command it serves.")
@server_options
@standard_options("stellar-arrow-source")
@click.pass_context
def command(ctx: click.Context, /, **_settings: Any) -> None:
    """Serve Stellar ledgers as Arrow Flight streams."""
    if ctx.invoked_subcommand is None:
        _serve(ctx)


def _serve(ctx: click.Context) -> None:
    config = config_of(ctx)
    # gRPC reads this when it is loaded; what it has to say is said by the errors of the server.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_source.allocator import keep_freed_memory
    from stellar_arrow_source.compiling import tell_of_compiling
    from stellar_arrow_source.flight.backend import ledger_tables
    from stellar_arrow_source.flight.service import Service, run
    from stellar_arrow_source.ledgers.endpoint import open_source

    keep_freed_memory()
    tell_of_compiling()
    run(
        Service(
            config,
            ledger_tables(config.ttp_mode),
            partial(
                open_source,
                config.endpoint,
                live=config.live,
                passphrase=config.passphrase,
                tls=config.source_tls,
                cache=None if config.ledger_cache is None else (config.ledger_cache, config.ledger_cache_bytes),
            ),
        )
    )


@command.command()
@_format
def streams(output: str) -> None:
    """List the streams."""
    from stellar_arrow_source.tables import STREAMS

    if output == "json":
        _print_json(
            [
                {
                    "name": stream.name,
                    "aliases": list(stream.aliases),
                    "description": stream.description,
                    "schema_version": stream.schema_version,
                    "columns": len(stream.columns),
                }
                for stream in STREAMS
            ]
        )
        return
    rows = [(stream.name, ", ".join(stream.aliases), stream.description) for stream in STREAMS]
    _print_table(("STREAM", "ALIASES", "ROWS"), rows)


@command.command()
@click.argument("stream")
@_format
def schema(stream: str, output: str) -> None:
    """Show the columns of STREAM: name, type, nullability, unit, meaning."""
    from stellar_arrow_source.tables import find_stream

    columns = find_stream(stream).columns
    if output == "json":
        _print_json([_column_facts(column) for column in columns])
        return
    rows = [
        (
            column.name,
            str(column.type),
            "null" if column.nullable else "",
            "opt-in" if column.opt_in else "",
            column.unit or "",
            column.description,
        )
        for column in columns
    ]
    _print_table(("COLUMN", "TYPE", "NULL", "OPT-IN", "UNIT", "MEANING"), rows)


def _column_facts(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": str(column.type),
        "nullable": column.nullable,
        "opt_in": column.opt_in,
        "unit": column.unit,
        "description": column.description,
    }


def _print_json(content: object) -> None:
    click.echo(json.dumps(content, indent=2))


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns aligned by spaces; the last one is left ragged."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header) - 1)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


command.add_command(head)
command.add_command(token)


def main() -> None:
    """Entry point."""
    run_cli(command)
