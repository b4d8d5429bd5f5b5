"""Archives in a bucket of a real S3 server: what appears is whole, one writer wins, nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from parquet_consumer import leases
from parquet_consumer.archive import Archive
from parquet_consumer.buckets import PART_BYTES, Bucket
from parquet_consumer.errors import ArchiveError
from parquet_consumer.files import FileOptions
from parquet_consumer.leases import Lease
from parquet_consumer.manifest import MANIFEST_NAME, Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.storage import LOCK_NAME
from parquet_consumer.upkeep import faults, prune

from stellar_arrow_client.errors import IntegrityError, StellarArrowError, UnavailableError
from stellar_arrow_client.object_storage import ObjectAddress
from stellar_arrow_client.request import Cursor, StreamRequest
from tests.support.object_storage import BUCKET, S3Server, requires_s3

pytestmark = requires_s3


@pytest.fixture
def url(s3: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own for each test."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{re.sub('[^a-z0-9-]', '-', request.node.name)}"


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


def writer(bucket: Bucket, payments, first: int, last: int, **options) -> tuple[Archive, ParquetSink]:
    archive = Archive(bucket)
    sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions(**options))
    sink.open(payments.SCHEMA, StreamRequest("payments", first, last))
    return archive, sink


def test_the_command_over_the_bucket(url: str, bucket: Bucket, server, command, payments) -> None:
    """Every command of a folder works on a bucket, and DuckDB's pattern is printed in full."""
    assert "would be written to" in command(server.address, url, 100, 139, "--dry-run").stdout
    assert list(bucket.files()) == []
    assert command(server.address, url, 100, 139).stdout == f"{url}/*/*.parquet\n"
    assert "already complete" in command(server.address, f"{url}?region=us-east-1", 100, 139).stderr
    command(server.address, url, 150, 160)
    command("verify", url)
    assert command("gaps", url, code=4).stdout == "140:149\n"
    assert f"archive:   {url}/*/*.parquet" in command("info", url).stdout
    listed = command("prune", url, "--older-than", "2024-08-31", "--dry-run").stdout
    assert command("prune", url, "--older-than", "2024-08-31").stdout == listed
    assert listed.startswith(f"{url}/date=2024-08-30/payments-0000000100-")
    command("verify", url)
    rows = payments.table([*range(112, 140), *range(150, 161)]).replace_schema_metadata(None)
    assert read(bucket).equals(rows)


def test_many_streams_go_into_a_prefix_each(url: str, bucket: Bucket, server, command) -> None:
    command(server.address, url, 100, 139, "--stream", "payments,samples")
    assert sorted(str(place) for place in bucket.below(MANIFEST_NAME)) == [f"{url}/payments", f"{url}/samples"]
    command("verify", url)
    refused = command(server.address, url, 100, 139, code=2)
    assert "holds an archive for each of payments, samples; write to" in refused.stderr


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("s3://", "must name a bucket alone"),
        ("s3://user:secret@bucket/a", "must name a bucket alone"),
        ("s3://bucket/a?colour=red", "?colour=… is not known: use region, endpoint, anonymous"),
        ("gs://bucket/a?region=x", "?region=… is not known: use endpoint, anonymous"),
    ],
)
def test_addresses_that_make_no_sense(address: str, complaint: str, server, command) -> None:
    said = command(server.address, address, 100, 110, code=2).stderr
    assert complaint in said
    assert "secret@" not in said


def test_credentials_that_are_wrong(url: str, server, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    said = command(server.address, url, 100, 110, code=5).stderr
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    assert "not-the-secret" not in said


def test_a_bucket_that_does_not_exist(url: str, server, command) -> None:
    said = command(server.address, "s3://no-such-bucket/a", 100, 110, code=1).stderr
    assert "there is no bucket for s3://no-such-bucket/a" in said


def test_a_storage_that_cannot_be_reached(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("stellar_arrow_client.object_storage.time.sleep", waits.append)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UnavailableError, match="run the same command again: it goes on where it stopped"):
            Archive(Bucket(ObjectAddress.parse(url)))
    assert 10 < sum(waits) < 30


def noise(rows: int, ledger: int) -> pa.RecordBatch:
    """Rows that do not compress."""
    content = pa.py_buffer(os.urandom(rows * 1024))
    return pa.record_batch(
        {
            "ledger_sequence": pa.array([ledger] * rows, pa.uint32()),
            "ledger_close_time": pa.array([ledger] * rows, pa.int64()).cast(pa.timestamp("us", "UTC")),
            "noise": pa.FixedSizeBinaryArray.from_buffers(pa.binary(1024), rows, [None, content]),
        }
    )


class Uploads:
    """The uploads in parts that are neither complete nor aborted, as the server itself keeps them."""

    def __init__(self, s3: S3Server) -> None:
        self._url = f"{s3.filer}/buckets/{BUCKET}/.uploads"

    def names(self, folder: str = "") -> set[str]:
        request = urllib.request.Request(f"{self._url}/{folder}?limit=1000", headers={"Accept": "application/json"})
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(request) as answer:  # 404: none so far
            return {entry["FullPath"].rpartition("/")[2] for entry in json.load(answer).get("Entries") or []}
        return set()

    def wait_for_another(self, before: set[str]) -> None:
        """The one that begins, once it has three parts."""
        deadline = time.monotonic() + 60
        while not any(len(self.names(f"{name}/")) >= 3 for name in self.names() - before):
            assert time.monotonic() < deadline, "the parts do not arrive"
            time.sleep(0.05)


@pytest.mark.parametrize("end", ["completed", "aborted"])
def test_an_upload_in_parts(bucket: Bucket, s3: S3Server, end: str) -> None:
    """Nothing can be seen of it before it is complete, and nothing is left of it when it is aborted."""
    uploads, batch = Uploads(s3), noise(3 * PART_BYTES // 1024, 7)
    before = uploads.names()
    archive = Archive(bucket)
    sink = ParquetSink(archive, Partitioning.parse("none"), FileOptions(row_group_rows=1))
    sink.open(batch.schema, StreamRequest("noise", 7, 8))
    sink.write(batch, Cursor(7, 7))
    uploads.wait_for_another(before)
    assert [path for path in bucket.files() if path.endswith(".parquet")] == []
    sink.close(complete=end == "completed")
    archive.close()
    assert uploads.names() == before
    assert list(faults(bucket)) == []
    held = {record.rows for record in Manifest.load(bucket).files.values()}
    assert held == ({batch.num_rows} if end == "completed" else set())


def test_what_an_interrupted_run_left_is_removed(bucket: Bucket, payments) -> None:
    write(bucket, payments, 100, 120)
    obstore.put(bucket.store, "date=2024-08-31/payments-0000000121-00112233445566aa.parquet", b"not recorded")
    obstore.put(bucket.store, "date=2024-08-31/mine.txt", b"a stranger")
    assert any("left by an interrupted run" in fault for fault in faults(bucket))
    write(bucket, payments, 100, 140)
    assert [fault for fault in faults(bucket) if "mine.txt" not in fault] == []
    assert bucket.exists("date=2024-08-31/mine.txt")


def test_of_two_writers_one_wins(bucket: Bucket, payments) -> None:
    """A writer that was cut off and comes back cannot record anything, nor replace what its successor has written."""
    stale, stale_sink = writer(bucket, payments, 100, 140)
    payments.feed(stale_sink, 100, 110)
    stale_sink.checkpoint()
    payments.feed(stale_sink, 111, 120)
    obstore.delete(bucket.store, LOCK_NAME)  # as after it has expired
    write(bucket, payments, 100, 130)
    payments.feed(stale_sink, 121, 125)
    with pytest.raises(ArchiveError, match="another process has begun to write"):
        stale_sink.checkpoint()
    stale_sink.close(complete=False)
    stale.close()
    write(bucket, payments, 100, 140)
    assert read(bucket).equals(payments.table(range(100, 141)).replace_schema_metadata(None))
    assert list(faults(bucket)) == []


def test_what_a_dead_writer_sent_arrives_late(bucket: Bucket, payments, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is refused, else it would name a file that its successor has removed."""
    dead, sink = writer(bucket, payments, 100, 140)
    payments.feed(sink, 100, 120)
    sent: list[tuple[tuple, dict]] = []
    with monkeypatch.context() as patch:
        patch.setattr("parquet_consumer.buckets.obstore", Postponing(sent))
        with pytest.raises(UnavailableError):
            sink.checkpoint()
    dead.close()
    write(bucket, payments, 100, 140)
    (arguments, options), *_ = sent
    with pytest.raises((AlreadyExistsError, PreconditionError)):
        obstore.put(*arguments, **options)
    assert list(faults(bucket)) == []
    assert read(bucket).equals(payments.table(range(100, 141)).replace_schema_metadata(None))


class Postponing:
    """Keeps back what is to be put into the log."""

    def __init__(self, sent: list[tuple[tuple, dict]]) -> None:
        self._sent = sent

    def __getattr__(self, name: str) -> object:
        return getattr(obstore, name)

    def put(self, store: object, path: str, *rest: object, **options: object) -> object:
        if path != MANIFEST_NAME:
            return obstore.put(store, path, *rest, **options)
        self._sent.append(((store, path, *rest), options))
        raise BaseError("connection reset")


@pytest.mark.parametrize("what", ["log", "object"])
def test_an_answer_that_is_lost(bucket: Bucket, payments, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """What was put is recognised, not put again."""
    archive, sink = writer(bucket, payments, 100, 140)
    lost: list[str] = []

    def put(store: object, path: str, *rest: object, **options: object) -> object:
        answer = obstore.put(store, path, *rest, **options)
        if not lost and (path == MANIFEST_NAME) == (what == "log"):
            lost.append(path)
            raise BaseError("connection reset")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr("parquet_consumer.buckets.obstore", types.SimpleNamespace(**{**vars(obstore), "put": put}))
        payments.feed(sink, 100, 140)
        sink.close()
    archive.close()
    assert lost
    assert read(bucket).equals(payments.table(range(100, 141)).replace_schema_metadata(None))
    assert list(faults(bucket)) == []


def test_pruning_beside_a_writer(bucket: Bucket, payments) -> None:
    archive, sink = writer(bucket, payments, 100, 140)
    payments.feed(sink, 100, 130)
    sink.checkpoint()
    assert len(prune(bucket, datetime(2024, 8, 31, tzinfo=UTC))) == 1
    payments.feed(sink, 131, 140)
    sink.close()
    archive.close()
    assert read(bucket).equals(payments.table(range(112, 141)).replace_schema_metadata(None))
    assert list(Manifest.load(bucket).covered) == [(100, 140)]
    assert list(faults(bucket)) == []


def test_a_lost_manifest_is_never_begun_anew(bucket: Bucket, payments) -> None:
    archive, sink = writer(bucket, payments, 100, 140)
    payments.feed(sink, 100, 120)
    sink.checkpoint()
    obstore.delete(bucket.store, MANIFEST_NAME)
    payments.feed(sink, 121, 130)
    with pytest.raises(IntegrityError, match="was removed or cut while it was in use"):
        sink.checkpoint()
    sink.close(complete=False)
    archive.close()
    with pytest.raises(IntegrityError, match="is missing; restore it from a backup"):
        Archive(bucket)


def test_a_lease_of_a_living_process(bucket: Bucket) -> None:
    with Lease(bucket.store, "lock", "here").held():
        assert Lease(bucket.store, "lock", "here").is_held()
        with pytest.raises(StellarArrowError, match=f"another process is writing to here: {os.getpid()} on"):
            Lease(bucket.store, "lock", "here").held().__enter__()
    assert not Lease(bucket.store, "lock", "here").is_held()


def test_a_lease_of_a_killed_process_is_taken_over_at_once(bucket: Bucket, s3: S3Server) -> None:
    hold = (
        "import sys; from parquet_consumer.storage import open_storage\n"
        "with open_storage(sys.argv[1]).locked(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(bucket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert bucket.is_locked()
        process.kill()
    assert not bucket.is_locked()
    began = time.monotonic()
    with bucket.locked():
        assert time.monotonic() - began < leases.EXPIRED_AFTER / 2


def test_a_lease_of_another_machine(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken over once nobody renews it, and refused while somebody does."""
    monkeypatch.setattr(leases, "EXPIRED_AFTER", 1.5)
    monkeypatch.setattr(leases, "_LOOK_EVERY", 0.1)
    foreign = json.dumps({"host": "elsewhere", "boot": "b", "processes": "p", "pid": "1", "started": "1"}).encode()
    obstore.put(bucket.store, LOCK_NAME, foreign)
    with bucket.locked():
        assert bucket.is_locked()
    obstore.put(bucket.store, LOCK_NAME, foreign)
    ended = threading.Event()

    def renew() -> None:
        number = 0
        while not ended.wait(0.2):
            number += 1
            obstore.put(bucket.store, LOCK_NAME, foreign[:-1] + b', "renewals": %d}' % number)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(StellarArrowError, match="1 on elsewhere; wait for it"):
            bucket.locked().__enter__()
    finally:
        ended.set()
        renewing.join()


def test_a_lease_that_is_damaged_expires_too(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EXPIRED_AFTER", 0.5)
    monkeypatch.setattr(leases, "_LOOK_EVERY", 0.1)
    obstore.put(bucket.store, LOCK_NAME, b"[" * 10_000)
    with bucket.locked():
        pass
