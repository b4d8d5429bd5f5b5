"""The command as a process: its forms, what it prints, and how it ends."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import duckdb
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import Manifest

from stellar_arrow_client.testing import FakeServer

PLAIN = ["--log-level", "warning"]


def covered(folder: Path) -> list[tuple[int, int]]:
    return list(Manifest.load(Folder(folder)).covered)


def asked(server: FakeServer) -> list[tuple[int | None, int | None]]:
    return [(request.start, request.end) for request in server.requests]


def test_positional_form(server, payments, command, tmp_path, read_archive) -> None:
    done = command(server.address, tmp_path / "archive", 100, 199)
    assert done.stdout == f"{tmp_path}/archive/*/*.parquet\n"
    assert f"SELECT * FROM '{tmp_path}/archive/*/*.parquet'" in done.stderr
    rows = read_archive(tmp_path / "archive")
    assert rows.equals(payments.table(range(100, 200)).replace_schema_metadata(None))
    assert duckdb.sql(f"SELECT count(*) FROM '{done.stdout.strip()}'").fetchall() == [(rows.num_rows,)]


def test_range_is_the_same(server, command, tmp_path) -> None:
    command(server.address, tmp_path, "--range", "100:199")
    assert covered(tmp_path) == [(100, 199)]
    both = command(server.address, tmp_path, 100, 199, "--range", "100:199", code=2)
    assert "not both" in both.stderr


def test_a_complete_range_is_left_alone(server, command, tmp_path) -> None:
    command(server.address, tmp_path, 100, 199)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    server.requests.clear()
    assert "already complete" in command(server.address, tmp_path, 120, 150).stderr
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_only_what_is_missing_is_fetched(server, payments, command, tmp_path, read_archive) -> None:
    for first, last in ((150, 159), (200, 209), (130, 149)):
        command(server.address, tmp_path, first, last, *PLAIN)
    server.requests.clear()
    command(server.address, tmp_path, 100, 300, *PLAIN)
    assert asked(server) == [(100, 129), (160, 199), (210, 300)]
    assert covered(tmp_path) == [(100, 300)]
    assert read_archive(tmp_path).equals(payments.table(range(100, 301)).replace_schema_metadata(None))


def test_without_start_it_goes_on_where_the_archive_ends(server, command, tmp_path) -> None:
    for first, last in ((120, 129), (150, 159)):
        command(server.address, tmp_path, first, last, *PLAIN)
    server.requests.clear()
    with command.start(server.address, tmp_path, *PLAIN) as process:
        server.wait_for_batches(server.batches + 54, 30)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert out == f"{tmp_path}/*/*.parquet\n"
    assert asked(server) == [(160, None)]
    assert covered(tmp_path) == [(120, 129), (150, 699)]
    assert "lacks ledgers 130 to 149; give them as START and END" in said


def test_a_follower_that_was_killed_at_once_goes_on_where_it_began(server, payments, command, tmp_path) -> None:
    with command.start(server.address, tmp_path, *PLAIN):
        server.wait_for_batches(1, 30)
        time.sleep(0.3)
    assert covered(tmp_path) == []
    server.publish(750, {"payments": payments.table(range(700, 751))})
    server.requests.clear()
    with command.start(server.address, tmp_path, *PLAIN) as process:
        server.wait_for_batches(7, 30)
        time.sleep(0.3)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert asked(server) == [(699, None)]
    assert covered(tmp_path) == [(699, 750)]


def test_what_a_follower_archives_appears_after_the_interval(server, command, tmp_path) -> None:
    with command.start(server.address, tmp_path, 650, "--interval", "0.01") as process:
        deadline = time.monotonic() + 30
        while covered(tmp_path) != [(650, 699)] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert covered(tmp_path) == [(650, 699)]
        assert process.poll() is None


def test_second_signal_kills(server, command, tmp_path) -> None:
    server.delay = 1.0
    with command.start(server.address, tmp_path, 100, 199) as process:
        server.wait_for_batches(1, 30)
        process.send_signal(signal.SIGSTOP)  # so that both signals are there before the first is handled
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, -signal.SIGTERM, 130, 143)
    server.delay = 0
    command(server.address, tmp_path, 100, 199)
    assert covered(tmp_path) == [(100, 199)]


def test_several_streams_go_into_a_folder_each(server, payments, command, tmp_path, read_archive) -> None:
    done = command(server.address, tmp_path, 100, 199, "--stream", "all", *PLAIN)
    assert done.stdout.splitlines() == [f"{tmp_path}/{name}/*/*.parquet" for name in ("payments", "samples")]
    rows = read_archive(tmp_path / "payments")
    assert rows.equals(payments.table(range(100, 200)).replace_schema_metadata(None))
    # One that is behind catches up, also when the tip is followed.
    command(server.address, tmp_path / "samples", 250, 259, "--stream", "samples", *PLAIN)
    command(server.address, tmp_path, "--range", "100:300", "--stream", "samples", "--stream", "payments", *PLAIN)
    assert covered(tmp_path / "samples") == covered(tmp_path / "payments") == [(100, 300)]
    command("verify", tmp_path)
    assert command("info", tmp_path).stdout.count("100 to 300") == 2


def test_streams_that_follow_from_different_places(server, command, tmp_path) -> None:
    command(server.address, tmp_path / "samples", 300, 309, "--stream", "samples", *PLAIN)
    server.requests.clear()
    with command.start(server.address, tmp_path, 250, "--stream", "all", *PLAIN) as process:
        server.wait_for_batches(1 + 5 + 45 + 39, 30)
        time.sleep(0.5)
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143, said
    assert sorted((str(request.stream), request.start, request.end) for request in server.requests) == [
        ("payments", 250, None),
        ("samples", 250, 299),
        ("samples", 310, None),
    ]
    assert covered(tmp_path / "samples") == covered(tmp_path / "payments") == [(250, 699)]


def test_one_folder_holds_one_stream(server, command, tmp_path) -> None:
    command(server.address, tmp_path / "one", 100, 110)
    other = command(server.address, tmp_path / "one", 100, 110, "--stream", "samples", code=2)
    assert "one holds payments, not samples; choose another folder" in other.stderr
    several = command(server.address, tmp_path / "one", 100, 110, "--stream", "all", code=2)
    assert "is an archive of one stream" in several.stderr
    command(server.address, tmp_path / "all", 100, 110, "--stream", "all")
    one = command(server.address, tmp_path / "all", 100, 110, code=2)
    assert f"write to {tmp_path}/all/payments" in one.stderr


def test_columns(server, command, tmp_path, read_archive) -> None:
    command(server.address, tmp_path, 100, 120, "--columns", "amount,asset_code", "--partition", "none")
    names = ["ledger_sequence", "ledger_close_time", "amount", "asset_code"]
    (path, *_) = tmp_path.glob("*.parquet")
    assert duckdb.sql(f"SELECT * FROM '{path}'").columns == names
    unknown = command(server.address, tmp_path / "x", 100, 120, "--columns", "amuont", code=2)
    assert "did you mean 'amount'?" in unknown.stderr
    more = command(server.address, tmp_path, 100, 130, "--partition", "none", code=2)
    assert f"give --columns {','.join(names)}" in more.stderr


def test_dry_run_writes_nothing(server, command, tmp_path) -> None:
    command(server.address, tmp_path / "one", 120, 129)
    server.requests.clear()
    done = command(server.address, tmp_path / "one", 110, 140, "--dry-run")
    assert done.stdout.startswith(f"payments: ledgers 110 to 119, 130 to 140 would be written to {tmp_path}/one/*/*")
    assert "already complete" in command(server.address, tmp_path / "one", 120, 129, "--dry-run").stdout
    done = command(server.address, tmp_path / "two", "--stream", "all", "--dry-run")
    assert [line.split(" would")[0] for line in done.stdout.splitlines()] == [
        "payments: ledgers from 699 on",
        "samples: ledgers from 699 on",
    ]
    assert not (tmp_path / "two").exists()
    assert server.requests == []
    assert (
        "holds payments, not samples"
        in command(server.address, tmp_path / "one", 1, 2, "--stream", "samples", "--dry-run", code=2).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compression", "zst"], "did you mean 'zstd'?"),
        (["--stream", "payment"], "did you mean 'payments'?"),
        (["--partition", "01/02"], "has a month but no year"),
        (["--max-file-size", "big"], "is not a size such as"),
        (["--max-file-size", "0"], "is not a size such as"),
        (["--interval", "0"], "is not in the range"),
        (["--row-group-rows", "0"], "is not in the range"),
        (["--range", "5"], "is not START:END"),
        (["--range", "9:5"], "is after end"),
        (["--range", "0:5"], "is not between 1"),
    ],
)
def test_usage_errors(server, command, tmp_path, arguments: list[str], said: str) -> None:
    done = command(server.address, tmp_path / "archive", *arguments, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "archive").exists()


def test_environment_names(server, command, tmp_path) -> None:
    command.env = {
        "PARTITION_FORMAT": "2006/01/02",
        "MAX_FILE_SIZE": "268435456",
        "COMPRESSION": "snappy",
        "ARCHIVE_INTERVAL_MINUTES": "5",
        "ARCHIVE_BUFFER_SIZE": "1000",
    }
    done = command(server.address, tmp_path / "archive", 100, 199)
    assert done.stdout == f"{tmp_path}/archive/*/*/*/*.parquet\n"
    assert {path.parent.as_posix()[-10:] for path in tmp_path.rglob("*.parquet")} == {"2024/08/30", "2024/08/31"}
    command.env["COMPRESSION"] = "zip"
    assert "COMPRESSION" in command(server.address, tmp_path / "archive", 200, 201, code=2).stderr


def test_a_configuration_file(server, command, tmp_path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[parquet-consumer]\npartition = "ledgers:50"\nmax-file-size = "1MB"\n')
    command(server.address, tmp_path / "archive", 100, 199, "--config", config)
    assert len(list((tmp_path / "archive").glob("ledgers=*/*.parquet"))) == 2


def test_a_second_writer_is_refused(server, command, tmp_path) -> None:
    writer = Archive(Folder(tmp_path))
    assert "another process is writing" in command(server.address, tmp_path, 100, 199, code=1).stderr
    writer.close()
    command(server.address, tmp_path, 100, 199)


def test_a_server_that_dies_for_good_loses_nothing(payments, command, tmp_path, read_archive) -> None:
    tables = {"payments": payments.table(range(100, 700))}
    with FakeServer(tables, 100, 699, delay=0.02) as server:
        stopper = threading.Thread(target=lambda: (server.wait_for_batches(20, 30), server.stop()))
        stopper.start()
        done = command(server.address, tmp_path, 100, 699, "--retry-for", 1, code=3)
        stopper.join()
    assert done.stderr.count("error: ") == 1
    kept = read_archive(tmp_path)
    last = covered(tmp_path)[0][1]
    assert covered(tmp_path) == [(100, last)]
    assert last > 200
    assert kept.equals(payments.table(range(100, last + 1)).replace_schema_metadata(None))
    command("verify", tmp_path)
    with FakeServer(tables, 100, 699) as server:
        command(server.address, tmp_path, 100, 699)
        assert asked(server) == [(last + 1, 699)]
    assert read_archive(tmp_path).equals(payments.table(range(100, 700)).replace_schema_metadata(None))
