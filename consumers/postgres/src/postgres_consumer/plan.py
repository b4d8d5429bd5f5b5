"""What goes where: streams, and tables that are made ready for them or turn out to hold something else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from postgres_consumer.checkpoints import Checkpoints, Content
from postgres_consumer.columns import LEDGER, Column, columns_of
from postgres_consumer.errors import TableIntegrityError, TableMismatchError
from postgres_consumer.session import Connection
from postgres_consumer.tables import Table
from stellar_arrow_client.errors import UnknownColumnError
from stellar_arrow_client.options import did_you_mean
from stellar_arrow_client.request import StreamRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A stream and the table that it goes into.

    Attributes:
        schema: of the stream.
        request: range, columns and condition.
        description: of the stream, which becomes that of the table.
        partition_ledgers: None for a table as it is, or without partitions when it is new.
        indexes: columns to index, where the stream has them.
    """

    table: Table
    schema: pa.Schema
    request: StreamRequest
    description: str
    partition_ledgers: int | None
    indexes: tuple[str, ...]

    @property
    def content(self) -> Content:
        """What the table will hold."""
        metadata = self.schema.metadata or {}
        network = metadata.get(b"network_passphrase", metadata.get(b"network", b"")).decode(errors="replace")
        version = metadata.get(b"schema_version", b"")
        if not (version.isdigit() and len(version) < 9):
            raise TableIntegrityError(
                f"the server does not say which version the columns of {self.request.stream} have"
            )
        return Content(
            stream=self.request.stream,
            network=network or None,
            schema_version=int(version),
            columns=tuple(self.schema.names),
            filter=self.request.filter,
            partition_ledgers=self.partition_ledgers,
        )


def check_indexes(names: Sequence[str], schemas: Iterable[pa.Schema]) -> None:
    """See that every column to index is one of a stream.

    Raises:
        UnknownColumnError: none has it; names the nearest.
    """
    known = sorted({column for schema in schemas for column in schema.names})
    for name in names:
        if name not in known:
            raise UnknownColumnError(f"no stream has a column {name!r} to index{did_you_mean(name, known)}")


def with_ledger(columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Columns wanted, and that of the ledger, which tables need."""
    if columns is None or LEDGER in columns:
        return columns
    return (LEDGER, *columns)


def prepare(connection: Connection, checkpoints: Checkpoints, wanted: Wanted, *, add_columns: bool) -> Content:
    """Create the table, or see that it fits.

    Args:
        add_columns: whether to add columns that are new in the stream.

    Returns:
        What the table holds.

    Raises:
        TableMismatchError, TableIntegrityError: it holds something else.
    """
    columns, content = columns_of(wanted.schema), wanted.content
    exists = wanted.table.exists(connection)
    known = checkpoints.find(connection, wanted.table)
    if exists != (known is not None):
        raise TableMismatchError(
            f"{wanted.table} exists, but was not made by postgres-consumer; choose another --table or --schema"
            if exists
            else f"{wanted.table} was dropped, but its checkpoint is still there; to fill it anew, DELETE FROM "
            f"{wanted.table.schema}.stellar_arrow_checkpoints WHERE table_name = '{wanted.table.name}'"
        )
    if known is None:
        wanted.table.create(connection, columns, wanted.description, wanted.partition_ledgers)
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
    known: Content,
    content: Content,
    columns: Sequence[Column],
    add_columns: bool,
) -> Content:
    """See that what a table holds is of the same kind as what is wanted; the latter, in the table's terms."""
    table, choose = wanted.table, "choose another --table or --schema"
    if known.stream != content.stream:
        raise TableMismatchError(f"{table} holds {known.stream}, not {content.stream}; {choose}")
    if known.network and content.network and known.network != content.network:
        raise TableIntegrityError(
            f"{table} holds ledgers of {known.network!r} but the server gives those of {content.network!r}; {choose}"
        )
    if known.filter != content.filter:
        held = f"the rows with {known.filter}" if known.filter else "all rows"
        raise TableMismatchError(f"{table} holds {held}; give the same --filter or {choose}")
    if content.partition_ledgers not in (None, known.partition_ledgers):
        held = (
            f"has partitions of {known.partition_ledgers} ledgers" if known.partition_ledgers else "has no partitions"
        )
        raise TableMismatchError(f"{table} {held}, which cannot be changed; leave out --partition-ledgers or {choose}")
    new = [column for column in columns if column.name not in known.columns]
    _check_columns(connection, table, known, columns)
    if known.schema_version != content.schema_version:
        raise TableMismatchError(
            f"{table} holds version {known.schema_version} of the columns of {known.stream}, the server gives version "
            f"{content.schema_version}, in which columns mean something else; {choose}"
        )
    if new:
        names = ", ".join(column.name for column in new)
        strict = [column.name for column in new if not column.nullable]
        if strict:
            raise TableMismatchError(
                f"{table} lacks {names}, which cannot be added as {strict[0]} is never null; give --columns "
                f"{','.join(known.columns)} or {choose}"
            )
        if not add_columns:
            raise TableMismatchError(
                f"{table} lacks {names}; give --schema-change add to add them (rows that are there get null) or "
                f"--columns {','.join(known.columns)} to go on without"
            )
        table.add_columns(connection, new)
        log.info("%s: added %s", table, names)
    return replace(
        content,
        network=known.network or content.network,
        columns=(*known.columns, *(column.name for column in new)),
        partition_ledgers=known.partition_ledgers,
    )


def _check_columns(connection: Connection, table: Table, known: Content, columns: Sequence[Column]) -> None:
    """See that the columns that table and stream share are the same, and that the stream has all of the table."""
    there = table.columns(connection)
    offered = {column.name: column for column in columns}
    for name in known.columns:
        if name not in offered:
            raise TableMismatchError(
                f"{table} has the column {name}, which is not asked for or which the stream has no more; give it in "
                "--columns or choose another --table or --schema"
            )
        if name not in there:
            raise TableMismatchError(f"the column {name} of {table} was dropped; choose another --table or --schema")
        type_, nullable = there[name]
        column = offered[name]
        if type_ != column.type or (column.nullable and not nullable):
            kinds = ((type_, nullable), (column.type, column.nullable))
            before, now = (f"{kind}{'' if null else ' not null'}" for kind, null in kinds)
            raise TableMismatchError(
                f"the column {name} of {table} is {before}, the stream now needs {now}; choose another --table or "
                "--schema"
            )
