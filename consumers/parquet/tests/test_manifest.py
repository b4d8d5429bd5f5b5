"""The manifest: torn ends are taken back, damage is found, two processes may append."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from parquet_consumer.errors import ArchiveError, ArchiveIntegrityError
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import (
    MANIFEST_NAME,
    ArchiveRecord,
    EmptyRecord,
    FileRecord,
    Manifest,
    PrunedRecord,
)

ARCHIVE = ArchiveRecord(stream="payments", network=None, partition="hive", filter=None, columns=["a int64"], start=10)


def file_record(first: int, last: int, path: str | None = None) -> FileRecord:
    return FileRecord(
        path=path or f"date=2024-08-30/payments-{first:010d}-{last:010d}.parquet",
        first=first,
        last=last,
        rows=3,
        size=100,
        sha256="00" * 32,
        oldest="2024-08-30T00:00:00+00:00",
        newest="2024-08-30T00:00:05.000001+00:00",
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    manifest = Manifest(Folder(tmp_path))
    manifest.append(ARCHIVE)
    manifest.append(file_record(10, 19))
    manifest.append(EmptyRecord(first=20, last=29))
    manifest.append(file_record(40, 49))
    return manifest


def same(one: Manifest, other: Manifest) -> bool:
    return (one.archive, one.files, list(one.covered), one.pruned) == (
        other.archive,
        other.files,
        list(other.covered),
        other.pruned,
    )


def test_what_is_appended_is_loaded(manifest: Manifest, tmp_path: Path) -> None:
    loaded = Manifest.load(Folder(tmp_path))
    assert same(manifest, loaded)
    assert loaded.archive == ARCHIVE
    assert list(loaded.covered) == [(10, 29), (40, 49)]
    assert list(loaded.files.values()) == [file_record(10, 19), file_record(40, 49)]
    assert not loaded.torn


def test_no_manifest_is_an_empty_one(tmp_path: Path) -> None:
    loaded = Manifest.load(Folder(tmp_path))
    assert loaded.archive is None
    assert len(loaded.covered) == 0
    assert not (tmp_path / MANIFEST_NAME).exists()


def test_every_torn_end_is_taken_back(manifest: Manifest, tmp_path: Path) -> None:
    whole = (tmp_path / MANIFEST_NAME).read_bytes()
    last_line = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last_line + 1, len(whole)):
        (tmp_path / MANIFEST_NAME).write_bytes(whole[:end])
        loaded = Manifest.load(Folder(tmp_path))
        assert loaded.torn
        assert list(loaded.covered) == [(10, 29)]
        loaded.append(file_record(40, 49))
        assert (tmp_path / MANIFEST_NAME).read_bytes() == whole


def test_a_torn_end_of_zeros_is_taken_back(manifest: Manifest, tmp_path: Path) -> None:
    whole = (tmp_path / MANIFEST_NAME).read_bytes()
    (tmp_path / MANIFEST_NAME).write_bytes(whole + bytes(4096))
    loaded = Manifest.load(Folder(tmp_path))
    assert loaded.torn
    assert same(manifest, loaded)


def test_damage_before_the_last_line_is_an_error(manifest: Manifest, tmp_path: Path) -> None:
    whole = bytearray((tmp_path / MANIFEST_NAME).read_bytes())
    at = whole.index(b'"rows":3')
    whole[at + 7] = ord("4")
    (tmp_path / MANIFEST_NAME).write_bytes(whole)
    with pytest.raises(ArchiveIntegrityError, match=r"line 2: its checksum does not match"):
        Manifest.load(Folder(tmp_path))


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (file_record(49, 60), "recorded twice"),
        (EmptyRecord(first=25, last=25), "recorded twice"),
        (EmptyRecord(first=60, last=59), "not a range"),
        (EmptyRecord(first=0, last=5), "not a range"),
        (file_record(60, 69, "../payments-0000000060-0000000069.parquet"), "not the path"),
        (file_record(60, 69, "/etc/payments-0000000060-0000000069.parquet"), "not the path"),
        (file_record(60, 69, "passwd"), "not the path"),
        (PrunedRecord(before="2024-01-01", paths=["date=2024-08-30/x.parquet"]), "not recorded"),
        (PrunedRecord(before="2024-01-01", paths=[file_record(10, 19).path] * 2), "not recorded"),
    ],
)
def test_records_that_contradict_are_refused(
    manifest: Manifest, tmp_path: Path, record: FileRecord, fault: str
) -> None:
    before = (tmp_path / MANIFEST_NAME).read_bytes()
    with pytest.raises(ArchiveIntegrityError, match=fault):
        manifest.append(record)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == before


def test_pruned_ledgers_stay_covered(manifest: Manifest, tmp_path: Path) -> None:
    manifest.append(PrunedRecord(before="2024-09-01T00:00:00+00:00", paths=[file_record(10, 19).path]))
    loaded = Manifest.load(Folder(tmp_path))
    assert same(manifest, loaded)
    assert list(loaded.covered) == [(10, 29), (40, 49)]
    assert [record.first for record in loaded.files.values()] == [40]
    assert loaded.pruned == 1


def test_two_processes_may_append(manifest: Manifest, tmp_path: Path) -> None:
    other = Manifest.load(Folder(tmp_path))
    other.append(PrunedRecord(before="2024-09-01T00:00:00+00:00", paths=[file_record(10, 19).path]))
    manifest.append(file_record(50, 59))
    other.append(EmptyRecord(first=60, last=60))
    assert same(Manifest.load(Folder(tmp_path)), other)
    assert list(other.covered) == [(10, 29), (40, 60)]


def test_a_full_disk_leaves_the_manifest_as_it_was(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tmp_path / MANIFEST_NAME).read_bytes()
    real = os.pwrite

    def full(log: int, data: bytes, offset: int) -> int:
        if offset > len(before):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(log, data[:10], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ArchiveError, match="No space left on device; free some space"):
        manifest.append(EmptyRecord(first=60, last=60))
    assert (tmp_path / MANIFEST_NAME).read_bytes() == before
    monkeypatch.undo()
    manifest.append(EmptyRecord(first=60, last=60))
    assert list(manifest.covered) == [(10, 29), (40, 49), (60, 60)]
