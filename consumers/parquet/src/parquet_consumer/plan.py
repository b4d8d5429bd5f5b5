"""What a run fetches and where it writes it: decided from the archives' manifests before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pyarrow as pa

from parquet_consumer.archive import check_same, describe
from parquet_consumer.errors import ArchiveMismatchError
from parquet_consumer.formats import Format, Records, format_of, inner_archives
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import REQUIRED_COLUMNS
from parquet_consumer.storage import Storage
from stellar_arrow_client.choice import chosen_streams
from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One stream and its archive.

    Attributes:
        storage: of the archive.
        schema: of the stream.
        request: what is asked for, whether or not the archive holds parts of it.
        missing: the sub-ranges to fetch, ascending; the end of the last one is None to follow the tip.
        gaps: ranges that a request which goes on where the archive ends leaves missing.
    """

    storage: Storage
    schema: pa.Schema
    request: StreamRequest
    missing: tuple[StreamRequest, ...]
    gaps: tuple[tuple[int, int], ...]


def plan_targets(
    client: Client,
    output: Storage,
    streams: Sequence[str],
    wanted: StreamRequest,
    partitioning: Partitioning,
    form: Format | None = None,
) -> list[Target]:
    """What to fetch for each stream; ``wanted`` gives range, columns and filter.

    One stream is archived in ``output`` itself, several each in a folder of their own in it.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
        ArchiveMismatchError, IntegrityError: an archive holds something else.
        StellarArrowError: the server cannot be reached, a manifest cannot be read.
    """
    form = form or Format()
    form.check(partitioning)
    names = [stream.name for stream in chosen_streams(client, streams)]
    _check_layout(output, names)
    return [
        _plan_target(client, output if len(names) == 1 else output.within(name), name, wanted, partitioning, form)
        for name in names
    ]


def _check_layout(output: Storage, names: Sequence[str]) -> None:
    """One folder holds one stream: refuse to nest archives."""
    if len(names) == 1:
        inner = inner_archives(output)
        if inner:
            raise ArchiveMismatchError(
                f"{output} holds an archive for each of {', '.join(inner)}; write to {output.at(names[0])}"
            )
    elif format_of(output):
        raise ArchiveMismatchError(f"{output} is an archive of one stream; choose another folder for several")


def _plan_target(
    client: Client, storage: Storage, stream: str, wanted: StreamRequest, partitioning: Partitioning, form: Format
) -> Target:
    columns = wanted.columns
    if columns is not None:
        columns = (*REQUIRED_COLUMNS, *(name for name in columns if name not in REQUIRED_COLUMNS))
    schema = client.schema(stream, columns)
    records = form.records(storage, stream)
    records.schema(schema)
    start = wanted.start if wanted.start is not None else _begin(client, records)
    request = StreamRequest(stream, start, wanted.end, columns, wanted.filter)
    if records.archive is not None:
        check_same(storage, records.archive, describe(schema, request, partitioning), grows=records.grows)
    missing = [request]
    if start is not None:
        missing = [
            StreamRequest(stream, first, last, columns, wanted.filter)
            for first, last in records.covered.missing(start, wanted.end)
        ]
    gaps = records.covered.gaps() if wanted.start is None else []
    return Target(storage=storage, schema=schema, request=request, missing=tuple(missing), gaps=tuple(gaps))


def _begin(client: Client, records: Records) -> int | None:
    """Where a run without a start begins: where the archive ends, where its first run was to begin, at the tip."""
    if records.covered.last is not None:
        return records.covered.last + 1
    if records.archive is not None and records.archive.start is not None:
        return records.archive.start
    return client.latest_ledger()


def rounds(targets: Sequence[Target]) -> Iterator[list[tuple[Target, StreamRequest]]]:
    """What to fetch at the same time: the streams' first missing ranges, their second ones, …; at last the tips."""
    bounded = [[(target, part) for part in target.missing if part.end is not None] for target in targets]
    for step in zip_longest(*bounded):
        yield [part for part in step if part is not None]
    tips = [(target, part) for target in targets for part in target.missing if part.end is None]
    if tips:
        yield tips
