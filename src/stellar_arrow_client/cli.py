"""The command ``stellar-arrow``: what is installed, what a server offers, and the beginning of a new consumer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from stellar_arrow_client import scaffold
from stellar_arrow_client.completion import DISTRIBUTION, SHELLS, installed_commands, script
from stellar_arrow_client.discovery import InstalledConsumer, installed_consumers
from stellar_arrow_client.options import Choice, Group, client_options, option, run_cli, standard_options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from stellar_arrow_client.client import Client

_WIDTH = 200  # of a table that no terminal limits

Output = Literal["auto", "table", "jsonl"]

_output = option(
    "--output",
    type=Choice(["auto", "table", "jsonl"]),
    default="auto",
    help="A table or JSON lines; auto is a table on a terminal and JSON lines elsewhere.",
)


@click.group("stellar-arrow", cls=Group)
def command() -> None:
    """Find and make consumers of Stellar ledgers."""


@command.command()
@_output
@standard_options(DISTRIBUTION)
def consumers(output: Output) -> None:
    """List the consumers that are installed in this Python environment."""
    found = installed_consumers()
    if not found:
        click.echo("no consumer is installed; 'stellar-arrow new-consumer NAME' makes one", err=True)
    _show(InstalledConsumer, found, output)


@command.command()
@client_options
@_output
@standard_options(DISTRIBUTION)
def streams(client: Client, output: Output) -> None:
    """List the streams that SERVER offers."""
    from stellar_arrow_client.client import StreamInfo  # pyarrow loads slowly, the other commands need none of it

    _show(StreamInfo, client.streams(), output)


@command.command("new-consumer")
@click.argument("name", help="Name of the package and of its command, such as payments-db.")
@option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to create its folder, which bears the name.",
)
@standard_options(DISTRIBUTION)
def new_consumer(name: str, directory: Path) -> None:
    """Create the package of a consumer.

    It has a command, a sink, tests and a README, works as it is, and passes the conformance suite. The folder goes to
    stdout.
    """
    folder = scaffold.new_consumer(name, directory)
    click.echo(folder)
    click.echo(f"next: cd {folder} && pip install -e '.[test]' && pytest", err=True)


@command.command()
@click.argument("shell", type=Choice(SHELLS), help="The shell that is to complete.")
def completion(shell: str) -> None:
    """Print what SHELL must read to complete all commands of this project that are installed.

    In bash: eval "$(stellar-arrow completion bash)", once or in ~/.bashrc; the same in zsh, in ~/.zshrc after compinit.
    In fish: stellar-arrow completion fish | source.
    """
    click.echo(script(shell, installed_commands()))


def _show(kind: type[DataclassInstance], rows: Sequence[DataclassInstance], output: Output) -> None:
    """Print records, one a line."""
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        for row in rows:
            click.echo(json.dumps(asdict(row)))
        return
    if rows:
        from rich.console import Console
        from rich.table import Table

        table = Table(*(field.name.replace("_", " ") for field in fields(kind)))
        for row in rows:
            table.add_row(*map(_cell, asdict(row).values()))
        Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False, highlight=False).print(table)


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def main() -> None:
    """Entry point of the script."""
    run_cli(command)
