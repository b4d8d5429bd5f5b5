"""Disks that are full and folders that cannot be written: a plain sentence, and a later run completes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stellar_arrow_client.testing import FakeServer, sample_table

FIRST, LAST = 1000, 1999


@pytest.fixture
def samples() -> Iterator[FakeServer]:
    with FakeServer({"samples": sample_table(FIRST, LAST)}, FIRST, LAST, ledgers_per_batch=20) as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk takes root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def read_samples(folder: Path) -> pa.Table:
    tables = [pq.ParquetFile(path).read() for path in sorted(folder.rglob("*.parquet"))]
    return pa.concat_tables(tables).sort_by("transaction_id")


def test_a_full_disk_keeps_what_is_recorded(samples, small_disk, command) -> None:
    archive = small_disk / "archive"
    often = ["--stream", "samples", "--max-file-size", "60KB"]
    done = command(samples.address, archive, FIRST, LAST, *often, code=1)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "No space left on device; free some space and run the same command again" in errors[0]
    command("verify", archive)
    kept = read_samples(archive)
    assert kept.num_rows > 0
    assert kept.equals(sample_table(FIRST, kept["ledger_sequence"][-1].as_py()))
    assert done.stdout == ""

    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    command(samples.address, archive, FIRST, LAST, *often)
    command("verify", archive)
    assert read_samples(archive).equals(sample_table(FIRST, LAST))


def test_a_file_that_may_not_grow(samples, tmp_path, command) -> None:
    archive = tmp_path / "archive"
    often = ["--stream", "samples", "--max-file-size", "60KB"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    done = command(samples.address, archive, FIRST, LAST, *often, code=1, preexec_fn=limit)
    assert "File too large; choose a smaller --max-file-size" in done.stderr
    command("verify", archive)
    command(samples.address, archive, FIRST, LAST, *often)
    assert read_samples(archive).equals(sample_table(FIRST, LAST))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_may_not_be_written(samples, tmp_path, command) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    done = command(samples.address, folder / "archive", FIRST, LAST, "--stream", "samples", code=1)
    assert "Permission denied; make the folder writable" in done.stderr


def test_a_folder_of_the_system(samples, command) -> None:
    done = command(samples.address, "/proc/archive", FIRST, LAST, "--stream", "samples", code=1)
    assert done.stderr.startswith("error: cannot write into /proc/archive: ")


def test_a_file_in_the_place_of_the_folder(samples, tmp_path, command) -> None:
    (tmp_path / "file").write_text("here")
    done = command(samples.address, tmp_path / "file" / "archive", FIRST, LAST, "--stream", "samples", code=1)
    assert "Not a directory; choose a folder, not a file" in done.stderr
