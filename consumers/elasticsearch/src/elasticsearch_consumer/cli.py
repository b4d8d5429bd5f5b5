"""The command ``elasticsearch-consumer``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from elasticsearch_consumer.dashboard_cli import tools
from stellar_arrow_client.options import (
    Assignment,
    Command,
    RunOptions,
    Selection,
    client_options,
    dry_run_option,
    option,
    request_options,
    run_cli,
    run_options,
    schema_change_option,
    standard_options,
    stream_option,
)

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_MIB: Final = 1024 * 1024


@click.command(
    "elasticsearch-consumer",
    cls=Command,
    tools=tools,
)
@client_options
@click.argument(
    "url",
    help="Elasticsearch or OpenSearch: http://host:9200 or https://user@host:9200, with commas between several nodes.",
)
@request_options(otherwise="where the indices end, or the latest one,")
@stream_option("Each has indices of its own.")
@option(
    "--prefix",
    default="stellar",
    metavar="NAME",
    help="Beginning of the names of all indices; the alias of a stream's is PREFIX-STREAM.",
)
@option(
    "--index-ledgers",
    type=click.IntRange(1, 2**32),
    metavar="LEDGERS",
    help="Ledgers of an index, 100000 when left out; it cannot be changed later.",
)
@option(
    "--setting",
    "settings",
    type=Assignment("index.number_of_replicas=0"),
    multiple=True,
    metavar="NAME=VALUE",
    help="Setting of new indices, such as index.number_of_replicas=0; may be repeated.",
)
@schema_change_option("indices lack")
@option(
    "--connections",
    type=click.IntRange(1, 32),
    default=2,
    help="Bulk requests under way at the same time.",
)
@option(
    "--bulk-bytes",
    type=click.IntRange(1024, 99 * _MIB),
    default=4 * _MIB,
    metavar="BYTES",
    help="Size of a bulk request at most.",
)
@option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    metavar="SECONDS",
    help="Time after which the checkpoint is written at the latest.",
)
@option("--user", metavar="NAME", help="User of basic authentication; also in URL.")
@option("--password", metavar="TEXT", help="Password of --user; better given by its environment variable.")
@option(
    "--api-key", metavar="TEXT", help="API key of Elasticsearch, encoded; better given by its environment variable."
)
@option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="PEM authorities to trust with https://.")
@dry_run_option
@run_options
@standard_options("elasticsearch-consumer")
def load(
    *,
    client: Client,
    url: str,
    selection: Selection,
    streams: tuple[str, ...],
    prefix: str,
    index_ledgers: int | None,
    settings: tuple[tuple[str, str], ...],
    add_columns: bool,
    connections: int,
    bulk_bytes: int,
    checkpoint_seconds: float,
    user: str | None,
    password: str | None,
    api_key: str | None,
    ca_file: str | None,
    dry_run: bool,
    run_options: RunOptions,
) -> int:
    """Write streams of SERVER into indices of the Elasticsearch or OpenSearch at URL.

    Only ledgers that the indices lack are read, and a row that is written again replaces itself, so that the same
    command can be given again after any interruption. At the end the aliases of the indices are printed.
    """
    from elasticsearch_consumer.plan import Wanted
    from elasticsearch_consumer.run import Writing, run
    from elasticsearch_consumer.session import Access, Session
    from stellar_arrow_client.choice import choose

    if not _PREFIX.fullmatch(prefix):
        raise click.UsageError(
            "--prefix is of lower-case letters, digits and . _ - only, and begins with a letter or digit"
        )
    access = Access(user=user, password=password, api_key=api_key, ca=ca_file)
    session = Session(url, access, client.retry)
    wanted = [
        Wanted(f"{prefix}-{chosen.stream}", chosen, index_ledgers) for chosen in choose(client, streams, selection)
    ]
    writing = Writing(
        prefix=prefix,
        settings=dict(settings),
        add_columns=add_columns,
        connections=connections,
        bulk_bytes=bulk_bytes,
        checkpoint_seconds=checkpoint_seconds,
        dry_run=dry_run,
    )
    return run(client, session, wanted, writing, run_options)


def main() -> None:
    """Entry point of the script."""
    run_cli(load)
