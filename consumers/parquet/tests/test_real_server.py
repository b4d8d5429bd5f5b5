"""The whole way: made-up ledgers, the real server, the real command, DuckDB."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import Manifest

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, LedgerDecoder
from tests.support.corpus import ROOT, requires_corpus

START, END = 1000, 1099


@contextmanager
def serving(source: str) -> Iterator[str]:
    """Runs the server and gives its address."""
    program = str(Path(sys.executable).with_name("stellar-arrow-source"))
    process = subprocess.Popen(
        [program, "--source", source, "--port", "0", "--health-port", "0", "--log-format", "json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "serving":
                break
        else:
            pytest.fail("the server ended before it was serving")
        yield event["flight"]
    finally:
        process.kill()
        process.communicate()


def test_the_archive_holds_what_the_server_gives(command, tmp_path) -> None:
    with serving(f"synthetic://?start={START}&ledgers=200") as address:
        command(address, tmp_path, "--stream", "all", "--range", f"{START}:{START + 40}")
        command(address, tmp_path, "--stream", "all", "--range", f"{START}:{END}", "--max-file-size", "20KB")
        command("verify", tmp_path)
        with Client(address) as client:
            for stream in client.streams():
                expected = client.read_table(StreamRequest(stream.name, START, END))
                if not expected.num_rows:
                    assert not Manifest.load(Folder(tmp_path / stream.name)).files
                    continue
                found = duckdb.sql(
                    f"SELECT * EXCLUDE (date) FROM '{tmp_path}/{stream.name}/*/*.parquet'"
                ).to_arrow_table()
                keys = [
                    name for name in ("ledger_sequence", "transaction_id", "operation_id") if name in found.column_names
                ]
                order = [(name, "ascending") for name in keys]
                assert found.sort_by(order).to_pylist() == expected.sort_by(order).to_pylist()
    volumes = duckdb.sql(
        "SELECT date_trunc('day', ledger_close_time) AS day, asset_code, SUM(amount) AS daily_volume "
        f"FROM '{tmp_path}/payments/*/*.parquet' WHERE successful = true GROUP BY 1, 2 ORDER BY 1, 2;"
    ).to_arrow_table()
    assert "XLM" in volumes["asset_code"].to_pylist()


@requires_corpus
@pytest.mark.parametrize(
    ("store", "first", "last"), [("testnet-2022", 1410048, 1410303), ("pubnet", 30822015, 30822025)]
)
def test_all_streams_of_real_ledgers(command, tmp_path, store, first, last) -> None:
    """Read back, every stream equals what the decoder gives for the ledgers; DuckDB finds the same rows and sums."""
    with serving(str(ROOT / store)) as address:
        arguments = (address, tmp_path, "--stream", "all", "--range", f"{first}:{last}", "--max-file-size", "1MB")
        command(*arguments)
        assert command(*arguments).stderr.count("already complete") == len(STREAMS)
    command("verify", tmp_path)
    source = open_source(str(ROOT / store))
    ledgers = [ledger.xdr for ledger in source.ledgers(first, last, threading.Event())]
    decoded = LedgerDecoder(dict.fromkeys(stream.name for stream in STREAMS)).decode(ledgers).batches
    empty = set()
    for stream in STREAMS:
        expected = pa.Table.from_batches([decoded[stream.name]]).replace_schema_metadata(None)
        manifest = Manifest.load(Folder(tmp_path / stream.name))
        assert list(manifest.covered) == [(first, last)]
        if not expected.num_rows:
            empty.add(stream.name)
            assert not manifest.files
            continue
        files = [pq.ParquetFile(tmp_path / stream.name / path).read() for path in sorted(manifest.files)]
        assert pa.concat_tables(files).replace_schema_metadata(None).equals(expected)
        numbers = [field.name for field in expected.schema if pa.types.is_integer(field.type)]
        sums = ", ".join(f'sum("{name}")::HUGEINT' for name in numbers)
        (found,) = duckdb.sql(f"SELECT count(*), {sums} FROM '{tmp_path}/{stream.name}/*/*.parquet'").fetchall()
        exact = (pc.sum(expected[name].cast(pa.decimal128(38, 0))).as_py() for name in numbers)
        assert found == (len(expected), *exact)
    assert len(STREAMS) - len(empty) > 10
    assert "config_settings" in empty


def test_following_the_tip(command, tmp_path) -> None:
    with serving(f"synthetic://?start={START}&ledgers=50&rate=20") as address:
        with command.start(address, tmp_path, "--interval", "0.01") as process:
            deadline = time.monotonic() + 60
            while len(Manifest.load(Folder(tmp_path)).files) < 3 and time.monotonic() < deadline:
                time.sleep(0.1)
            process.terminate()
            _, said = process.communicate(timeout=30)
        assert process.returncode == 143, said
        command("verify", tmp_path)
        command("gaps", tmp_path)
        ((first, last),) = Manifest.load(Folder(tmp_path)).covered
        with Client(address) as client:
            expected = client.read_table(StreamRequest("payments", first, last))
    found = duckdb.sql(f"SELECT * EXCLUDE (date) FROM '{tmp_path}/*/*.parquet' ORDER BY operation_id").to_arrow_table()
    assert found.to_pylist() == expected.to_pylist()
