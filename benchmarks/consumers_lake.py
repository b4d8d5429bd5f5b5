"""Lakes: parquet-consumer into a bucket and into tables, beside plain writes of the same bytes and of the same rows.

The bucket is that of a server on this machine, which takes its part of the processor: a line says how fast the object
store itself takes the same bytes. MB/s is of Arrow data, but for uploads, whose MB stand in their names.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from consumers_data import Data, Way
from deltalake import write_deltalake
from parquet_consumer.archive import Archive
from parquet_consumer.buckets import PART_BYTES
from parquet_consumer.files import FileOptions
from parquet_consumer.formats import Format
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.storage import open_storage
from parquet_consumer.table_types import table_schema
from pyiceberg.catalog import load_catalog

from stellar_arrow_client import StreamRequest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.object_storage import BUCKET, S3Server

PARTITION = "none"
_UPLOAD_BYTES = 256 * 1024 * 1024
_PIECE = 1024 * 1024  # about what the writer of Parquet hands on at a time


@contextmanager
def ways(data: Data) -> Iterator[list[Way]]:
    """A server, and the ways to write into it."""
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(_made(Path(folder, "server")))
        server.start()
        os.environ.update(server.environment)
        try:
            server.create_buckets()
            yield list(_ways(data, server, Path(folder, "tables")))
        finally:
            server.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _ways(data: Data, server: S3Server, local: Path) -> Iterator[Way]:
    def emptied(prefix: str) -> Callable[[], None]:
        return lambda: _empty(server, prefix)

    def gone() -> None:
        shutil.rmtree(local, ignore_errors=True)

    bucket = f"s3://{BUCKET}"
    for compression in ("none", "zstd"):
        place, raw = f"{bucket}/{compression}", f"raw-{compression}"
        _consume(data, place, Format(), compression)
        objects = _objects(server, compression)
        size = sum(map(len, objects)) / 1e6
        yield Way(
            f"bucket, --compression {compression}",
            lambda place=place, compression=compression: _consume(data, place, Format(), compression),  # type: ignore[misc]
            emptied(compression),
        )
        yield Way(
            f"pyarrow write_table, {compression}",
            lambda compression=compression, raw=raw: _write_table(server, data, raw, compression),  # type: ignore[misc]
            emptied(raw),
        )
        yield Way(
            f"obstore put of the same {size:,.0f} MB",
            lambda objects=objects, raw=raw: _put(server, raw, objects),  # type: ignore[misc]
            emptied(raw),
        )
    noise = os.urandom(_UPLOAD_BYTES)
    yield Way(
        f"upload alone of {_UPLOAD_BYTES / 1e6:,.0f} MB", lambda: _upload(f"{bucket}/noise", noise), emptied("noise")
    )
    yield Way("obstore put of the same bytes", lambda: _put(server, "raw", [noise]), emptied("raw"))
    plain = _as_table(data)
    yield Way("folder, --format parquet", lambda: _consume(data, str(local), Format()), gone)
    yield Way("folder, --format delta", lambda: _consume(data, str(local), Format("delta")), gone)
    yield Way("deltalake.write_deltalake", lambda: write_deltalake(str(local), plain), gone)
    yield Way("folder, --format iceberg", lambda: _consume(data, str(local), Format("iceberg")), gone)
    yield Way("pyiceberg Table.append", lambda: _append(local, plain), gone)
    yield Way("bucket, --format delta", lambda: _consume(data, f"{bucket}/delta", Format("delta")), emptied("delta"))


def _consume(data: Data, output: str, form: Format, compression: str = "zstd") -> None:
    """As the command does, without reading from a server."""
    schema = data.parts[0].batch.schema
    archive = Archive(open_storage(output), form, data.stream)
    sink = ParquetSink(archive, Partitioning.parse(PARTITION), FileOptions(compression=compression))
    sink.open(schema, StreamRequest(data.stream, data.parts[0].cursor.first, data.parts[-1].cursor.last))
    for batch, cursor in data.parts:
        sink.write(batch, cursor)
    sink.close()
    archive.close()


def _upload(output: str, content: bytes) -> None:
    """As the sink does once rows are encoded."""
    made = open_storage(output).create("", "noise", 1)
    for at in range(0, len(content), _PIECE):
        made.stream.write(memoryview(content)[at : at + _PIECE])
    made.complete(1)


def _as_table(data: Data) -> pa.Table:
    """The rows as the tables' own writers take them."""
    return data.table.cast(table_schema(data.table.schema)).replace_schema_metadata(None).combine_chunks()


def _append(folder: Path, rows: pa.Table) -> None:
    folder.mkdir(parents=True)
    catalog = load_catalog("stellar", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("stellar")
    catalog.create_table("stellar.appended", rows.schema).append(rows)


def _write_table(server: S3Server, data: Data, prefix: str, compression: str) -> None:
    """As a user would without the consumer: one file, through pyarrow's own client of S3."""
    client = server.filesystem()
    pq.write_table(data.table, f"{BUCKET}/{prefix}/rows.parquet", filesystem=client, compression=compression)


def _objects(server: S3Server, prefix: str) -> list[bytes]:
    store = server.store(BUCKET, prefix)
    names = [entry["path"] for page in obstore.list(store) for entry in page if entry["path"].endswith(".parquet")]
    return [bytes(obstore.get(store, name).bytes()) for name in names]


def _put(server: S3Server, prefix: str, objects: list[bytes]) -> None:
    store = server.store(BUCKET, prefix)
    for number, content in enumerate(objects):
        obstore.put(store, f"{number}", content, chunk_size=PART_BYTES)


def _empty(server: S3Server, prefix: str) -> None:
    store = server.store(BUCKET, prefix)
    for page in obstore.list(store):
        obstore.delete(store, [entry["path"] for entry in page])
