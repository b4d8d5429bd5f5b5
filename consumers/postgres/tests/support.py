"""The command as a process, and a reader that knows nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from tests.support import consumers as support

MARK = "␀"
ROWS_AT_A_TIME = 5000


def plain(value: Any) -> Any:
    """A value as the stream has it: texts hold U+0000, which PostgreSQL does not, as a mark."""
    if isinstance(value, str):
        parts = value.split(MARK * 2)
        return MARK.join(part.replace(f"{MARK}0", "\0") for part in parts)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


@dataclass(frozen=True)
class Reader:
    """Reads tables of one schema with plain SELECTs."""

    url: str
    schema: str

    def rows(self, table: str, columns: list[str]) -> list[dict[str, Any]]:
        """All rows in the order of the primary key, which must be that of the stream."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        found = self.query(
            sql.SQL("SELECT {} FROM {} ORDER BY ledger_sequence, ledger_row").format(
                names, sql.Identifier(self.schema, table)
            )
        )
        return [{name: plain(value) for name, value in zip(columns, row, strict=True)} for row in found]

    def check(self, table: str, expected: pa.Table) -> None:
        """The table holds the rows of the stream, in its order, each once, and nothing else."""
        columns = expected.column_names
        query = sql.SQL("SELECT {}, ledger_row FROM {} ORDER BY ledger_sequence, ledger_row").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(self.schema, table)
        )
        with psycopg.connect(self.url) as connection, connection.cursor("rows") as cursor:
            cursor.execute(query)
            at, place, ledger = 0, 0, None
            while found := cursor.fetchmany(ROWS_AT_A_TIME):
                wanted = expected.slice(at, len(found)).to_pylist()
                assert len(wanted) == len(found), f"{table} has more than the {expected.num_rows} rows of the stream"
                for row, want in zip(found, wanted, strict=True):
                    got = {name: plain(value) for name, value in zip(columns, row, strict=False)}
                    assert got == want
                    place = place + 1 if want["ledger_sequence"] == ledger else 0
                    ledger = want["ledger_sequence"]
                    assert row[-1] == place
                at += len(found)
        assert at == expected.num_rows, f"{table} has {at} of {expected.num_rows} rows"

    def ledgers(self, table: str) -> list[tuple[int, int]]:
        """The ledgers of the checkpoint, both ends inclusive."""
        found = self.query(
            sql.SQL("SELECT lower(r), upper(r) - 1 FROM {}, unnest(ledgers) r WHERE table_name = {} ORDER BY 1").format(
                sql.Identifier(self.schema, "stellar_arrow_checkpoints"), table
            )
        )
        return [(first, last) for first, last in found]

    def count(self, *tables: str) -> int:
        """How many ledgers the checkpoints of some tables have in all; 0 while there is no checkpoint."""
        try:
            [(found,)] = self.query(
                sql.SQL(
                    "SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM {}, unnest(ledgers) r WHERE table_name = ANY({})"
                ).format(sql.Identifier(self.schema, "stellar_arrow_checkpoints"), list(tables))
            )
            return int(found)
        except psycopg.errors.UndefinedTable:
            return 0

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} seconds in vain"
            time.sleep(0.01)

    def query(self, query: str | sql.Composable) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


class Command(support.Command):
    """Runs ``postgres-consumer`` as a process of its own, into one schema."""

    name = "postgres-consumer"
    settings = ("PG",)

    def __init__(self, url: str, schema: str) -> None:
        super().__init__()
        self.url, self.schema = url, schema

    def line(self, server: str, *arguments: object, url: str | None = None) -> list[str]:
        return super().line(server, url or self.url, *arguments, "--schema", self.schema, "--progress", "none")
