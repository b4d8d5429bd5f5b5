"""The command ``postgres-consumer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellar_arrow_client.options import (
    Command,
    Names,
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

NONE = ("none",)
USUAL_INDEXES = ("transaction_id", "operation_id")


@click.command("postgres-consumer", cls=Command)
@client_options
@click.argument(
    "database",
    help="URI or key=value text of libpq, such as postgresql://user@host/name or service=stellar; what it leaves out "
    "comes from the PG… environment variables.",
)
@request_options(otherwise="where the table ends, or the latest one,")
@stream_option("Each goes into a table of its own.")
@option("--schema", default="public", metavar="NAME", help="Schema of the tables; created when it is not there.")
@option("--table", metavar="NAME", help="Name of the table of the one stream; that of the stream when left out.")
@option(
    "--partition-ledgers",
    type=click.IntRange(1, 2**32),
    metavar="LEDGERS",
    help="Make new tables partitioned by ranges of so many ledgers; a table cannot be changed later.",
)
@option(
    "--index",
    "indexes",
    type=Names(),
    default=",".join(USUAL_INDEXES),
    metavar="NAME,…",
    help="Columns to index, each for itself, where a stream has them; 'none' for none.",
)
@schema_change_option("table lacks")
@option(
    "--writers",
    type=click.IntRange(1, 64),
    default=1,
    help="Ranges of each stream that are read and written at the same time, up to the tip, which one follows then.",
)
@option(
    "--commit-rows",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    help="Rows after which a transaction ends at the latest.",
)
@option(
    "--commit-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="SECONDS",
    help="Time after which a transaction ends at the latest.",
)
@dry_run_option
@run_options
@standard_options("postgres-consumer")
def load(
    *,
    client: Client,
    database: str,
    selection: Selection,
    streams: tuple[str, ...],
    schema: str,
    table: str | None,
    partition_ledgers: int | None,
    indexes: tuple[str, ...],
    add_columns: bool,
    writers: int,
    commit_rows: int,
    commit_seconds: float,
    dry_run: bool,
    run_options: RunOptions,
) -> int:
    """Write streams of SERVER into tables of the PostgreSQL DATABASE.

    Rows and the position are committed together, and only ledgers that a table lacks are read, so that the same command
    can be given again after any interruption. At the end the names of the tables are printed.
    """
    from postgres_consumer.plan import Wanted, check_indexes
    from postgres_consumer.run import Writing, run
    from postgres_consumer.session import Database
    from postgres_consumer.tables import Table
    from stellar_arrow_client.choice import choose

    target = Database(database, client.retry)
    chosen = choose(client, streams, selection)
    if table is not None and len(chosen) > 1:
        raise click.UsageError("--table names the table of one stream; leave it out for several")
    names = () if indexes == NONE else indexes
    check_indexes([name for name in names if name not in USUAL_INDEXES], [one.schema for one in chosen])
    wanted = [
        Wanted(table=Table(schema, table or one.stream), chosen=one, partition_ledgers=partition_ledgers, indexes=names)
        for one in chosen
    ]
    writing = Writing(
        add_columns=add_columns,
        writers=writers,
        commit_rows=commit_rows,
        commit_seconds=commit_seconds,
        dry_run=dry_run,
    )
    return run(client, target, wanted, writing, run_options)


def main() -> None:
    """Entry point of the script."""
    run_cli(load)
