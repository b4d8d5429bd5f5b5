"""The commands that look after an archive: ``verify``, ``gaps``, ``info``, ``prune``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from parquet_consumer.values import Age, Place
from stellar_arrow_client.errors import ExitCode, IntegrityError
from stellar_arrow_client.options import Group, option, standard_options

if TYPE_CHECKING:
    from parquet_consumer.manifest import Manifest
    from parquet_consumer.storage import Storage


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

    Reads every file that is recorded: its size, checksum, ledgers and folder must be as recorded, and no other file
    may be there. Each fault is a line on stdout; the exit code is 4 if there is one.
    """
    from parquet_consumer.archive import find_archives
    from parquet_consumer.manifest import Manifest
    from parquet_consumer.upkeep import faults

    found = 0
    for archive in find_archives(output):
        before = found
        for fault in faults(archive):
            found += 1
            click.echo(fault)
        if found == before:
            click.echo(f"{archive} {_soundness(Manifest.load(archive))}", err=True)
    if found:
        raise IntegrityError(f"{output} is not whole: {found} fault{'s' if found > 1 else ''}, listed on stdout")
    return ExitCode.OK


def _soundness(manifest: Manifest) -> str:
    """What to say of an archive without fault."""
    ledgers = manifest.covered.count()
    if manifest.files:
        return f"is whole: {len(manifest.files)} files, {ledgers} ledgers"
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
    from parquet_consumer.archive import find_archives
    from parquet_consumer.manifest import Manifest

    archives, lacking = find_archives(output), 0
    for archive in archives:
        name = str(archive).rpartition("/")[2]
        for first, last in Manifest.load(archive).covered.gaps():
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
    from parquet_consumer.archive import find_archives
    from parquet_consumer.manifest import Manifest

    for archive in find_archives(output):
        for name, value in _facts(archive, Manifest.load(archive)):
            click.echo(f"{name + ':':<11}{value}")


def _facts(storage: Storage, manifest: Manifest) -> list[tuple[str, object]]:
    from parquet_consumer.partitions import Partitioning

    if manifest.archive is None:
        return [("archive", f"{storage} (nothing archived yet)")]
    files = list(manifest.files.values())
    covered = [f"{first} to {last}" for first, last in manifest.covered]
    times = [min(file.oldest for file in files), max(file.newest for file in files)] if files else []
    return [
        ("archive", storage.at(Partitioning.parse(manifest.archive.partition).glob)),
        ("stream", manifest.archive.stream),
        ("network", manifest.archive.network or "not known"),
        ("columns", ", ".join(manifest.archive.columns)),
        *([("filter", manifest.archive.filter)] if manifest.archive.filter else []),
        ("partition", manifest.archive.partition),
        ("ledgers", f"{manifest.covered.count()} ({', '.join(covered) or 'none'})"),
        ("files", f"{len(files)} ({manifest.pruned} pruned)"),
        ("rows", sum(file.rows for file in files)),
        ("bytes", sum(file.size for file in files)),
        *([("closed", " to ".join(times))] if times else []),
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

    The deleted files are listed on stdout. Their ledgers stay recorded, so that no run fetches them again. May be
    given while the archive is being written.
    """
    from parquet_consumer.archive import find_archives
    from parquet_consumer.upkeep import prune

    files = size = 0
    for archive in find_archives(output):
        for record in prune(archive, older_than, dry_run=dry_run):
            click.echo(archive.at(record.path))
            files, size = files + 1, size + record.size
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(
        f"{files} files, {size} bytes {verb}, closed before {older_than.isoformat(timespec='seconds')}", err=True
    )
