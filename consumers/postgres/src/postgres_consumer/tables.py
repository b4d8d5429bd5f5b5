"""Tables: what is created, and what is there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from psycopg import sql

from postgres_consumer.columns import ROW, ROW_COLUMN, Column
from postgres_consumer.session import Connection, Session
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.request import LEDGER, TIME

NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names."""
TABLE_NAME_BYTES: Final = NAME_BYTES - len("_0000000000")


@dataclass(frozen=True, slots=True)
class Table:
    """The name of a table.

    Raises:
        OutputMismatchError: it, or that of a partition of it, would be too long for PostgreSQL.
    """

    schema: str
    name: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.name.encode()) <= TABLE_NAME_BYTES:
            raise OutputMismatchError(
                f"a table cannot be called {self.name[:80]!r}: the name must have 1 to {TABLE_NAME_BYTES} bytes; "
                "choose another --table"
            )

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def exists(self, connection: Connection) -> bool:
        found = connection.execute(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s",
            (self.schema, self.name),
        )
        return found.fetchone() is not None

    def columns(self, connection: Connection) -> Mapping[str, tuple[str, bool]]:
        """Type and nullability of the columns that are there, by name."""
        found = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
            "WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0 AND NOT attisdropped",
            (self.schema, self.name),
        )
        return {name: (type_, nullable) for name, type_, nullable in found}

    def create(
        self, connection: Connection, columns: Sequence[Column], comment: str, partition_ledgers: int | None
    ) -> None:
        """Create it, with its primary key and a BRIN index over ledgers and their close times."""
        definitions = [_definition(column) for column in (*columns, ROW_COLUMN)]
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}, {})){}").format(
                self.identifier,
                sql.SQL(", ").join(definitions),
                sql.Identifier(LEDGER),
                sql.Identifier(ROW),
                sql.SQL("" if partition_ledgers is None else " PARTITION BY RANGE ({})").format(sql.Identifier(LEDGER)),
            )
        )
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(self.identifier, sql.Literal(comment or None)))
        self._comment_on(connection, (*columns, ROW_COLUMN))
        timely = [name for name in (LEDGER, TIME) if any(column.name == name for column in columns)]
        connection.execute(
            sql.SQL("CREATE INDEX {} ON {} USING brin ({}) WITH (autosummarize = on)").format(
                sql.Identifier(self._index_name("brin")),
                self.identifier,
                sql.SQL(", ").join(map(sql.Identifier, timely)),
            )
        )

    def add_columns(self, connection: Connection, columns: Sequence[Column]) -> None:
        """Add columns; the rows that are there have null in them."""
        for column in columns:
            connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(self.identifier, _definition(column)))
        self._comment_on(connection, columns)

    def add_indexes(self, connection: Connection, names: Sequence[str]) -> None:
        """Index columns, each for itself, where that is not done yet."""
        for name in names:
            connection.execute(
                sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                    sql.Identifier(self._index_name(name)), self.identifier, sql.Identifier(name)
                )
            )

    def _comment_on(self, connection: Connection, columns: Sequence[Column]) -> None:
        for column in columns:
            if column.comment:
                connection.execute(
                    sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                        self.identifier, sql.Identifier(column.name), sql.Literal(column.comment)
                    )
                )

    def _index_name(self, what: str) -> str:
        name = f"{self.name}_{what}_idx"
        if len(name.encode()) <= NAME_BYTES:
            return name
        return f"{self.name[: NAME_BYTES - 13]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}_idx"


class Partitions:
    """The partitions of a table, each of the same number of ledgers; shared by the writers of a run.

    Args:
        ledgers: of one partition; None for a table that is not partitioned.
    """

    def __init__(self, table: Table, ledgers: int | None) -> None:
        self._table, self._ledgers = table, ledgers
        self._known: set[int] = set()
        self._lock = threading.Lock()

    def lacking(self, batch: pa.RecordBatch) -> list[int]:
        """Numbers of the partitions that rows belong to and that are not known to be there."""
        if self._ledgers is None:
            return []
        numbers = np.unique(batch.column(LEDGER).to_numpy() // self._ledgers)
        return [number for number in numbers.tolist() if number not in self._known]

    def create(self, session: Session, numbers: Sequence[int]) -> None:
        """Create those that are not there, and commit that.

        Raises:
            StellarArrowError: they cannot be created.
        """
        with self._lock:
            session.repeat(lambda connection: self._create(connection, numbers), f"add partitions to {self._table}")
            self._known.update(numbers)

    def _create(self, connection: Connection, numbers: Sequence[int]) -> None:
        """They are made beside the table and then attached, which lets others read and write it meanwhile."""
        assert self._ledgers is not None
        parent = self._table.identifier
        for number in numbers:
            first = number * self._ledgers
            partition = sql.Identifier(self._table.schema, f"{self._table.name}_{first:010d}")
            if self._is_attached(connection, partition):
                continue
            connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(partition, parent))
            connection.execute(
                sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                    parent, partition, first, first + self._ledgers
                )
            )

    def _is_attached(self, connection: Connection, partition: sql.Identifier) -> bool:
        found = connection.execute(
            "SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s) AND inhparent = to_regclass(%s)",
            (partition.as_string(connection), self._table.identifier.as_string(connection)),
        )
        return found.fetchone() is not None


def _definition(column: Column) -> sql.Composed:
    if len(column.name.encode()) > NAME_BYTES:
        raise OutputMismatchError(f"the name of the column {column.name[:80]} has more than {NAME_BYTES} bytes")
    null = sql.SQL("" if column.nullable else " NOT NULL")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(column.type), null)
