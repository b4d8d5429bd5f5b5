"""What goes where: streams, and indices that are made ready for them or turn out to hold something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from elasticsearch_consumer.checkpoints import Checkpoint, Checkpoints, SeriesContent
from elasticsearch_consumer.fields import properties_of
from elasticsearch_consumer.indices import Series
from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.planning import Plan, find_missing

DEFAULT_INDEX_LEDGERS: Final = 100_000
_ELSEWHERE: Final = "choose another --prefix"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stream and the indices that it goes into.

    Attributes:
        alias: of the indices.
        index_ledgers: ledgers of an index; None for what it is, or the default when they are new.
    """

    alias: str
    chosen: Chosen
    index_ledgers: int | None

    @property
    def content(self) -> SeriesContent:
        """What the indices will hold."""
        return SeriesContent.of(self.chosen, index_ledgers=self.index_ledgers or DEFAULT_INDEX_LEDGERS)


def about(schema: pa.Schema) -> Mapping[str, Any]:
    """What a mapping says of itself."""
    metadata = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
    notes = {field.name: (field.metadata or {}).get(b"description", b"") for field in schema}
    return metadata | {"columns": {name: note.decode(errors="replace") for name, note in notes.items() if note}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan(Plan):
    """What to do with the indices of one stream.

    Attributes:
        checkpoint: as it will be when the run begins.
        new_columns: fields that the indices lack.
    """

    series: Series
    checkpoint: Checkpoint
    new_columns: tuple[str, ...]

    @property
    def properties(self) -> Mapping[str, Any]:
        """The fields of the mapping."""
        return properties_of(self.chosen.schema)


def make_plan(client: Client, checkpoints: Checkpoints, wanted: Wanted, *, add_columns: bool) -> SeriesPlan:
    """Decide what to do, from the checkpoint; changes nothing.

    Args:
        add_columns: whether columns that are new in the stream may be added.

    Raises:
        OutputMismatchError, IntegrityError: the indices hold something else.
    """
    content = wanted.content
    checkpoint = checkpoints.find(wanted.alias)
    new: tuple[str, ...] = ()
    if checkpoint is None:
        checkpoint = Checkpoint(content)
    else:
        known = checkpoint.content
        new = known.check(content, wanted.alias, _ELSEWHERE)
        if wanted.index_ledgers not in (None, known.index_ledgers):
            raise OutputMismatchError(
                f"{wanted.alias} has indices of {known.index_ledgers} ledgers, which cannot be changed; leave out "
                f"--index-ledgers or {_ELSEWHERE}"
            )
        known.check_lacking(new, wanted.alias, "old documents do not get them", add_columns=add_columns)
        checkpoint.content = replace(known, network=known.network or content.network, columns=(*known.columns, *new))
    return SeriesPlan(
        output=wanted.alias,
        chosen=wanted.chosen,
        missing=find_missing(wanted.chosen.request, checkpoint.ledgers, wanted.alias, client.latest_ledger),
        series=Series(wanted.alias, checkpoint.content.index_ledgers),
        checkpoint=checkpoint,
        new_columns=new,
    )
