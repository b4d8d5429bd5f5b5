"""The SDK's conformance suite, on the real command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from consumers.postgres.tests.support import Command, Reader
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest
from stellar_arrow_client.testing.trial import FIRST, LAST, Trial
from tests.support.postgres import PostgresServer

ARROW = {
    "bigint": pa.int64(),
    "bytea": pa.binary(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "numeric(38,0)": pa.decimal128(38, 0),
    "numeric(20,0)": pa.decimal128(20, 0),
    "text[]": pa.list_(pa.string()),
    "jsonb": pa.list_(pa.struct([("asset_type", pa.string()), ("asset_code", pa.string())])),
}
"""What a type of PostgreSQL is in Arrow."""
WIDER = {pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20, 0), pa.binary(32): pa.binary()}
"""What a type of the stream is when it was read back."""


class Postgres(ConsumerUnderTest):
    url = ""

    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        command = Command(self.url, _schema(output))
        often = ["--commit-seconds", "0.05", "--commit-rows", "40"]
        return [*command.line(server, start, end or 0, "--stream", self.stream), *often]

    def read(self, output: Path) -> pa.Table:
        reader = Reader(self.url, _schema(output))
        columns = reader.query(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute WHERE attnum > 0 AND "
            f"attrelid = to_regclass('{reader.schema}.{self.stream}') AND attname <> 'ledger_row' ORDER BY attnum"
        )
        schema = pa.schema([pa.field(name, ARROW[kind], nullable) for name, kind, nullable in columns])
        return pa.Table.from_pylist(reader.rows(self.stream, schema.names), schema)

    def expected(self, table: pa.Table) -> pa.Table:
        return table.cast(pa.schema([field.with_type(WIDER.get(field.type, field.type)) for field in table.schema]))


class TestConformance(ConsumerConformance):
    consumer = Postgres()

    @pytest.fixture(autouse=True)
    def database(self, postgres: PostgresServer) -> Iterator[None]:
        self.consumer.url = postgres.url
        yield
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for (name,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'c\\_%'").fetchall():
                connection.execute(f'DROP SCHEMA "{name}" CASCADE')

    def test_sink_that_fails(self, trial: Trial) -> None:
        """The consumer writes no files; instead, the server cannot grow its own."""
        trial.run(FIRST, FIRST + 19)
        schema = _schema(trial.output)
        full = (
            f"CREATE FUNCTION {schema}.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.ledger_sequence = "
            f"{FIRST + 100} THEN RAISE disk_full; END IF; RETURN NEW; END $$; CREATE TRIGGER filling BEFORE INSERT "
            f"ON {schema}.{self.consumer.stream} FOR EACH ROW EXECUTE FUNCTION {schema}.full()"
        )
        Reader(self.consumer.url, schema).query(full)
        said = trial.run(FIRST, LAST, code=ExitCode.FAILURE)
        assert "free disk space" in said
        assert FIRST + 20 <= trial.check_whole_ledgers() < FIRST + 100
        Reader(self.consumer.url, schema).query(f"DROP TRIGGER filling ON {schema}.{self.consumer.stream}")
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)


def _schema(output: Path) -> str:
    """A schema for an output."""
    return f"c_{output.parent.name}"[:60].replace("-", "_").lower()
