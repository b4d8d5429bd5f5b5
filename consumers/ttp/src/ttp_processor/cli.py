"""The command ``ttp-processor``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from stellar_arrow_client.options import (
    Choice,
    Group,
    LedgerNumber,
    RunOptions,
    client_options,
    option,
    run_cli,
    run_options,
    standard_options,
)
from ttp_processor.selection import Selection
from ttp_processor.settings import Settings

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

F = TypeVar("F", bound=Callable[..., Any])

NAME = "ttp-processor"

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


_SELECTION = {
    "assets": option(
        "--asset",
        "assets",
        multiple=True,
        metavar="CODE[:ISSUER]|native",
        help="Only this asset, or this code of any issuer; may be repeated.",
    ),
    "accounts": option(
        "--account",
        "accounts",
        multiple=True,
        metavar="ADDRESS",
        help="Only what this account, contract, pool or claimable balance gives or gets; may be repeated.",
    ),
    "contracts": option(
        "--contract",
        "contracts",
        multiple=True,
        metavar="C…",
        help="Only the token of this contract; may be repeated.",
    ),
    "event_types": option(
        "--event-type",
        "event_types",
        multiple=True,
        type=Choice(["transfer", "mint", "burn", "clawback", "fee"]),
        help="Only events of this type; may be repeated.",
    ),
    "min_amount": option(
        "--min-amount",
        type=int,
        metavar="INTEGER",
        help="Only amounts of at least this, in the token's smallest unit (stroops of a Stellar asset).",
    ),
}
"""Options by the field of :class:`Selection` that they set."""


def selection_options(*fields: str) -> Callable[[F], F]:
    """Which events are wanted; the function gets a ``selection`` of these fields, or of all when none is named."""
    names = fields or tuple(_SELECTION)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in names}
            return function(*args, selection=Selection(**given), **kwargs)

        for name in reversed(names):
            run = _SELECTION[name](run)
        return cast(F, run)

    return decorate


@click.group(NAME, cls=Group)
@click.version_option(package_name=NAME, message="%(prog)s %(version)s")
def command() -> None:
    """Hand on the token-transfer events of a stellar-arrow-source server: over gRPC, as files, as balances."""


@command.command()
@client_options
@click.argument(
    "start",
    required=False,
    type=LedgerNumber(),
    help="Where a call begins that names no start; at the newest ledger when left out.",
)
@option("--host", default="127.0.0.1", envvar="TTP_HOST", help="Address to listen on; 0.0.0.0 for all.")
@option("--port", type=_PORT, default=50051, envvar=["TTP_PORT", "PORT"], help="Port of gRPC; 0 for a free one.")
@option("--tls-cert", type=_FILE, envvar="TTP_TLS_CERT", help="PEM certificate chain; turns TLS on.")
@option("--tls-key", type=_FILE, envvar="TTP_TLS_KEY", help="PEM private key of --tls-cert.")
@option(
    "--tls-client-ca",
    type=_FILE,
    envvar="TTP_TLS_CLIENT_CA",
    help="PEM certificates of the authorities that clients' certificates must lead to; without it none is asked for.",
)
@option("--max-calls", type=click.IntRange(1, 4096), default=64, envvar="TTP_MAX_CALLS", help="Most calls at a time.")
@option(
    "--drain-seconds",
    type=click.FloatRange(0, 600),
    default=10.0,
    envvar="DRAIN_SECONDS",
    help="How long calls may take to finish their ledger when the processor is told to end.",
)
@option(
    "--metrics-port",
    type=_PORT,
    envvar="METRICS_PORT",
    help="Serve Prometheus metrics there (0 picks a free port); none when left out.",
)
@option("--metrics-host", default="127.0.0.1", envvar="METRICS_HOST", help="Address on which to serve the metrics.")
@selection_options()
@standard_options(NAME)
def serve(*, client: Client, selection: Selection, **settings: Any) -> None:
    """Serve the events of SERVER as the gRPC service token_transfer_service.EventService.

    Any number of clients each get the range that they ask for, or follow the network. Where SERVER breaks off, calls
    wait for it and go on. Options that narrow the events hold for all clients.
    """
    chosen = Settings(condition=selection.condition, **settings)
    from ttp_processor import serve as server  # grpclib and pyarrow load slowly, --help needs none of them

    server.serve(client, chosen)


@command.command()
@client_options
@click.argument("start", required=False, type=LedgerNumber(), help="First ledger; the newest one when left out.")
@click.argument(
    "end",
    required=False,
    type=LedgerNumber(zero_is_none=True),
    help="Last ledger, inclusive; 0 or left out to follow the network.",
)
@option(
    "--format",
    "output_format",
    type=Choice(["json", "parquet"]),
    default="json",
    help="JSON lines as EventService's messages, or an archive of Parquet files with the stream's columns.",
)
@option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File of JSON lines, stdout when left out; or folder of the archive.",
)
@option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="MINUTES",
    help="Time after which what is written is made durable at the latest.",
)
@selection_options()
@run_options
@standard_options(NAME)
def events(
    *,
    client: Client,
    start: int | None,
    end: int | None,
    output_format: str,
    output: Path | None,
    interval: float,
    selection: Selection,
    run_options: RunOptions,
) -> int:
    """Write the events of SERVER as JSON lines or Parquet files.

    With --output, the same command goes on where it was interrupted: nothing is lost, nothing is written twice.
    """
    from ttp_processor.output import write_json, write_parquet

    condition, seconds = selection.condition, interval * 60
    if output_format == "json":
        return write_json(client, start, end, condition, output, run_options, seconds)
    if output is None:
        raise click.UsageError("--format parquet needs --output, a folder")
    return write_parquet(client, start, end, condition, output, run_options, seconds)


@command.command()
@client_options
@click.argument("start", type=LedgerNumber(), help="First ledger.")
@click.argument("end", type=LedgerNumber(), help="Last ledger, inclusive.")
@selection_options("assets", "accounts")
@option(
    "--format",
    "output_format",
    type=Choice(["table", "json", "csv"]),
    default="table",
    help="A table for people, JSON lines or CSV for programs.",
)
@option(
    "--check/--no-check",
    default=False,
    help="Compare with the ledger entries: what accounts, trust lines, claimable balances and pools gained and lost.",
)
@run_options
@standard_options(NAME)
def balances(
    *,
    client: Client,
    start: int,
    end: int,
    selection: Selection,
    output_format: str,
    check: bool,
    run_options: RunOptions,
) -> int:
    """Add up what each holder got and gave of each asset from ledger START to END.

    Amounts are exact, in the token's smallest unit. With --check the exit code is 4 where the events and the ledger's
    own entries differ.
    """
    from ttp_processor.output import write_balances

    return write_balances(client, start, end, selection, output_format, check, run_options)


def main() -> None:
    """Entry point of the script."""
    run_cli(command)
