"""Verification finds every kind of damage; gaps and retention say and do what they should."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import MANIFEST_NAME, FileRecord, Manifest
from parquet_consumer.upkeep import faults, prune

DAY = "date=2024-08-31"


def file_of(folder: Path) -> Path:
    (path,) = (folder / DAY).glob("*.parquet")
    return path


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a file's rows, and record it as if it had been written so."""
    import hashlib
    from dataclasses import asdict

    path, manifest = file_of(folder), Manifest.load(Folder(folder))
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    records = [record for record in manifest.files.values() if folder / record.path != path]
    (old,) = (record for record in manifest.files.values() if folder / record.path == path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.archive is not None
    (folder / MANIFEST_NAME).unlink()
    anew = Manifest(Folder(folder))
    anew.append(manifest.archive)
    changed = FileRecord(**asdict(old) | {"size": path.stat().st_size, "sha256": digest})
    for record in (*records, changed):
        anew.append(record)


def replace_column(name: str, values: list[object]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        column = pa.array(values[: table.num_rows], field.type)
        return table.set_column(table.schema.get_field_index(name), field, column)

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: file_of(folder).unlink(), "is missing"),
    "cut": (lambda folder: file_of(folder).write_bytes(b"PAR1"), "has 4 bytes instead of"),
    "a flipped bit": (
        lambda folder: file_of(folder).write_bytes(
            bytes([*file_of(folder).read_bytes()[:-100], 0, *file_of(folder).read_bytes()[-99:]])
        ),
        "SHA-256 is not the one recorded",
    ),
    "fewer rows": (lambda folder: rewrite(folder, lambda table: table.slice(1)), "rows instead of"),
    "other ledgers": (
        lambda folder: rewrite(folder, replace_column("ledger_sequence", [7] * 1000)),
        "rows of other ledgers",
    ),
    "another day": (
        lambda folder: rewrite(folder, replace_column("ledger_close_time", [datetime(2024, 9, 1, tzinfo=UTC)] * 1000)),
        "runs backwards or differs|belong into date=2024-09-01",
    ),
    "left over": (
        lambda folder: (folder / DAY / "payments-0000000900-0000000910.parquet").write_bytes(b""),
        "left by an interrupted run",
    ),
    "half a file": (
        lambda folder: (folder / DAY / ".payments-0000000900.parquet.tmp").write_bytes(b""),
        "left by an interrupted run",
    ),
    "a stranger": (lambda folder: (folder / DAY / "x.parquet").write_bytes(b""), "does not belong"),
    "torn": (
        lambda folder: (folder / MANIFEST_NAME).open("ab").write(b'{"crc32":"0'),
        "torn line",
    ),
}


@pytest.mark.parametrize(("damage", "fault"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found(archive_range, command, damage, fault: str) -> None:
    folder = archive_range(100, 130)
    assert list(faults(Folder(folder))) == []
    assert "is whole: 2 files, 31 ledgers" in command("verify", folder).stderr
    damage(folder)
    (found,) = faults(Folder(folder))
    assert re.search(fault, found)


def test_verify_says_that_an_archive_holds_nothing(archive_range, command, tmp_path: Path) -> None:
    folder = archive_range(100, 130)
    command("prune", folder, "--older-than", "0d")
    assert f"{folder} holds no file: its 31 ledgers have no rows, or were pruned" in command("verify", folder).stderr
    (tmp_path / "new").mkdir()
    first_line, *_ = (folder / MANIFEST_NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / "new" / MANIFEST_NAME).write_bytes(first_line)
    assert "new holds nothing: no ledger has been archived" in command("verify", tmp_path / "new").stderr


def test_verify_lists_the_faults_and_exits_with_4(archive_range, command) -> None:
    folder = archive_range(100, 130)
    file_of(folder).unlink()
    done = command("verify", folder, code=4)
    assert done.stdout.strip().endswith("payments-0000000112-0000000130.parquet is missing")
    assert done.stderr.startswith("error: ")
    assert "1 fault" in done.stderr


def test_a_damaged_manifest_exits_with_4(archive_range, command) -> None:
    folder = archive_range(100, 130)
    log = folder / MANIFEST_NAME
    log.write_bytes(log.read_bytes().replace(b"payments", b"Payments", 1))
    assert "line 1: its checksum does not match" in command("verify", folder, code=4).stderr


def test_verify_beside_a_writer_passes_over_its_files(archive_range, command) -> None:
    folder = archive_range(100, 130)
    writer = Archive(Folder(folder))
    (folder / DAY / ".payments-0000000131.parquet.tmp").write_bytes(b"in the making")
    command("verify", folder)
    writer.close()
    command("verify", folder, code=4)


def test_gaps(archive_range, command) -> None:
    folder = archive_range(100, 105)
    assert command("gaps", folder).stdout == ""
    archive_range(110, 112)
    archive_range(120, 120)
    done = command("gaps", folder, code=4)
    assert done.stdout.splitlines() == ["106:109", "113:119"]
    assert "lacks 11 ledgers" in done.stderr


def test_prune_deletes_what_is_old_and_nothing_else(archive_range, command) -> None:
    folder = archive_range(100, 130)
    listed = command("prune", folder, "--older-than", "2024-08-31", "--dry-run").stdout
    assert (folder / "date=2024-08-30").exists()
    assert command("prune", folder, "--older-than", "2024-08-31").stdout == listed
    assert listed.strip() == str(folder / "date=2024-08-30/payments-0000000100-0000000111.parquet")
    assert not (folder / "date=2024-08-30").exists()
    assert file_of(folder).exists()
    command("verify", folder)
    assert "31 (100 to 130)" in command("info", folder).stdout
    assert "pruned:    1 files" in command("info", folder).stdout
    assert command("prune", folder, "--older-than", "2024-08-31").stdout == ""


def test_prune_keeps_a_file_with_one_row_that_is_young_enough(archive_range) -> None:
    folder = archive_range(112, 130)
    newest = next(iter(Manifest.load(Folder(folder)).files.values())).newest
    assert prune(Folder(folder), datetime.fromisoformat(newest)) == []
    assert file_of(folder).exists()


def test_pruned_ledgers_are_not_written_again(archive_range, payments, read_archive) -> None:
    folder = archive_range(100, 130)
    prune(Folder(folder), datetime(2024, 8, 31, tzinfo=UTC))
    archive_range(95, 135)
    expected = payments.table([*range(95, 100), *range(112, 136)]).replace_schema_metadata(None)
    assert read_archive(folder).equals(expected)


def test_prune_beside_a_writer(archive_range, payments) -> None:
    from parquet_consumer.files import FileOptions
    from parquet_consumer.partitions import Partitioning
    from parquet_consumer.sink import ParquetSink

    from stellar_arrow_client.request import StreamRequest

    folder = archive_range(100, 130)
    writer = Archive(Folder(folder))
    sink = ParquetSink(writer, Partitioning.parse("hive"), FileOptions())
    sink.open(payments.SCHEMA, StreamRequest("payments", 131, 140))
    payments.feed(sink, 131, 135)
    assert len(prune(Folder(folder), datetime(2024, 8, 31, tzinfo=UTC))) == 1
    payments.feed(sink, 136, 140)
    sink.close()
    writer.close()
    assert list(faults(Folder(folder))) == []
    assert list(Manifest.load(Folder(folder)).covered) == [(100, 140)]


@pytest.mark.parametrize("age", ["90", "90y", "yesterday", "2024-13-01", "999999w"])
def test_ages_that_are_none(archive_range, command, age: str) -> None:
    said = command("prune", archive_range(100, 101), "--older-than", age, code=2).stderr
    assert "neither an age such as 90d nor a date" in said


@pytest.mark.parametrize("age", ["90d", "12h", "2w", "2024-09-01", "2024-09-01T00:00:00+02:00"])
def test_ages(archive_range, command, age: str) -> None:
    assert len(command("prune", archive_range(100, 130), "--older-than", age, "--dry-run").stdout.splitlines()) == 2


def test_what_is_no_archive(tmp_path, command) -> None:
    for name in ("verify", "gaps", "info"):
        assert "is no archive" in command(name, tmp_path, code=1).stderr
