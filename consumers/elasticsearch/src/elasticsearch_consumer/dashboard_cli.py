"""The command beside writing: ``dashboard``."""

from __future__ import annotations

import click

from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import Group, option, standard_options


@click.group("elasticsearch-consumer", cls=Group)
def tools() -> None:
    """Commands beside writing."""


@tools.command()
@option("--prefix", default="stellar", metavar="NAME", help="Beginning of the names of all indices.")
@standard_options("elasticsearch-consumer")
def dashboard(*, prefix: str) -> int:
    """Print a starter dashboard over payments, to import into OpenSearch Dashboards or Kibana as saved objects.

    In OpenSearch Dashboards and Kibana: Stack Management, Saved objects, Import.
    """
    from elasticsearch_consumer.dashboard import saved_objects

    for line in saved_objects(prefix):
        click.echo(line)
    return ExitCode.OK
