"""What a run fetches and where it writes it: decided from the archives' manifests before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parquet_consumer.archive import check_same, describe
from parquet_consumer.formats import Format, format_of, inner_archives
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import REQUIRED_COLUMNS
from parquet_consumer.storage import Storage
from stellar_arrow_client.choice import Chosen, choose
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.options import Selection
from stellar_arrow_client.planning import Plan, find_missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Plan):
    """What to fetch of one stream, and its archive."""

    storage: Storage


def plan_targets(
    client: Client,
    output: Storage,
    streams: Sequence[str],
    selection: Selection,
    partitioning: Partitioning,
    form: Format | None = None,
) -> list[Target]:
    """What to fetch for each stream.

    One stream is archived in ``output`` itself, several each in a folder of their own in it.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
        OutputMismatchError, IntegrityError: an archive holds something else.
        StellarArrowError: the server cannot be reached, a manifest cannot be read.
    """
    form = form or Format()
    form.check(partitioning)
    chosen = choose(client, streams, selection, first=tuple(REQUIRED_COLUMNS))
    _check_layout(output, [one.stream for one in chosen])
    return [
        _plan_target(client, output if len(chosen) == 1 else output.within(one.stream), one, partitioning, form)
        for one in chosen
    ]


def _check_layout(output: Storage, names: Sequence[str]) -> None:
    """One folder holds one stream: refuse to nest archives."""
    if len(names) == 1:
        inner = inner_archives(output)
        if inner:
            raise OutputMismatchError(
                f"{output} holds an archive for each of {', '.join(inner)}; write to {output.at(names[0])}"
            )
    elif format_of(output):
        raise OutputMismatchError(f"{output} is an archive of one stream; choose another folder for several")


def _plan_target(client: Client, storage: Storage, chosen: Chosen, partitioning: Partitioning, form: Format) -> Target:
    records = form.records(storage, chosen.stream)
    records.schema(chosen.schema)
    known = records.archive
    if known is not None:
        check_same(storage, known, describe(chosen.schema, chosen.request, partitioning), grows=records.grows)
    # Where nothing was fetched yet, the first run may have been told where to begin.
    begin = known.start if known is not None else None
    latest = client.latest_ledger if begin is None else lambda: begin
    missing = find_missing(chosen.request, records.covered, storage, latest)
    return Target(output=form.place(storage, partitioning), chosen=chosen, missing=missing, storage=storage)
