"""The table ``stellar_arrow_checkpoints``: what each table holds, and which ledgers of it.

A row is changed in the transaction that writes the ledgers' rows, so that both are there or neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql
from psycopg.types.multirange import Int8Multirange
from psycopg.types.range import Int8Range

from postgres_consumer.session import Connection
from postgres_consumer.tables import Table
from stellar_arrow_client.contents import Content
from stellar_arrow_client.ranges import LedgerRanges

NAME: Final = "stellar_arrow_checkpoints"

_COLUMNS: Final = {
    "table_name": ("text PRIMARY KEY", "table that holds the rows"),
    "stream": ("text NOT NULL", "stream that they are of"),
    "network_passphrase": ("text", "network that they are of; null while the server does not say"),
    "schema_version": ("integer NOT NULL", "version of the stream''s columns"),
    "columns": ("text[] NOT NULL", "columns of the stream that the table has"),
    "filter": ("text", "condition on the rows; null for all"),
    "partition_ledgers": ("bigint", "ledgers of a partition; null for a table without"),
    "ledgers": ("int8multirange NOT NULL", "ledgers whose rows, none or more, are in the table"),
    "updated_at": ("timestamptz NOT NULL DEFAULT now()", "when ledgers were added last"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContent(Content):
    """What a table holds.

    Attributes:
        partition_ledgers: None when the table is not partitioned.
    """

    partition_ledgers: int | None


class Checkpoints:
    """The checkpoints of the tables of one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._table = sql.Identifier(schema, NAME)

    def create(self, connection: Connection) -> None:
        """Create the schema and the table unless they are there."""
        # Two writers may begin at the same time, and IF NOT EXISTS does not wait for the other one.
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{self._schema}.{NAME}",))
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,))
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._schema)))
        if Table(self._schema, NAME).exists(connection):
            return
        definitions = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, (type_, _) in _COLUMNS.items()
        ]
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(self._table, sql.SQL(", ").join(definitions)))
        for name, (_, comment) in _COLUMNS.items():
            connection.execute(
                sql.SQL(f"COMMENT ON COLUMN {{}}.{{}} IS '{comment}'").format(self._table, sql.Identifier(name))
            )

    def find(self, connection: Connection, table: Table) -> TableContent | None:
        """What a table holds; None when it is not known."""
        found = connection.execute(
            sql.SQL(
                "SELECT stream, network_passphrase, schema_version, columns, filter, partition_ledgers "
                "FROM {} WHERE table_name = %s"
            ).format(self._table),
            (table.name,),
        ).fetchone()
        if found is None:
            return None
        stream, network, version, columns, condition, partition_ledgers = found
        return TableContent(
            stream=stream,
            network=network,
            schema_version=version,
            columns=tuple(columns),
            filter=condition,
            partition_ledgers=partition_ledgers,
        )

    def describe(self, connection: Connection, table: Table, content: TableContent) -> None:
        """Record what a table holds; its ledgers stay as they are, at first none."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (table_name, stream, network_passphrase, schema_version, columns, filter, "
                "partition_ledgers, ledgers) VALUES (%s, %s, %s, %s, %s, %s, %s, '{{}}') "
                "ON CONFLICT (table_name) DO UPDATE SET network_passphrase = EXCLUDED.network_passphrase, "
                "schema_version = EXCLUDED.schema_version, columns = EXCLUDED.columns"
            ).format(self._table),
            (
                *(table.name, content.stream, content.network, content.schema_version, list(content.columns)),
                *(content.filter, content.partition_ledgers),
            ),
        )

    def held(self, connection: Connection, table: Table) -> LedgerRanges:
        """The ledgers that a table holds."""
        found = connection.execute(
            sql.SQL("SELECT ledgers FROM {} WHERE table_name = %s").format(self._table), (table.name,)
        ).fetchone()
        return _inclusive(found[0]) if found else LedgerRanges()

    def add(self, connection: Connection, table: Table, first: int, last: int) -> bool:
        """Add ledgers; False when one of them is there already, or the table is not known any more."""
        ledgers = _range(first, last)
        changed = connection.execute(
            sql.SQL(
                "UPDATE {} SET ledgers = ledgers + int8multirange(%s), updated_at = now() "
                "WHERE table_name = %s AND NOT ledgers && %s"
            ).format(self._table),
            (ledgers, table.name, ledgers),
        )
        return changed.rowcount == 1

    def holds(self, connection: Connection, table: Table, first: int, last: int) -> bool:
        """Whether a table holds all of these ledgers."""
        found = connection.execute(
            sql.SQL("SELECT ledgers @> %s FROM {} WHERE table_name = %s").format(self._table),
            (_range(first, last), table.name),
        ).fetchone()
        return bool(found and found[0])


def _range(first: int, last: int) -> Int8Range:
    return Int8Range(first, last + 1)


def _inclusive(ranges: Int8Multirange) -> LedgerRanges:
    return LedgerRanges(
        (found.lower, found.upper - 1) for found in ranges if found.lower is not None and found.upper is not None
    )
