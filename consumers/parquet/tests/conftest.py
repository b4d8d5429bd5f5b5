"""Batches of made-up payments: every fact of a row follows from its ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.files import FileOptions
from parquet_consumer.folders import Folder
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink

from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support import consumers as support
from tests.support.object_storage import S3Server, s3_server

FIRST_CLOSE = datetime(2024, 8, 30, 23, 59, 0, tzinfo=UTC)
SECONDS_PER_LEDGER = 5
"""Ledger 112 is the first of 2024-08-31."""


def close_time(ledger: int) -> datetime:
    return FIRST_CLOSE + timedelta(seconds=SECONDS_PER_LEDGER * (ledger - 100))


class Payments:
    """Makes batches in the form of the stream ``payments``, cut down to what the tests look at."""

    SCHEMA = pa.schema(
        [
            pa.field("ledger_sequence", pa.uint32(), nullable=False),
            pa.field("ledger_close_time", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("operation_id", pa.int64(), nullable=False),
            pa.field("asset_code", pa.string(), nullable=False),
            pa.field("amount", pa.int64()),
            pa.field("successful", pa.bool_(), nullable=False),
        ],
        metadata={"stream": "payments", "schema_version": "1", "network": "Test Network"},
    )

    @staticmethod
    def rows_of(ledger: int) -> int:
        return 0 if ledger % 7 == 0 else ledger % 5 + 1

    def batch(self, ledgers: Iterable[int]) -> pa.RecordBatch:
        rows = [(ledger, index) for ledger in ledgers for index in range(self.rows_of(ledger))]
        return pa.record_batch(
            [
                pa.array([ledger for ledger, _ in rows], pa.uint32()),
                pa.array([close_time(ledger) for ledger, _ in rows], pa.timestamp("us", tz="UTC")),
                pa.array([ledger << 32 | index for ledger, index in rows], pa.int64()),
                pa.array([("XLM", "USDC")[index % 2] for _, index in rows], pa.string()),
                pa.array([None if index == 3 else ledger * 10 + index for ledger, index in rows], pa.int64()),
                pa.array([index != 2 for _, index in rows], pa.bool_()),
            ],
            schema=self.SCHEMA,
        )

    def feed(self, sink: ParquetSink, first: int, last: int, size: int = 3) -> None:
        """Write ledgers in batches of ``size`` ledgers."""
        for start in range(first, last + 1, size):
            end = min(last, start + size - 1)
            sink.write(self.batch(range(start, end + 1)), Cursor(start, end))

    def table(self, ledgers: Iterable[int]) -> pa.Table:
        return pa.Table.from_batches([self.batch(ledgers)])


@pytest.fixture
def payments() -> Payments:
    return Payments()


@pytest.fixture
def read_archive() -> Callable[[Path], pa.Table]:
    """Reads all rows of an archive, in the order of its operations."""

    def read(folder: Path) -> pa.Table:
        tables = [pq.ParquetFile(path).read() for path in sorted(folder.rglob("*.parquet"))]
        return pa.concat_tables(tables).sort_by("operation_id").replace_schema_metadata(None)

    return read


@pytest.fixture
def archive_range(tmp_path: Path, payments: Payments) -> Callable[..., Path]:
    """Archives ledgers in one run and gives the folder."""

    def archive_range(
        first: int, last: int, *, folder: Path = tmp_path / "archive", partition: str = "hive", **options: Any
    ) -> Path:
        archive = Archive(Folder(folder))
        try:
            sink = ParquetSink(archive, Partitioning.parse(partition), FileOptions(**options))
            begin = sink.open(payments.SCHEMA, StreamRequest("payments", first, last))
            payments.feed(sink, begin or first, last)
            sink.close()
        finally:
            archive.close()
        return folder

    return archive_range


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a run; each has a prefix of its own. Who stops it starts it again."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


class Command(support.Command):
    """Runs ``parquet-consumer`` as a process of its own."""

    name = "parquet-consumer"


@pytest.fixture
def command() -> Command:
    return Command()


@pytest.fixture
def server(payments: Payments) -> Iterator[FakeServer]:
    """Serves ledgers 100 to 699 of ``payments`` and of ``samples``."""
    tables = {"payments": payments.table(range(100, 700)), "samples": sample_table(100, 699)}
    with FakeServer(tables, 100, 699) as server:
        yield server
