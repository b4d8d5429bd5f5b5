"""Several streams in one run: busy ones, one with few rows, one with none."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.files import FileOptions, FileWriter
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.row_groups import RowGroups
from parquet_consumer.sink import ParquetSink
from pyarrow.dataset import dataset

from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import FakeServer, Fault

FIRST, LAST = 100, 1099
KILLS = 12


@pytest.fixture
def tables(payments) -> dict[str, pa.Table]:
    rows = {
        "none": [],
        "few": [FIRST, 500, LAST],
        **{f"busy{index}": range(FIRST + index, LAST - index) for index in range(10)},
    }
    return {name: payments.table(ledgers).replace_schema_metadata({"stream": name}) for name, ledgers in rows.items()}


def check(folder: Path, tables: dict[str, pa.Table], read_archive) -> None:
    assert {path.name for path in folder.iterdir()} == set(tables)
    for name, table in tables.items():
        assert list(Manifest.load(Folder(folder / name)).covered) == [(FIRST, LAST)]
        if table.num_rows:
            assert read_archive(folder / name).equals(table.replace_schema_metadata(None))
        else:
            assert not list(folder.rglob(f"{name}/**/*.parquet"))


def test_kills_lose_and_double_nothing(tmp_path, tables, command, read_archive) -> None:
    """Each stream is left at a place of its own, from which it goes on; what is complete is not fetched again."""
    chance = random.Random(30822015)
    often = ["--stream", "all", "--interval", "0.0005", "--partition", "ledgers:37", "--log-level", "warning"]
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=2, delay=0.01) as server:
        places = set()
        for _ in range(KILLS):
            with command.start(server.address, tmp_path, FIRST, LAST, *often) as process:
                server.wait_for_batches(server.batches + chance.randrange(20, 400), 30)
                time.sleep(chance.random() * 0.03)
                process.kill()
                _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
            places.add(tuple(Manifest.load(Folder(tmp_path / name)).covered.last for name in tables))
        assert len(places) > KILLS / 2, "the kills must meet archives that grow"
        assert any(len(set(place)) > 1 for place in places), "the kills must meet streams at different places"
        server.delay, server.ledgers_per_batch = 0, 250
        command(server.address, tmp_path, FIRST, LAST, *often)
        asked = len(server.requests)
        done = command(server.address, tmp_path, FIRST, LAST, "--stream", "all", "--partition", "ledgers:37")
        assert len(server.requests) == asked
    assert done.stderr.count("already complete") == len(tables)
    check(tmp_path, tables, read_archive)
    command("verify", tmp_path)
    command("gaps", tmp_path)


def test_one_stream_that_fails_leaves_the_others_what_they_have(tmp_path, tables, command, read_archive) -> None:
    from stellar_arrow_client.errors import GapError

    fault = Fault(2, "error", GapError("ledger 120 is missing"))
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=10, delay=0.01, faults=[fault]) as server:
        done = command(server.address, tmp_path, FIRST, LAST, "--stream", "all", code=4)
        assert "error: ledger 120 is missing" in done.stderr
        last = [Manifest.load(Folder(tmp_path / name)).covered.last for name in tables]
        assert FIRST + 19 in last  # the one that failed; the others may be before it or beyond
        command(server.address, tmp_path, FIRST, LAST, "--stream", "all")
    check(tmp_path, tables, read_archive)


def test_streams_with_commas_and_what_has_no_row(tmp_path, tables, command) -> None:
    with FakeServer(tables, FIRST, LAST) as server:
        done = command(server.address, tmp_path, FIRST, LAST, "--stream", "few, none", "--stream", "busy1,few")
        assert "no stream 'bus1'; did you mean 'busy1'?" in (
            command(server.address, tmp_path, FIRST, LAST, "--stream", "few,bus1", code=2).stderr
        )
    assert done.stdout.splitlines() == [f"{tmp_path}/{name}/*/*.parquet" for name in ("few", "none", "busy1")]
    assert f"{tmp_path / 'none'}: no row so far; its columns are in {tmp_path}/none/_common_metadata" in done.stderr
    assert done.stderr.count("no row so far") == 1
    assert f"SELECT * FROM '{tmp_path}/few/*/*.parquet'" in done.stderr


def test_columns_can_be_read_with_and_without_rows(tmp_path, tables, command) -> None:
    """By name in DuckDB and pyarrow; as a folder, and beside the pattern of the files where there are some."""
    with FakeServer(tables, FIRST, LAST) as server:
        command(server.address, tmp_path, FIRST, LAST, "--stream", "few,none")
    for name in ("few", "none"):
        columns = tmp_path / name / "_common_metadata"
        schema = pq.read_schema(columns)
        assert schema.equals(tables[name].schema)
        found = dataset(tmp_path / name, schema=schema, partitioning="hive").to_table()
        assert found.num_rows == tables[name].num_rows
        assert found.schema.names == schema.names
        empty = duckdb.sql(f"SELECT * FROM read_parquet('{columns}')").to_arrow_table()
        assert (empty.num_rows, empty.schema.names) == (0, schema.names)
    pattern = f"['{columns}', '{tmp_path}/few/*/*.parquet']"
    assert duckdb.sql(f"SELECT * FROM read_parquet({pattern})").to_arrow_table().num_rows == tables["few"].num_rows
    command("verify", tmp_path)


def test_many_streams_share_the_memory_of_few(tmp_path, payments, monkeypatch) -> None:
    """Busy ones are written first; what all hold stays near the limit, a small stream keeps its rows together."""
    batch = payments.batch(range(100, 150))
    limit = batch.nbytes * 20
    row_groups, written, most = RowGroups(limit), [], 0
    monkeypatch.setattr(
        FileWriter,
        "_write_row_group",
        lambda self, write=FileWriter._write_row_group: (written.append(self), write(self)),
    )
    sinks = []
    for index in range(30):
        sink = ParquetSink(
            Archive(Folder(tmp_path / str(index))), Partitioning.parse("none"), FileOptions(), row_groups
        )
        sink.open(batch.schema, StreamRequest("payments"))
        sinks.append(sink)
    for turn in range(10):
        first = 100 + turn * 50
        for index, sink in enumerate(sinks):
            if index > 0 or turn == 0:
                sink.write(payments.batch(range(first, first + 50)), Cursor(first, first + 49))
            most = max(most, sum(row_groups._held.values()))
    assert limit < most < 2 * limit
    quiet = sinks[0]._file
    assert quiet not in written
    assert len(set(written)) == 29
    for sink in sinks:
        sink.close()
    assert not row_groups._held
