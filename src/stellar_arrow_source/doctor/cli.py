"""The command ``stellar-arrow-source doctor``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import Command
from stellar_arrow_source.config import ServerConfig, config_of
from stellar_arrow_source.output import format_option

if TYPE_CHECKING:
    from stellar_arrow_source.doctor.findings import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=Command)
@format_option
@click.pass_context
def doctor(ctx: click.Context, output: str) -> ExitCode:
    """Check all that a server with these settings needs: machine, files, ports, source.

    The options of the server stand before the word doctor, as in 'stellar-arrow-source --source file:///data doctor'.
    Nothing is changed. The exit code is 1 when something fails; warnings do not count.
    """
    config = config_of(ctx)
    found = []
    for finding in findings(config):
        found.append(finding)
        if output == "text":
            status = click.style(finding.status.ljust(4), fg=_COLOURS[finding.status])
            click.echo(f"{status}  {finding.check}: {finding.message}")
            if finding.fix:
                click.echo(f"      → {finding.fix}")
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    return ExitCode.FAILURE if any(finding.status == "fail" for finding in found) else ExitCode.OK


def findings(config: ServerConfig) -> Iterator[Finding]:
    """The findings of all checks, as they come."""
    # gRPC reads this when it is loaded; what it has to say is said by the errors of the sources.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_source.doctor import access, machine, source
    from stellar_arrow_source.doctor.findings import look

    for check in (
        machine.versions,
        machine.processors,
        machine.memory,
        machine.open_files,
        machine.kernels,
        machine.ledger_cache,
        access.ports,
        access.openness,
        access.certificates,
        access.clients,
        source.source,
    ):
        yield from look(check, check.__name__.replace("_", " "), config)
