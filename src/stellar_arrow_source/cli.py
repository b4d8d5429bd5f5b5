"""The command ``stellar-arrow-source``: serves by default, and tells about its streams."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from stellar_arrow_client.options import Group, run_cli, standard_options
from stellar_arrow_source.compile_cli import compile_
from stellar_arrow_source.completing import complete_stream
from stellar_arrow_source.config import config_of, server_options
from stellar_arrow_source.config_cli import config
from stellar_arrow_source.doctor.cli import doctor
from stellar_arrow_source.output import format_option, print_table
from stellar_arrow_source.preview.cli import head
from stellar_arrow_source.token_cli import token

if TYPE_CHECKING:
    from stellar_arrow_source.tables import Column


@click.group("stellar-arrow-source", cls=Group, invoke_without_command=True, epilog="Without a command it serves.")
@server_options
@standard_options("stellar-arrow-source")
@click.pass_context
def command(ctx: click.Context, /, **_settings: Any) -> None:
    """Serve Stellar ledgers as Arrow Flight streams."""
    if ctx.invoked_subcommand is None:
        _serve(ctx)


def _serve(ctx: click.Context) -> None:
    settings = config_of(ctx)
    # gRPC reads this when it is loaded; what it has to say is said by the errors of the server.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_source.flight.process import make_service
    from stellar_arrow_source.flight.service import run

    run(make_service(settings))


@command.command()
@format_option
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
    print_table(("STREAM", "ALIASES", "ROWS"), rows)


@command.command()
@click.argument("stream", shell_complete=complete_stream)
@format_option
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
    print_table(("COLUMN", "TYPE", "NULL", "OPT-IN", "UNIT", "MEANING"), rows)


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


command.add_command(compile_)
command.add_command(config)
command.add_command(doctor)
command.add_command(head)
command.add_command(token)


def main() -> None:
    """Entry point."""
    run_cli(command)
