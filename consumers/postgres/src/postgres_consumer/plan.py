"""What goes where: streams, and tables that are made ready for them or turn out to hold something else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from postgres_consumer.checkpoints import Checkpoints, TableContent
from postgres_consumer.columns import Column, columns_of
from postgres_consumer.session import Connection
from postgres_consumer.tables import Table
from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.errors import OutputMismatchError, UnknownColumnError
from stellar_arrow_client.options import did_you_mean

log = logging.getLogger(__name__)


_ELSEWHERE: Final = "choose another --table or --schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A stream and the table that it goes into.

    Attributes:
        partition_ledgers: None for a table as it is, or without partitions when it is new.
        indexes: columns to index, where the stream has them.
    """

    table: Table
    chosen: Chosen
    partition_ledgers: int | None
    indexes: tuple[str, ...]

    @property
    def content(self) -> TableContent:
        """What the table will hold."""
        return TableContent.of(self.chosen, partition_ledgers=self.partition_ledgers)


def check_indexes(names: Sequence[str], schemas: Iterable[pa.Schema]) -> None:
    """See that every column to index is one of a stream.

    Raises:
        UnknownColumnError: none has it; names the nearest.
    """
    known = sorted({column for schema in schemas for column in schema.names})
    for name in names:
        if name not in known:
            raise UnknownColumnError(f"no stream has a column {name!r} to index{did_you_mean(name, known)}")


def prepare(connection: Connection, checkpoints: Checkpoints, wanted: Wanted, *, add_columns: bool) -> TableContent:
    """Create the table, or see that it fits.

    Args:
        add_columns: whether to add columns that are new in the stream.

    Returns:
        What the table holds.

    Raises:
        OutputMismatchError, IntegrityError: it holds something else.
    """
    columns, content = columns_of(wanted.chosen.schema), wanted.content
    exists = wanted.table.exists(connection)
    known = checkpoints.find(connection, wanted.table)
    if exists != (known is not None):
        raise OutputMismatchError(
            f"{wanted.table} exists, but was not made by postgres-consumer; {_ELSEWHERE}"
            if exists
            else f"{wanted.table} was dropped, but its checkpoint is still there; to fill it anew, DELETE FROM "
            f"{wanted.table.schema}.stellar_arrow_checkpoints WHERE table_name = '{wanted.table.name}'"
        )
    if known is None:
        wanted.table.create(connection, columns, wanted.chosen.description, wanted.partition_ledgers)
    else:
        content = _fit(connection, wanted, known, content, columns, add_columns)
    present = [name for name in wanted.indexes if name in content.columns]
    wanted.table.add_indexes(connection, present)
    if content != known:
        checkpoints.describe(connection, wanted.table, content)
    return content


def _fit(
    connection: Connection,
    wanted: Wanted,
    known: TableContent,
    content: TableContent,
    columns: Sequence[Column],
    add_columns: bool,
) -> TableContent:
    """See that what a table holds is of the same kind as what is wanted; the latter, in the table's terms."""
    table = wanted.table
    lacking = known.check(content, table, _ELSEWHERE)
    if content.partition_ledgers not in (None, known.partition_ledgers):
        held = (
            f"has partitions of {known.partition_ledgers} ledgers" if known.partition_ledgers else "has no partitions"
        )
        raise OutputMismatchError(
            f"{table} {held}, which cannot be changed; leave out --partition-ledgers or {_ELSEWHERE}"
        )
    _check_columns(connection, table, known, columns)
    new = [column for column in columns if column.name in lacking]
    if strict := [column.name for column in new if not column.nullable]:
        raise OutputMismatchError(
            f"{table} lacks {', '.join(lacking)}, which cannot be added as {strict[0]} is never null; give --columns "
            f"{','.join(known.columns)} or {_ELSEWHERE}"
        )
    known.check_lacking(lacking, table, "rows that are there get null", add_columns=add_columns)
    if new:
        table.add_columns(connection, new)
        log.info("%s: added %s", table, ", ".join(lacking))
    return replace(
        content,
        network=known.network or content.network,
        columns=(*known.columns, *lacking),
        partition_ledgers=known.partition_ledgers,
    )


def _check_columns(connection: Connection, table: Table, known: TableContent, columns: Sequence[Column]) -> None:
    """See that the columns that table and stream share are the same."""
    there = table.columns(connection)
    offered = {column.name: column for column in columns}
    for name in known.columns:
        if name not in there:
            raise OutputMismatchError(f"the column {name} of {table} was dropped; {_ELSEWHERE}")
        type_, nullable = there[name]
        column = offered[name]
        if type_ != column.type or (column.nullable and not nullable):
            kinds = ((type_, nullable), (column.type, column.nullable))
            before, now = (f"{kind}{'' if null else ' not null'}" for kind, null in kinds)
            raise OutputMismatchError(
                f"the column {name} of {table} is {before}, the stream now needs {now}; {_ELSEWHERE}"
            )
