"""The command ``template-consumer``."""

from __future__ import annotations

from pathlib import Path

import click
from stellar_arrow_client import Client, run
from stellar_arrow_client.checkpoint import locked
from stellar_arrow_client.options import (
    Command,
    RunOptions,
    Selection,
    client_options,
    option,
    request_options,
    run_options,
    standard_options,
)

from template_consumer.sink import OutputSink


@click.command("template-consumer", cls=Command)
@client_options
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@request_options()
@option("--stream", default="payments", metavar="NAME", help="Stream to read.")
@option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    metavar="SECONDS",
    help="Time after which what came is made durable at the latest.",
)
@run_options
@standard_options("template-consumer")
def command(
    *,
    client: Client,
    output: Path,
    selection: Selection,
    stream: str,
    checkpoint_seconds: float,
    run_options: RunOptions,
) -> int:
    """Write a stream of SERVER to OUTPUT.

    The same command, given again, goes on where it ended: nothing is lost, and nothing is written twice.
    """
    request = selection.request(stream)
    output.mkdir(parents=True, exist_ok=True)
    with locked(output / ".lock"):
        sink = OutputSink(output)
        return run(sink, client, request, options=run_options, checkpoint_seconds=checkpoint_seconds).exit_code
