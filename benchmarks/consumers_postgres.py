"""PostgreSQL: postgres-consumer beside ADBC and beside pgpq with COPY, which are the fastest loaders of Arrow data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
from consumers_data import Data, Way
from pgpq import ArrowToPostgresBinaryEncoder
from postgres_consumer.checkpoints import Checkpoints
from postgres_consumer.locks import WriterLock
from postgres_consumer.plan import Wanted, prepare
from postgres_consumer.session import Connection, Database, Session
from postgres_consumer.sink import PostgresSink, Target
from postgres_consumer.tables import Partitions, Table

from stellar_arrow_client import StreamRequest
from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.policy import RetryPolicy

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.postgres import PostgresServer, postgres_server

SETTINGS = ("shared_buffers = 512MB", "max_wal_size = 4GB", "checkpoint_timeout = 30min")
COMMIT_ROWS = 100_000
INDEXES = ("transaction_id", "operation_id")


@contextmanager
def ways(data: Data) -> Iterator[list[Way]]:
    """A server, and the ways to write into it."""
    with postgres_server(SETTINGS) as server:
        used = _processor_time(server)
        clear = _dropping(server)
        columns = data.table.select([n for n in data.table.column_names if _is_scalar(data.table.schema.field(n).type)])
        plain = columns.cast(pa.schema([(f.name, _for_adbc(f.type)) for f in columns.schema])).combine_chunks()
        yield [
            Way("postgres-consumer", lambda: _consume(server, data, INDEXES), clear, used),
            Way("postgres-consumer --index none", lambda: _consume(server, data, ()), clear, used),
            Way("ADBC, table without keys", lambda: _ingest(server, plain), clear, used),
            Way("pgpq and COPY, table without keys", lambda: _copy(server, plain), clear, used),
        ]


def _consume(server: PostgresServer, data: Data, indexes: tuple[str, ...]) -> None:
    """As the command does, without reading from a server."""
    database = Database(server.url, RetryPolicy())
    checkpoints, table = Checkpoints("public"), Table("public", data.stream)
    schema = data.parts[0].batch.schema
    request = StreamRequest(data.stream, data.parts[0].cursor.first, data.parts[-1].cursor.last)
    wanted = Wanted(table=table, chosen=Chosen("", request, schema), partition_ledgers=None, indexes=indexes)
    lock = WriterLock(database, [table])
    lock.hold()

    def make_ready(connection: Connection) -> None:
        checkpoints.create(connection)
        prepare(connection, checkpoints, wanted, add_columns=False)

    session = Session(database)
    session.repeat(make_ready, "prepare the table")
    session.close()
    sink = PostgresSink(Target(database, table, checkpoints, Partitions(table, None), lock, schema, COMMIT_ROWS))
    sink.open(schema, request)
    for batch, cursor in data.parts:
        sink.write(batch, cursor)
    sink.checkpoint()
    sink.close()
    lock.close()


def _ingest(server: PostgresServer, table: pa.Table) -> None:
    with adbc.connect(server.url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("loaded", table, mode="create")
        connection.commit()


def _copy(server: PostgresServer, table: pa.Table) -> None:
    encoder = ArrowToPostgresBinaryEncoder(table.schema)
    types = ", ".join(f'"{column.name}" {column.data_type.ddl()}' for column in encoder.schema().columns)
    with psycopg.connect(server.url) as connection:
        connection.execute(f"CREATE TABLE loaded ({types})")
        with connection.cursor().copy("COPY loaded FROM STDIN WITH (FORMAT binary)") as copy:
            copy.write(encoder.write_header())
            for batch in table.to_batches(max_chunksize=8192):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())


def _dropping(server: PostgresServer) -> Callable[[], None]:
    def drop() -> None:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
            connection.execute("CHECKPOINT")

    return drop


def _processor_time(server: PostgresServer) -> Callable[[], float]:
    """Seconds of all processes of the server, those that ended included."""
    ticks = os.sysconf("SC_CLK_TCK")

    def used() -> float:
        first = Path("/proc", str(server.pid))
        total = sum(_times(first)[2:])
        for child in (first / "task" / first.name / "children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                total += sum(_times(Path("/proc", child))[:2])
        return total / ticks

    return used


def _times(process: Path) -> list[int]:
    """Ticks of a process in user and system mode, and those of its children that ended."""
    return [int(field) for field in (process / "stat").read_text().rpartition(")")[2].split()[11:15]]


def _is_scalar(type_: pa.DataType) -> bool:
    return not pa.types.is_nested(type_)


def _for_adbc(type_: pa.DataType) -> pa.DataType:
    """A type that holds the values and that ADBC writes."""
    if pa.types.is_uint64(type_):
        return pa.decimal128(20, 0)
    return {pa.uint32(): pa.int64(), pa.uint8(): pa.int16()}.get(
        type_, pa.binary() if pa.types.is_fixed_size_binary(type_) else type_
    )
