"""Archives in a bucket of a real S3 server: what appears is whole, one writer wins, nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.buckets import Bucket
from parquet_consumer.files import FileOptions
from parquet_consumer.manifest import Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.storage import LOCK_NAME
from parquet_consumer.upkeep import faults

from stellar_arrow_client.object_storage import ObjectAddress
from stellar_arrow_client.request import StreamRequest
from tests.support.object_storage import BUCKET, S3Server, requires_s3

pytestmark = requires_s3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        server.create_buckets()
        yield server
    finally:
        server.kill()


@pytest.fixture
def url(s3: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own for each test."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').strip(']')}"


@pytest.fixture
def bucket(url: str) -> Bucket:
    return Bucket(ObjectAddress.parse(url))


def write(bucket: Bucket, payments, first: int, last: int, **options) -> None:
    archive = Archive(bucket)
    try:
        sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions(**options))
        begin = sink.open(payments.SCHEMA, StreamRequest("payments", first, last))
        payments.feed(sink, begin or first, last)
        sink.close()
    finally:
        archive.close()


def read(bucket: Bucket) -> pa.Table:
    """All rows of all objects, whether recorded or not, by a client that is not the archive's."""
    names = [path for path in bucket.files() if path.endswith(".parquet")]
    objects = [pa.BufferReader(bytes(obstore.get(bucket.store, name).bytes())) for name in names]
    tables = [pq.ParquetFile(content).read() for content in objects]
    return pa.concat_tables(tables).sort_by("operation_id").replace_schema_metadata(None)


def test_an_archive_of_two_runs(bucket: Bucket, payments) -> None:
    write(bucket, payments, 100, 120)
    write(bucket, payments, 100, 140)
    assert read(bucket).equals(payments.table(range(100, 141)).replace_schema_metadata(None))
    assert list(Manifest.load(bucket).covered) == [(100, 140)]
    assert list(faults(bucket)) == []
    assert {path.split("/")[0] for path in Manifest.load(bucket).files} == {"date=2024-08-30", "date=2024-08-31"}
    assert not bucket.exists(LOCK_NAME)
