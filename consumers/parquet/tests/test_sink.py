"""The sink: which rows go to which file, when files are completed, and what a reader finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.errors import ArchiveIntegrityError
from parquet_consumer.files import FileOptions, with_dictionary
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import COLUMNS_NAME, MANIFEST_NAME, Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.storage import LOCK_NAME
from parquet_consumer.values import COMPRESSIONS

from stellar_arrow_client.errors import GapError, IntegrityError, OutputMismatchError, StellarArrowError
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.sink import Sink


def open_sink(
    folder: Path, schema: pa.Schema, request: StreamRequest, partition: str = "hive", **options: Any
) -> tuple[Archive, ParquetSink]:
    archive = Archive(Folder(folder))
    sink = ParquetSink(archive, Partitioning.parse(partition), FileOptions(**options))
    sink.open(schema, request)
    return archive, sink


def names(folder: Path) -> list[str]:
    """All files of an archive but its own three."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in found if name not in (COLUMNS_NAME, MANIFEST_NAME, LOCK_NAME)]


def test_it_is_a_sink(tmp_path: Path) -> None:
    archive = Archive(Folder(tmp_path))
    assert isinstance(ParquetSink(archive, Partitioning.parse("hive"), FileOptions()), Sink)
    archive.close()


def test_a_file_for_each_day(archive_range, payments, read_archive) -> None:
    folder = archive_range(100, 130)
    assert names(folder) == [
        "date=2024-08-30/payments-0000000100-0000000111.parquet",
        "date=2024-08-31/payments-0000000112-0000000130.parquet",
    ]
    assert read_archive(folder).equals(payments.table(range(100, 131)).replace_schema_metadata(None))
    for path in folder.rglob("*.parquet"):
        days = {
            time.astimezone(UTC).date().isoformat() for time in pq.read_table(path)["ledger_close_time"].to_pylist()
        }
        assert path.parent.name == f"date={days.pop()}"
        assert not days


@pytest.mark.parametrize("partition", ["hive", "2006/01/02/15", "none", "ledgers:10", "year=%Y/month=%m"])
def test_every_format_keeps_every_row(archive_range, payments, read_archive, partition: str) -> None:
    folder = archive_range(95, 130, partition=partition)
    assert read_archive(folder).equals(payments.table(range(95, 131)).replace_schema_metadata(None))
    assert len(list(folder.glob(Partitioning.parse(partition).glob))) == len(names(folder))


def test_ledger_partitions_keep_to_their_ledgers(archive_range) -> None:
    assert names(archive_range(95, 112, partition="ledgers:7")) == [
        "ledgers=0000000091-0000000097/payments-0000000095-0000000097.parquet",
        "ledgers=0000000098-0000000104/payments-0000000098-0000000104.parquet",
        "ledgers=0000000105-0000000111/payments-0000000105-0000000111.parquet",
    ]


def test_ledgers_without_rows_are_covered(archive_range) -> None:
    folder = archive_range(112, 112)
    assert names(folder) == []
    archive_range(119, 120)
    assert list(Manifest.load(Folder(folder)).covered) == [(112, 112), (119, 120)]
    assert names(folder) == ["date=2024-08-31/payments-0000000119-0000000120.parquet"]


def test_the_query_of_the_readme_is_answered(archive_range, payments, monkeypatch) -> None:
    monkeypatch.setenv("TZ", "UTC")  # DuckDB cuts days in the time zone of the session
    folder = archive_range(100, 130)
    found = duckdb.sql(
        "SELECT date_trunc('day', ledger_close_time) AS day, asset_code, SUM(amount) AS daily_volume "
        f"FROM '{folder}/*/*.parquet' WHERE successful = true GROUP BY 1, 2 ORDER BY 1, 2;"
    )
    rows = [
        (row["day"].date(), row["asset_code"], int(row["daily_volume"])) for row in found.to_arrow_table().to_pylist()
    ]
    expected: dict[tuple[object, str], int] = {}
    for row in payments.table(range(100, 131)).to_pylist():
        if row["successful"]:
            key = row["ledger_close_time"].astimezone(UTC).date(), row["asset_code"]
            expected[key] = expected.get(key, 0) + (row["amount"] or 0)
    assert rows == [(*key, volume) for key, volume in sorted(expected.items())]


def test_hive_folders_are_read_back_as_a_column(archive_range) -> None:
    folder = archive_range(100, 130)
    rows = ds.dataset(folder, partitioning="hive").to_table()
    assert set(rows["date"].to_pylist()) == {"2024-08-30", "2024-08-31"}
    counted = duckdb.sql(f"SELECT date::VARCHAR, count(*) FROM '{folder}/*/*.parquet' GROUP BY 1 ORDER BY 1").fetchall()
    assert sum(count for _, count in counted) == rows.num_rows
    assert [date for date, _ in counted] == ["2024-08-30", "2024-08-31"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compression(archive_range, compression: str) -> None:
    folder = archive_range(120, 130, compression=compression)
    (path,) = folder.rglob("*.parquet")
    found = pq.ParquetFile(path).metadata.row_group(0).column(0).compression
    assert found == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())


def noisy(ledgers: range, rows: int) -> pa.RecordBatch:
    """Rows that do not compress, so that bytes on disk follow from their number."""
    sequence = [ledger for ledger in ledgers for _ in range(rows)]
    return pa.record_batch(
        {
            "ledger_sequence": pa.array(sequence, pa.uint32()),
            "ledger_close_time": pa.array([1_725_000_000_000_000 + ledger for ledger in sequence], pa.int64()).cast(
                pa.timestamp("us", "UTC")
            ),
            "noise": pa.array([os.urandom(32) for _ in sequence], pa.binary(32)),
        }
    )


def test_files_are_rotated_by_their_bytes_on_disk(tmp_path: Path) -> None:
    limit = 300_000
    batch = noisy(range(1, 2), 1)
    archive, sink = open_sink(tmp_path, batch.schema, StreamRequest("noise", 1, 60), max_file_size=limit)
    for ledger in range(1, 61):
        sink.write(noisy(range(ledger, ledger + 1), 1000), Cursor(ledger, ledger))
    sink.close()
    archive.close()
    sizes = [record.size for record in archive.records.files.values()]
    assert len(sizes) > 4
    assert all(limit <= size < limit * 1.35 for size in sizes[:-1])
    assert [(tmp_path / path).stat().st_size for path in archive.records.files] == sizes


def test_row_groups_are_full(tmp_path: Path) -> None:
    batch = noisy(range(1, 2), 1)
    archive, sink = open_sink(tmp_path, batch.schema, StreamRequest("noise", 1, 50), row_group_rows=1000)
    for ledger in range(1, 51):
        sink.write(noisy(range(ledger, ledger + 1), 90), Cursor(ledger, ledger))
    sink.close()
    archive.close()
    (path,) = tmp_path.rglob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [1080] * 4 + [180]


def test_all_columns_but_ids_have_a_dictionary(tmp_path: Path) -> None:
    lists = pa.list_(pa.field("element", pa.struct([pa.field("code", pa.string())])))
    schema = pa.schema([("transaction_id", pa.int64()), ("path", lists), ("hash", pa.binary(32))])
    assert with_dictionary(schema) == ["path.list.element.code", "hash"]
    file = tmp_path / "file.parquet"
    rows = pa.table({"transaction_id": [1, 2], "path": [[{"code": "USDC"}], None], "hash": [b"h" * 32] * 2}, schema)
    pq.write_table(rows, file, use_dictionary=with_dictionary(schema))
    group = pq.ParquetFile(file).metadata.row_group(0)
    assert [group.column(at).has_dictionary_page for at in range(3)] == [False, True, True]


def test_a_failed_run_keeps_what_was_recorded_and_drops_the_rest(tmp_path: Path, payments, read_archive) -> None:
    archive, sink = open_sink(tmp_path, payments.SCHEMA, StreamRequest("payments", 120, 140), row_group_rows=1)
    assert sink.checkpoint() is None
    payments.feed(sink, 120, 125)
    assert sink.checkpoint() == 126
    payments.feed(sink, 126, 131)
    assert any(name.endswith(".tmp") for name in names(tmp_path))
    sink.close(complete=False)
    archive.close()
    assert names(tmp_path) == ["date=2024-08-31/payments-0000000120-0000000125.parquet"]
    assert read_archive(tmp_path).equals(payments.table(range(120, 126)).replace_schema_metadata(None))


def test_a_backfill_fetches_only_what_is_missing(archive_range, payments, read_archive) -> None:
    folder = archive_range(120, 125)
    archive_range(130, 131)
    archive = Archive(Folder(folder))
    sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions())
    assert sink.open(payments.SCHEMA, StreamRequest("payments", 118, 140)) is None
    sink.close()
    assert sink.open(payments.SCHEMA, StreamRequest("payments", 120, 140)) == 126
    sink.close()
    assert sink.open(payments.SCHEMA, StreamRequest("payments", 120, 125)) == 126
    sink.close()
    assert sink.open(payments.SCHEMA, StreamRequest("payments")) == 132
    sink.close()
    # Even if all of it is sent again, what is covered is not written twice.
    assert sink.open(payments.SCHEMA, StreamRequest("payments", 118, 140)) is None
    payments.feed(sink, 118, 140, size=5)
    sink.close()
    archive.close()
    assert list(archive.records.covered) == [(118, 140)]
    assert read_archive(folder).equals(payments.table(range(118, 141)).replace_schema_metadata(None))


def test_ledgers_that_were_left_out_are_a_gap(tmp_path: Path, payments) -> None:
    archive, sink = open_sink(tmp_path, payments.SCHEMA, StreamRequest("payments", 120, 140))
    sink.write(payments.batch([120]), Cursor(120, 120))
    with pytest.raises(GapError, match="121 to 122"):
        sink.write(payments.batch([123]), Cursor(123, 123))
    sink.close(complete=False)
    archive.close()


def test_a_second_writer_is_refused(tmp_path: Path, archive_range) -> None:
    first = Archive(Folder(tmp_path / "archive"))
    with pytest.raises(StellarArrowError, match="another process is writing"):
        Archive(Folder(tmp_path / "archive"))
    first.close()
    archive_range(120, 121)


def test_what_an_interrupted_run_left_is_cleared_up(archive_range, payments, read_archive) -> None:
    folder = archive_range(120, 125)
    day = folder / "date=2024-08-31"
    (day / "payments-0000000126-0000000130.parquet").write_bytes(b"complete but not recorded")
    (day / ".payments-0000000131.parquet.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("not ours")
    (day / "other.parquet").write_text("not ours")
    archive_range(126, 130)
    (day / "other.parquet").unlink()
    assert names(folder) == [
        "date=2024-08-31/payments-0000000120-0000000125.parquet",
        "date=2024-08-31/payments-0000000126-0000000130.parquet",
        "notes.txt",
    ]
    assert read_archive(folder).equals(payments.table(range(120, 131)).replace_schema_metadata(None))


def test_files_are_never_cleared_up_when_the_manifest_is_lost(archive_range) -> None:
    folder = archive_range(120, 125)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(IntegrityError, match=f"{MANIFEST_NAME} is missing"):
        Archive(Folder(folder))
    assert names(folder) == ["date=2024-08-31/payments-0000000120-0000000125.parquet"]


def test_a_filtered_archive_takes_only_the_same_rows(tmp_path: Path, payments) -> None:
    archive, sink = open_sink(tmp_path, payments.SCHEMA, StreamRequest("payments", 120, 125, filter="amount > 5"))
    with pytest.raises(OutputMismatchError, match="holds the rows with amount > 5"):
        sink.open(payments.SCHEMA, StreamRequest("payments", 126, 130))
    archive.close()


MISMATCHES: list[tuple[str, Callable[[pa.Schema], pa.Schema], str, type[Exception], str]] = [
    (
        "stream",
        lambda s: s.with_metadata({"stream": "trades"}),
        "hive",
        OutputMismatchError,
        "holds payments, not trades",
    ),
    (
        "network",
        lambda s: s.with_metadata({"stream": "payments", "network": "Other"}),
        "hive",
        IntegrityError,
        "'Test Network' but the server gives those of 'Other'",
    ),
    ("partition", lambda s: s, "none", OutputMismatchError, "give --partition hive"),
    ("fewer columns", lambda s: s.remove(4), "hive", OutputMismatchError, "gone: amount"),
    ("more columns", lambda s: s.append(pa.field("x", pa.int8())), "hive", OutputMismatchError, "new: x"),
    (
        "another type",
        lambda s: s.set(4, pa.field("amount", pa.float64())),
        "hive",
        OutputMismatchError,
        "'amount int64' but the server now gives 'amount double'",
    ),
]


@pytest.mark.parametrize(
    ("change", "partition", "error", "message"),
    [row[1:] for row in MISMATCHES],
    ids=[row[0] for row in MISMATCHES],
)
def test_nothing_is_mixed_in_one_archive(archive_range, payments, change, partition, error, message) -> None:
    folder = archive_range(120, 125)
    schema = change(payments.SCHEMA).with_metadata(
        (payments.SCHEMA.metadata or {}) | (change(payments.SCHEMA).metadata or {})
    )
    archive = Archive(Folder(folder))
    sink = ParquetSink(archive, Partitioning.parse(partition), FileOptions())
    with pytest.raises(error, match=message):
        sink.open(schema, StreamRequest("payments", 126, 130))
    archive.close()


def test_a_network_that_becomes_known_is_kept(tmp_path: Path, payments) -> None:
    unknown = payments.SCHEMA.with_metadata({"stream": "payments"})
    for schema in (unknown, payments.SCHEMA, unknown):
        archive, sink = open_sink(tmp_path, schema, StreamRequest("payments", 120, 125))
        sink.close()
        archive.close()
    known = Manifest.load(Folder(tmp_path)).archive
    assert known is not None
    assert (known.network, known.start) == ("Test Network", 120)


@pytest.mark.parametrize("lacking", ["ledger_sequence", "ledger_close_time"])
def test_a_stream_without_ledgers_or_times_is_refused(tmp_path: Path, payments, lacking: str) -> None:
    schema = payments.SCHEMA.remove(payments.SCHEMA.get_field_index(lacking))
    archive = Archive(Folder(tmp_path))
    sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions())
    with pytest.raises(ArchiveIntegrityError, match=f"no column {lacking}"):
        sink.open(schema, StreamRequest("payments", 1, 2))
    archive.close()
