"""The command: ranges, tables, changes of columns, and what it refuses."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from consumers.postgres.tests.support import Command, Reader
from stellar_arrow_client.testing import FakeServer, Fault, sample_table

FIRST, LAST = 100, 699


@pytest.fixture
def samples(command: Command, server: FakeServer):
    """Runs the command on the stream ``samples``."""

    def run(*arguments: object, code: int = 0, server: FakeServer = server) -> str:
        done = command(server.address, *arguments, "--stream", "samples", code=code)
        return done.stdout if code == 0 else done.stderr

    return run


def expected(first: int, last: int) -> pa.Table:
    return sample_table(first, last)


def test_gaps_are_filled_and_nothing_is_read_twice(samples, reader: Reader, server) -> None:
    for first in (150, 200, 300):
        samples(first, first + 9)
    assert reader.ledgers("samples") == [(150, 159), (200, 209), (300, 309)]
    del server.requests[:]
    assert samples(100, 400, "--writers", 2).split() == [f"{reader.schema}.samples"]
    assert reader.ledgers("samples") == [(100, 400)]
    reader.check("samples", expected(100, 400))
    asked = sorted((request.start, request.end) for request in server.requests)
    assert sum(end - start + 1 for start, end in asked) == 301 - 30
    assert all(before[1] < after[0] for before, after in pairwise(asked))
    del server.requests[:]
    samples(100, 400, "--writers", 2)
    assert server.requests == []


def test_without_a_start_it_goes_on_where_the_table_ends(samples, command, reader, server) -> None:
    samples(100, 120)
    samples(140, 150)
    with command.start(server.address, "--stream", "samples", "--commit-seconds", 0.05) as process:
        reader.wait_until(lambda: (140, LAST) in reader.ledgers("samples"), 60)
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert f"{reader.schema}.samples lacks ledgers 121 to 139; give them as START and END" in said
    assert reader.ledgers("samples") == [(100, 120), (140, LAST)]


def test_ranges_first_then_the_tip(command, reader, server) -> None:
    """The metrics count all ranges of a stream together."""
    options = ("--stream", "samples", "--writers", 3, "--commit-seconds", 0.05)
    with command.start(server.address, FIRST, *options, "--log-format", "json", "--metrics-port", 0) as process:
        reader.wait_until(lambda: reader.count("samples") == LAST - FIRST + 1, 60)
        server.publish(LAST + 50, {name: sample_table(LAST + 1, LAST + 50, stream=name) for name in server.tables})
        reader.wait_until(lambda: reader.ledgers("samples") == [(FIRST, LAST + 50)], 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    reader.check("samples", expected(FIRST, LAST + 50))
    assert {request.start for request in server.requests} == {100, 300, 500, 700}


def test_metrics_of_ranges_at_the_same_time(command, reader, server) -> None:
    server.delay, server.faults = 0.1, [Fault(after=6, kind="silence")] * 3
    options = ("--stream", "samples", "--writers", 3, "--commit-seconds", 0.05)
    with command.start(server.address, FIRST, LAST, *options, "--log-format", "json", "--metrics-port", 0) as process:
        assert process.stderr is not None
        url = next(said["url"] for said in map(json.loads, process.stderr) if said["event"] == "serving metrics")
        reader.wait_until(lambda: len(reader.ledgers("samples")) == 3, 60)
        time.sleep(0.1)
        page = urllib.request.urlopen(url, timeout=10).read().decode()
    lines = [line for line in page.splitlines() if line.startswith("stellar_arrow_consumer_next_ledger{")]
    assert len(lines) == 1
    assert FIRST < float(lines[0].split()[1]) <= 300


def test_dry_run_writes_nothing(samples, reader) -> None:
    said = samples(100, 199, "--dry-run")
    assert said.startswith(f"samples: ledgers 100 to 199 would be written to {reader.schema}.samples with the columns")
    assert reader.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{reader.schema}'") == []
    samples(100, 149)
    assert "ledgers 150 to 199 would" in samples(100, 199, "--dry-run")
    assert "already complete" in samples(100, 149, "--dry-run")
    assert "from 150 on would" in samples("--dry-run")


def test_names_of_tables(command, reader, server) -> None:
    odd = 'Half "a" table; DROP'
    command(server.address, 100, 110, "--stream", "samples", "--table", odd)
    reader.check(odd, expected(100, 110))
    command(server.address, 100, 110, "--stream", "samples,others", "--table", "one", code=2)
    said = command(server.address, 100, 110, "--stream", "samples", "--table", "x" * 53, code=2).stderr
    assert "must have 1 to 52 bytes" in said
    assert "did you mean" in command(server.address, 100, 110, "--stream", "sample", code=2).stderr


def test_columns_to_index(samples, reader) -> None:
    assert "no stream has a column 'acount' to index; did you mean" in samples(100, 110, "--index", "acount", code=2)
    samples(100, 110, "--index", "none")
    samples(100, 110, "--index", "amount,memo")
    found = reader.query(f"SELECT indexname FROM pg_indexes WHERE schemaname = '{reader.schema}' ORDER BY 1")
    names = [name for (name,) in found if name.startswith("samples_")]
    assert names == ["samples_amount_idx", "samples_brin_idx", "samples_memo_idx", "samples_pkey"]


def test_several_streams(command, reader, server) -> None:
    command(server.address, 100, 110, "--stream", "samples", "--stream", "others")
    for name in ("samples", "others"):
        reader.check(name, sample_table(100, 110, stream=name))


def test_columns_bring_the_ledger_along(samples, reader) -> None:
    samples(100, 110, "--columns", "amount,memo")
    reader.check("samples", expected(100, 110).select(["ledger_sequence", "amount", "memo"]))
    assert "has the column memo, which is not asked for" in samples(111, 120, "--columns", "amount", code=2)
    assert "lacks ledger_close_time" in samples(111, 120, code=2)


def test_tables_that_hold_something_else(command, samples, reader, server) -> None:
    schema = reader.schema
    samples(100, 110)
    said = command(server.address, 100, 110, "--stream", "others", "--table", "samples", code=2).stderr
    assert f"{schema}.samples holds samples, not others" in said
    assert "holds all rows; give the same --filter" in samples(111, 120, "--filter", "amount > 1", code=2)
    assert "has no partitions" in samples(111, 120, "--partition-ledgers", 10, code=2)
    reader.query(f"CREATE TABLE {schema}.others (x integer)")
    said = command(server.address, 100, 110, "--stream", "others", code=2).stderr
    assert f"{schema}.others exists, but was not made by postgres-consumer" in said
    other = sample_table(100, 120).replace_schema_metadata(
        {"stream": "samples", "schema_version": "1", "network": "another network"}
    )
    with FakeServer({"samples": other}, 100, 120) as another:
        said = samples(111, 120, code=4, server=another)
        assert "holds ledgers of 'testnet' but the server gives those of 'another network'" in said
    reader.query(f"DROP TABLE {schema}.samples")
    fix = samples(111, 120, code=2).split("to fill it anew, ")[1].strip()
    reader.query(fix)
    samples(111, 120)
    reader.check("samples", expected(111, 120))


def _changed(table: pa.Table, **columns: pa.Array) -> pa.Table:
    metadata = table.schema.metadata
    for name, values in columns.items():
        field = pa.field(name, values.type, bool(values.null_count))
        table = (
            table.set_column(table.column_names.index(name), field, values)
            if name in table.column_names
            else table.append_column(field, values)
        )
    return table.replace_schema_metadata(metadata)


def test_new_columns(samples, reader) -> None:
    samples(100, 119)
    table = sample_table(120, 139)
    tags = pa.array([None if index % 2 else f"tag {index}" for index in range(table.num_rows)])
    grown = _changed(table, tag=tags)
    with FakeServer({"samples": grown}, 100, 139) as server:
        said = samples(100, 139, code=2, server=server)
        assert f"{reader.schema}.samples lacks tag; give --schema-change add to add them" in said
        columns = ",".join(table.column_names)
        samples(100, 129, "--columns", columns, server=server)
        samples(100, 139, "--schema-change", "add", server=server)
        samples(100, 139, server=server)
    reader.check("samples", sample_table(100, 139))
    [(filled,)] = reader.query(f"SELECT count(tag) FROM {reader.schema}.samples")
    assert filled == sum(
        tag is not None and ledger >= 130
        for tag, ledger in zip(tags.to_pylist(), table["ledger_sequence"].to_pylist(), strict=True)
    )
    assert "has the column tag, which is not asked for or which the stream has no more" in samples(140, 150, code=2)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("tag", [1], "lacks tag, which cannot be added as tag is never null"),
        ("amount", ["1"], "the column amount of {} is bigint, the stream now needs text not null"),
        ("successful", [None, True], "the column successful of {} is boolean not null, the stream now needs boolean"),
    ],
)
def test_changes_that_are_refused(samples, reader, name, values, sentence) -> None:
    samples(100, 119)
    table = sample_table(120, 139)
    changed = _changed(table, **{name: pa.array((values * table.num_rows)[: table.num_rows])})
    with FakeServer({"samples": changed}, 100, 139) as server:
        said = samples(100, 139, "--schema-change", "add", code=2, server=server)
    assert sentence.format(f"{reader.schema}.samples") in said
    reader.check("samples", expected(100, 119))


def test_another_version_of_the_columns_is_refused(samples) -> None:
    samples(100, 119)
    newer = sample_table(120, 139).replace_schema_metadata({"stream": "samples", "schema_version": "2"})
    with FakeServer({"samples": newer}, 100, 139) as server:
        assert "holds version 1 of the columns of samples, the server gives version 2" in samples(
            100, 139, "--schema-change", "add", code=2, server=server
        )


def test_partitions(samples, reader) -> None:
    """They come and go: those that were dropped are not filled again."""
    samples(150, 260, "--partition-ledgers", 50)
    names = "SELECT relname FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE relkind = 'r' AND "
    names += f"inhparent = '{reader.schema}.samples'::regclass ORDER BY 1"
    found = [name for (name,) in reader.query(names)]
    assert found == ["samples_0000000150", "samples_0000000200", "samples_0000000250"]
    reader.query(f"DROP TABLE {reader.schema}.samples_0000000150")
    samples(100, 300, "--writers", 3)
    reader.check("samples", pa.concat_tables([expected(100, 149), expected(200, 300)]))


def test_rows_of_somebody_else(samples, reader) -> None:
    samples(100, 110)
    columns = ", ".join(expected(1, 1).column_names[1:])
    reader.query(
        f"INSERT INTO {reader.schema}.samples (ledger_sequence, ledger_row, {columns}) "
        f"SELECT 150, 0, {columns} FROM {reader.schema}.samples LIMIT 1"
    )
    assert "somebody else wrote into the table" in samples(111, 160, "--commit-rows", 50, code=4)


def test_config_file(command, reader, server, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[postgres-consumer]\nstream = ["others"]\nwriters = 2\nindex = "none"\n')
    command(server.address, 100, 110, "--config", config)
    reader.check("others", sample_table(100, 110, stream="others"))
