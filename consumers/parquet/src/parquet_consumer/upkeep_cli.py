"""The commands that look after an archive: ``verify``, ``gaps``, ``info``, ``prune``, ``optimize``, ``vacuum``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from parquet_consumer.values import Age, Duration, Place, Size
from stellar_arrow_client.errors import ExitCode, IntegrityError, OutputMismatchError
from stellar_arrow_client.options import Group, option, standard_options

if TYPE_CHECKING:
    from parquet_consumer.formats import Format, Records
    from parquet_consumer.storage import Storage
    from parquet_consumer.tables import Table


@click.group("parquet-consumer", cls=Group)
def upkeep() -> None:
    """Look after an archive."""


def _output_argument(function: Any) -> Any:
    return click.argument(
        "output", type=Place(exists=True), help="The folder, or s3://, gs:// or az:// prefix, that was archived into."
    )(function)


@upkeep.command()
@_output_argument
@standard_options("parquet-consumer")
def verify(output: Storage) -> int:
    """See that an archive is whole.

    Reads every file that is recorded: its size, checksum, ledgers and folder must be as recorded (those of a table:
    size and rows), and no other file may be there. Each fault is a line on stdout; the exit code is 4 if there is one.
    """
    from parquet_consumer.formats import PARQUET, find_archives
    from parquet_consumer.upkeep import faults, table_faults

    found = 0
    for archive, form in find_archives(output):
        before = found
        for fault in faults(archive) if form.name == PARQUET else table_faults(form.table(archive)):
            found += 1
            click.echo(fault)
        if found == before:
            click.echo(f"{archive} {_soundness(form.records(archive))}", err=True)
    if found:
        raise IntegrityError(f"{output} is not whole: {found} fault{'s' if found > 1 else ''}, listed on stdout")
    return ExitCode.OK


def _soundness(records: Records) -> str:
    """What to say of an archive without fault."""
    ledgers = records.covered.count()
    if files := sum(1 for _ in records.holdings()):
        return f"is whole: {files} files, {ledgers} ledgers"
    if ledgers:
        return f"holds no file: its {ledgers} ledgers have no rows, or were pruned"
    return "holds nothing: no ledger has been archived"


@upkeep.command()
@_output_argument
@standard_options("parquet-consumer")
def gaps(output: Storage) -> int:
    """List the ledgers that lack between the first and the last one.

    Each gap is a line on stdout, START:END as --range takes it; the exit code is 4 if there is one.
    """
    from parquet_consumer.formats import find_archives

    archives, lacking = find_archives(output), 0
    for archive, form in archives:
        name = str(archive).rpartition("/")[2]
        for first, last in form.records(archive).covered.gaps():
            lacking += last - first + 1
            click.echo(f"{first}:{last}" if len(archives) == 1 else f"{name}\t{first}:{last}")
    if lacking:
        raise IntegrityError(f"{output} lacks {lacking} ledgers; fetch them with --range")
    return ExitCode.OK


@upkeep.command()
@_output_argument
@standard_options("parquet-consumer")
def info(output: Storage) -> None:
    """Say what an archive holds."""
    from parquet_consumer.formats import find_archives

    for archive, form in find_archives(output):
        for name, value in _facts(archive, form):
            click.echo(f"{name + ':':<11}{value}")


def _facts(storage: Storage, form: Format) -> list[tuple[str, object]]:
    from parquet_consumer.partitions import Partitioning

    records = form.records(storage)
    archive = records.archive
    if archive is None:
        return [("archive", f"{storage} (nothing archived yet)")]
    files = list(records.holdings())
    covered = [f"{first} to {last}" for first, last in records.covered]
    return [
        ("archive", form.place(storage, Partitioning.parse(archive.partition))),
        ("format", form.name),
        ("stream", archive.stream),
        ("network", archive.network or "not known"),
        ("columns", ", ".join(archive.columns)),
        *([("filter", archive.filter)] if archive.filter else []),
        ("partition", archive.partition),
        ("ledgers", f"{records.covered.count()} ({', '.join(covered) or 'none'})"),
        ("files", len(files)),
        ("rows", sum(file.rows for file in files)),
        ("bytes", sum(file.size for file in files)),
        *records.further_facts(),
    ]


@upkeep.command()
@_output_argument
@option(
    "--older-than",
    required=True,
    type=Age(),
    metavar="AGE|DATE",
    help="Give up files whose rows all closed before: 90d, 12h, 2w ago, or a UTC date such as 2024-08-30.",
)
@option("--dry-run", is_flag=True, help="List the files only.")
@standard_options("parquet-consumer")
def prune(output: Storage, older_than: datetime, dry_run: bool) -> None:
    """Delete old files.

    The deleted files are listed on stdout. Their ledgers stay recorded, so that no run fetches them again. The files
    of a table are taken out of it in one commit; 'vacuum' then deletes them. May be given while the archive is being
    written.
    """
    from parquet_consumer.formats import PARQUET, Holding, find_archives
    from parquet_consumer.upkeep import prune

    count = size = 0
    for archive, form in find_archives(output):
        files: Sequence[Holding]
        if form.name == PARQUET:
            files = prune(archive, older_than, dry_run=dry_run)
        else:
            files = form.table(archive).prune(older_than, dry_run=dry_run)
        for file in files:
            click.echo(archive.at(file.path))
            count, size = count + 1, size + file.size
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(
        f"{count} files, {size} bytes {verb}, closed before {older_than.isoformat(timespec='seconds')}", err=True
    )


@upkeep.command()
@_output_argument
@option(
    "--target-size",
    type=Size(),
    default="256MB",
    envvar="MAX_FILE_SIZE",
    help="Bytes of a file up to which smaller ones are merged; units are powers of 1024.",
)
@standard_options("parquet-consumer")
def optimize(output: Storage, target_size: int) -> None:
    """Merge small files of a table.

    For delta and iceberg. Readers see either the files before or those after; 'vacuum' then frees the space of the
    former. May be given while the archive is being written.
    """
    for archive, table in _tables(output, "optimize"):
        removed, added = table.optimize(target_size)
        click.echo(f"{archive}: {removed} files merged into {added}", err=True)


@upkeep.command()
@_output_argument
@option(
    "--keep",
    type=Duration(),
    default="7d",
    metavar="DURATION",
    help="How far back older versions of the table stay readable: 7d, 12h, 2w; at least 1h, so that nothing is "
    "deleted that a running process is about to record.",
)
@option("--dry-run", is_flag=True, help="List the files only.")
@standard_options("parquet-consumer")
def vacuum(output: Storage, keep: timedelta, dry_run: bool) -> None:
    """Delete files that no version of a table needs.

    For delta and iceberg: gives up older versions, and deletes what 'prune' and 'optimize' have replaced. The deleted
    files are listed on stdout. May be given while the archive is being written.
    """
    for archive, table in _tables(output, "vacuum"):
        files = table.vacuum(keep, dry_run=dry_run)
        for path in files:
            click.echo(archive.at(path))
        click.echo(f"{archive}: {len(files)} files {'would be deleted' if dry_run else 'deleted'}", err=True)


def _tables(output: Storage, command: str) -> Iterator[tuple[Storage, Table]]:
    """The tables at a place.

    Raises:
        OutputMismatchError: there are plain Parquet files instead.
    """
    from parquet_consumer.formats import PARQUET, find_archives

    for archive, form in find_archives(output):
        if form.name == PARQUET:
            raise OutputMismatchError(
                f"{archive} is no table: {command} is for --format delta and iceberg; --max-file-size and --interval "
                "say how large the files of a plain archive become"
            )
        yield archive, form.table(archive)
