"""The command ``elasticsearch-consumer``."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from elasticsearch_consumer.dashboard_cli import tools
from stellar_arrow_client.options import (
    Choice,
    Command,
    RunOptions,
    Selection,
    client_options,
    complete_streams,
    option,
    request_options,
    run_cli,
    run_options,
    standard_options,
)

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_MIB: Final = 1024 * 1024


class Setting(click.ParamType[tuple[str, str]]):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, content = str(value).partition("=")
        if not equals or not name.strip():
            self.fail("write it as name=value, such as index.number_of_replicas=0", param, ctx)
        return name.strip(), content.strip()


@click.command(
    "elasticsearch-consumer",
    cls=Command,
    epilog="Also: elasticsearch-consumer dashboard; see 'elasticsearch-consumer dashboard --help'.",
)
@client_options
@click.argument(
    "url",
    help="Elasticsearch or OpenSearch: http://host:9200 or https://user@host:9200, with commas between several nodes.",
)
@request_options()
@option(
    "--stream",
    "streams",
    multiple=True,
    default=["payments"],
    metavar="NAME[,…]",
    shell_complete=complete_streams,
    help="Streams to write, with commas between them, or 'all'; may be repeated. Each has indices of its own.",
)
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
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Setting of new indices, such as index.number_of_replicas=0; may be repeated.",
)
@option(
    "--schema-change",
    type=Choice(["refuse", "add"]),
    default="refuse",
    help="What to do with columns that a stream has and its indices lack.",
)
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
@option("--dry-run", is_flag=True, help="Say what would be read and into which indices it would go; write nothing.")
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
    schema_change: str,
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
    from elasticsearch_consumer.plan import Wanted, with_ledger
    from elasticsearch_consumer.run import Writing, run
    from elasticsearch_consumer.session import Access, Session
    from stellar_arrow_client.choice import chosen_streams

    if not _PREFIX.fullmatch(prefix):
        raise click.UsageError(
            "--prefix is of lower-case letters, digits and . _ - only, and begins with a letter or digit"
        )
    access = Access(user=user, password=password, api_key=api_key, ca=ca_file)
    session = Session(url, access, client.retry)
    selected = replace(selection, columns=with_ledger(selection.columns))
    wanted = [
        Wanted(f"{prefix}-{name}", client.schema(name, selected.columns), selected.request(name), index_ledgers)
        for name in (stream.name for stream in chosen_streams(client, streams))
    ]
    writing = Writing(
        prefix=prefix,
        settings=dict(settings),
        add_columns=schema_change == "add",
        connections=connections,
        bulk_bytes=bulk_bytes,
        checkpoint_seconds=checkpoint_seconds,
        dry_run=dry_run,
    )
    return run(client, session, wanted, writing, run_options)


def main() -> None:
    """Entry point of the script: the writing command, or one of those beside it."""
    run_cli(tools if sys.argv[1:2] and sys.argv[1] in tools.commands else load)
