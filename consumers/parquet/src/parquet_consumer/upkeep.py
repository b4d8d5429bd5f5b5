"""Looking after an archive: is it whole, what does it lack, what is too old."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.archive import LOCK_NAME, is_ours, stray_files
from parquet_consumer.errors import os_errors
from parquet_consumer.manifest import ArchiveRecord, FileRecord, Manifest, PrunedRecord
from parquet_consumer.partitions import Partitioning, ledgers_and_close_times
from stellar_arrow_client.checkpoint import sync_folder
from stellar_arrow_client.errors import StellarArrowError


def is_being_written(folder: Path) -> bool:
    """Whether another process writes into the archive."""
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with an archive, a sentence each; nothing when it is whole.

    Every recorded file is read in full: its size and SHA-256 must be those recorded, its rows those of its ledgers
    and its folder. What a running writer has not yet recorded is passed over.

    Raises:
        ArchiveIntegrityError: the manifest itself is damaged.
    """
    with os_errors("read", folder):
        written = is_being_written(folder)
    manifest = Manifest.load(folder)
    archive = manifest.archive
    if archive is None:
        yield f"{manifest.path} is empty: the first run was interrupted at its very beginning; run it again"
        return
    if manifest.torn and not written:
        yield f"{manifest.path} ends in a torn line; the next run repairs it"
    partitioning = Partitioning.parse(archive.partition)
    for record in manifest.files.values():
        try:
            yield from _file_faults(folder / record.path, record, archive, partitioning)
        except (OSError, pa.ArrowException) as error:
            yield f"{folder / record.path} cannot be read: {str(error).splitlines()[0]}"
    with os_errors("read", folder):
        for path in stray_files(folder, manifest):
            if not is_ours(path.name):
                yield f"{path} does not belong to the archive; move it elsewhere"
            elif not written:
                yield f"{path} was left by an interrupted run; the next run removes it"


def _file_faults(path: Path, record: FileRecord, archive: ArchiveRecord, partitioning: Partitioning) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
        return
    if (size := path.stat().st_size) != record.size:
        yield f"{path} has {size} bytes instead of {record.size}"
        return
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            yield f"{path} is damaged: its SHA-256 is not the one recorded"
            return
    file_rows = pq.ParquetFile(path).read(["ledger_sequence", "ledger_close_time"])
    if file_rows.num_rows != record.rows:
        yield f"{path} has {file_rows.num_rows} rows instead of {record.rows}"
        return
    try:
        pieces = list(partitioning.pieces(*ledgers_and_close_times(file_rows), record.first, record.last))
    except StellarArrowError as error:
        yield f"{path}: {error}"
        return
    folder = Path(record.path).parent.as_posix()
    for piece in pieces:
        if piece.folder != ("" if folder == "." else folder):
            yield f"{path} holds rows that belong into {piece.folder}"


def prune(folder: Path, before: datetime, *, dry_run: bool = False) -> list[FileRecord]:
    """Give up the files whose rows are all older than ``before``; works beside a running writer.

    The files are first recorded as pruned, all at once, then deleted: after a crash in between, the next run
    deletes what is left of them. Their ledgers stay covered.

    Returns:
        The files given up, or that would be with ``dry_run``.

    Raises:
        ArchiveError: a file cannot be deleted.
    """
    manifest = Manifest.load(folder)
    old = [record for record in manifest.files.values() if datetime.fromisoformat(record.newest) < before]
    if dry_run or not old:
        return old
    manifest.append(PrunedRecord(before=before.isoformat(), paths=[record.path for record in old]))
    with os_errors("prune", folder):
        for record in old:
            (folder / record.path).unlink(missing_ok=True)
        for parent in {(folder / record.path).parent for record in old}:
            _remove_if_empty(parent, folder)
    return old


def _remove_if_empty(folder: Path, archive: Path) -> None:
    """Remove a partition's folder, and those above it, once nothing is left in them."""
    while folder != archive:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            sync_folder(folder)
            return
        folder = folder.parent
    sync_folder(archive)
