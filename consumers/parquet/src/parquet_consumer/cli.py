"""The command ``parquet-consumer``."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from parquet_consumer.upkeep_cli import upkeep
from parquet_consumer.values import COMPRESSIONS, FORMATS, Bounds, LedgerRange, Place, Size
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import (
    Choice,
    Command,
    RunOptions,
    Selection,
    client_options,
    dry_run_option,
    option,
    request_options,
    run_cli,
    run_options,
    standard_options,
    stream_option,
)

if TYPE_CHECKING:
    from parquet_consumer.files import FileOptions
    from parquet_consumer.formats import Format
    from parquet_consumer.partitions import Partitioning
    from parquet_consumer.plan import Target
    from parquet_consumer.storage import Storage
    from stellar_arrow_client.client import Client

log = logging.getLogger(__name__)


@click.command(
    "parquet-consumer",
    cls=Command,
    tools=upkeep,
)
@client_options
@click.argument(
    "output",
    type=Place(),
    help="Where the archive is: a folder, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix; "
    "?endpoint=URL, region=, account= may follow. Credentials come from the environment.",
)
@request_options(otherwise="where the archive ends, or the latest one,")
@option(
    "--range",
    "bounds",
    type=LedgerRange(),
    envvar="PARQUET_CONSUMER_RANGE",
    metavar="START:END",
    help="The same as START_LEDGER and END_LEDGER.",
)
@stream_option("Several go into a folder each.")
@option(
    "--format",
    "form",
    type=Choice(FORMATS),
    default="parquet",
    envvar="PARQUET_CONSUMER_FORMAT",
    help="What keeps track of the files: parquet for a manifest beside them, or a table format. delta and iceberg "
    "need the extra of that name: pip install 'parquet-consumer[delta]'.",
)
@option(
    "--catalog",
    envvar="PARQUET_CONSUMER_CATALOG",
    metavar="ADDRESS",
    help="Catalog of --format iceberg: http://host:8181 (REST), sqlite:////path/catalog.db, or a name in "
    "~/.pyiceberg.yaml; a file in OUTPUT when left out.",
)
@option(
    "--namespace",
    default="stellar",
    envvar="PARQUET_CONSUMER_NAMESPACE",
    metavar="NAME",
    help="Namespace of the tables in the catalog; a table is named after its stream.",
)
@option(
    "--partition",
    default="hive",
    envvar="PARTITION_FORMAT",
    metavar="FORMAT",
    help="Folders by close time (UTC): hive for date=YYYY-MM-DD, a Go layout such as 2006/01/02, a strftime one "
    "such as %Y/%m/%d; by ledgers: ledgers:N; or none.",
)
@option(
    "--max-file-size",
    type=Size(),
    default="256MB",
    envvar="MAX_FILE_SIZE",
    help="Bytes on disk at which a file is completed; units are powers of 1024.",
)
@option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    envvar="ARCHIVE_INTERVAL_MINUTES",
    metavar="MINUTES",
    help="Time after which an open file is completed at the latest.",
)
@option(
    "--row-group-rows",
    type=click.IntRange(1, 2**26),
    default=1_000_000,
    envvar="ARCHIVE_BUFFER_SIZE",
    metavar="ROWS",
    help="Rows to hold before they are written as a row group; fewer make files larger and slower to query.",
)
@option(
    "--compression",
    type=Choice(COMPRESSIONS),
    default="zstd",
    envvar="COMPRESSION",
    help="Compression of the files.",
)
@dry_run_option
@run_options
@standard_options("parquet-consumer")
def archive(
    *,
    client: Client,
    output: Storage,
    selection: Selection,
    bounds: Bounds | None,
    streams: tuple[str, ...],
    form: str,
    catalog: str | None,
    namespace: str,
    partition: str,
    max_file_size: int,
    interval: float,
    row_group_rows: int,
    compression: str,
    dry_run: bool,
    run_options: RunOptions,
) -> int:
    """Archive streams of SERVER as Parquet files in OUTPUT.

    A run goes on where the archive stops and fetches only ledgers that it lacks, so that the same command can be
    given again after any interruption. At the end the pattern of the files is printed, to be pasted into a query.
    """
    from parquet_consumer.files import FileOptions
    from parquet_consumer.formats import Format
    from parquet_consumer.partitions import Partitioning
    from parquet_consumer.plan import plan_targets

    if bounds is not None:
        if selection.start is not None:
            raise click.UsageError("give the range as START_LEDGER END_LEDGER or with --range, not both")
        selection = replace(selection, start=bounds.start, end=bounds.end)
    partitioning = Partitioning.parse(partition)
    kept_by = Format(form, catalog, namespace)
    options = FileOptions(compression=compression, max_file_size=max_file_size, row_group_rows=row_group_rows)
    targets = plan_targets(client, output, streams, selection, partitioning, kept_by)
    if dry_run:
        for target in targets:
            click.echo(target)
        return ExitCode.OK
    return _run(client, targets, kept_by, partitioning, options, run_options, interval)


def _run(
    client: Client,
    targets: list[Target],
    kept_by: Format,
    partitioning: Partitioning,
    options: FileOptions,
    run_options: RunOptions,
    interval: float,
) -> int:
    from parquet_consumer.archive import Archive
    from parquet_consumer.row_groups import RowGroups
    from parquet_consumer.sink import ParquetSink
    from stellar_arrow_client.planning import run_plans

    row_groups = RowGroups()
    archives: dict[str, Archive] = {}
    with ExitStack() as stack:
        for target in targets:
            archives[target.output] = archive = Archive(target.storage, kept_by, target.chosen.stream)
            stack.callback(archive.close)
        exit_code = run_plans(
            targets,
            client,
            lambda target, _stop: ParquetSink(archives[target.output], partitioning, options, row_groups),
            options=run_options,
            checkpoint_seconds=interval * 60,
        )
    full: Target | None = None
    for target in targets:
        click.echo(target.output)
        if next(archives[target.output].records.holdings(), None) is not None:
            full = full or target
        else:
            log.info("%s: no row so far; %s", target.storage, kept_by.query_columns(target.storage))
    if full is not None:
        log.info("%s", kept_by.query(full.storage, partitioning))
    return exit_code


def main() -> None:
    """Entry point of the script."""
    run_cli(archive)
