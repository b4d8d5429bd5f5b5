"""What goes where: streams, and indices that are made ready for them or turn out to hold something else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

import pyarrow as pa

from elasticsearch_consumer.checkpoints import Checkpoint, Checkpoints, Content
from elasticsearch_consumer.errors import DocumentError, IndexMismatchError
from elasticsearch_consumer.fields import LEDGER, properties_of
from elasticsearch_consumer.indices import Series
from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest

_CHOOSE: Final = "choose another --prefix"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stream and the indices that it goes into.

    Attributes:
        alias: of the indices.
        schema: of the stream.
        request: range, columns and condition.
        index_ledgers: ledgers of an index; None for what it is, or the default when they are new.
    """

    alias: str
    schema: pa.Schema
    request: StreamRequest
    index_ledgers: int | None

    def content(self, default_index_ledgers: int) -> Content:
        """What the indices will hold."""
        metadata = self.schema.metadata or {}
        network = metadata.get(b"network_passphrase", metadata.get(b"network", b"")).decode(errors="replace")
        version = metadata.get(b"schema_version", b"")
        if not (version.isdigit() and len(version) < 9):
            raise DocumentError(f"the server does not say which version the columns of {self.request.stream} have")
        return Content(
            stream=self.request.stream,
            network=network or None,
            schema_version=int(version),
            columns=tuple(self.schema.names),
            filter=self.request.filter,
            index_ledgers=self.index_ledgers or default_index_ledgers,
        )

    @property
    def properties(self) -> Mapping[str, Any]:
        """The fields of the mapping."""
        return properties_of(self.schema)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the mapping says of itself."""
        metadata = {key.decode(): value.decode(errors="replace") for key, value in (self.schema.metadata or {}).items()}
        notes = {field.name: (field.metadata or {}).get(b"description", b"") for field in self.schema}
        return metadata | {"columns": {name: note.decode(errors="replace") for name, note in notes.items() if note}}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the indices of one stream.

    Attributes:
        checkpoint: as it will be when the run begins.
        new_columns: fields that the indices lack.
        missing: what to read, ascending; the last one may follow the tip.
    """

    wanted: Wanted
    series: Series
    checkpoint: Checkpoint
    new_columns: tuple[str, ...]
    missing: tuple[StreamRequest, ...]

    def __str__(self) -> str:
        stream, place = self.wanted.request.stream, self.series.alias
        if not self.missing:
            return f"{stream}: already complete in {place}"
        ranges = ", ".join(
            f"from {part.start or 'the latest one'} on" if part.end is None else f"{part.start} to {part.end}"
            for part in self.missing
        )
        columns = ",".join(self.wanted.schema.names)
        return f"{stream}: ledgers {ranges} would be written to {place} with the columns {columns}"


def with_ledger(columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Columns wanted, that of the ledger before all others."""
    return columns and (LEDGER, *(name for name in columns if name != LEDGER))


def make_plan(
    client: Client, checkpoints: Checkpoints, wanted: Wanted, *, default_index_ledgers: int, add_columns: bool
) -> Plan:
    """Decide what to do, from the checkpoint; changes nothing.

    Args:
        add_columns: whether columns that are new in the stream may be added.

    Raises:
        IndexMismatchError, DocumentError: the indices hold something else.
    """
    content = wanted.content(default_index_ledgers)
    checkpoint = checkpoints.find(wanted.alias)
    new: tuple[str, ...] = ()
    if checkpoint is None:
        checkpoint = Checkpoint(content)
    else:
        new = _check(wanted, checkpoint.content, content, add_columns)
        known = checkpoint.content
        checkpoint.content = replace(known, network=known.network or content.network, columns=(*known.columns, *new))
    request = wanted.request
    start = request.start
    if start is None:
        for first, last in checkpoint.ledgers.gaps():
            log.warning("%s lacks ledgers %s to %s; give them as START and END", wanted.alias, first, last)
        held = checkpoint.ledgers.last
        start = client.latest_ledger() if held is None else held + 1
    missing = [replace(request, start=start)]
    if start is not None:
        missing = [
            replace(request, start=first, end=last) for first, last in checkpoint.ledgers.missing(start, request.end)
        ]
    series = Series(wanted.alias, checkpoint.content.index_ledgers)
    return Plan(wanted, series, checkpoint, new, tuple(missing))


def _check(wanted: Wanted, known: Content, content: Content, add_columns: bool) -> tuple[str, ...]:
    """See that indices hold what is wanted; gives the columns that they lack."""
    alias = wanted.alias
    if known.stream != content.stream:
        raise IndexMismatchError(f"{alias} holds {known.stream}, not {content.stream}; {_CHOOSE}")
    if known.network and content.network and known.network != content.network:
        raise DocumentError(
            f"{alias} holds ledgers of {known.network!r} but the server gives those of {content.network!r}; {_CHOOSE}"
        )
    if known.filter != content.filter:
        held = f"the rows with {known.filter}" if known.filter else "all rows"
        raise IndexMismatchError(f"{alias} holds {held}; give the same --filter or {_CHOOSE}")
    if wanted.index_ledgers not in (None, known.index_ledgers):
        raise IndexMismatchError(
            f"{alias} has indices of {known.index_ledgers} ledgers, which cannot be changed; leave out --index-ledgers "
            f"or {_CHOOSE}"
        )
    if known.schema_version != content.schema_version:
        raise IndexMismatchError(
            f"{alias} holds version {known.schema_version} of the columns of {known.stream}, the server gives version "
            f"{content.schema_version}, in which columns mean something else; {_CHOOSE}"
        )
    gone = [name for name in known.columns if name not in content.columns]
    if gone:
        raise IndexMismatchError(
            f"{alias} has the column {gone[0]}, which is not asked for or which the stream has no more; give it in "
            f"--columns or {_CHOOSE}"
        )
    new = tuple(name for name in content.columns if name not in known.columns)
    if new and not add_columns:
        raise IndexMismatchError(
            f"{alias} lacks {', '.join(new)}; give --schema-change add to add them (old documents do not get "
            f"them) or --columns {','.join(known.columns)} to go on without"
        )
    return new


def rounds(plans: Sequence[Plan]) -> Iterator[list[tuple[Plan, StreamRequest]]]:
    """What to read at the same time: the streams' first missing ranges, their second ones, …; at last the tips."""
    bounded = [[(plan, part) for part in plan.missing if part.end is not None] for plan in plans]
    for step in zip_longest(*bounded):
        yield [part for part in step if part is not None]
    tips = [(plan, part) for plan in plans for part in plan.missing if part.end is None]
    if tips:
        yield tips
