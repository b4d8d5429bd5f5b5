"""Looking after an archive: is it whole, what does it lack, what is too old."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from parquet_consumer.manifest import COLUMNS_NAME, MANIFEST_NAME, ArchiveRecord, FileRecord, Manifest, PrunedRecord
from parquet_consumer.names import is_ours
from parquet_consumer.partitions import Partitioning, ledgers_and_close_times
from parquet_consumer.storage import LOCK_NAME, Storage
from parquet_consumer.tables import Table
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.request import LEDGER, TIME

_BLOCK: Final = 1 << 22


def faults(storage: Storage) -> Iterator[str]:
    """What is wrong with an archive, a sentence each; nothing when it is whole.

    Every recorded file is read in full: its size and SHA-256 must be those recorded, its rows those of its ledgers
    and its folder. What a running writer has not yet recorded is passed over.

    Raises:
        ArchiveIntegrityError: the manifest itself is damaged.
    """
    written = storage.is_locked()
    manifest = Manifest.load(storage)
    archive = manifest.archive
    if archive is None:
        yield f"{manifest.place} is empty: the first run was interrupted at its very beginning; run it again"
        return
    if manifest.torn and not written:
        yield f"{manifest.place} ends in a torn line; the next run repairs it"
    partitioning = Partitioning.parse(archive.partition)
    for record in manifest.files.values():
        try:
            yield from _file_faults(storage, record, archive, partitioning)
        except (OSError, pa.ArrowException, BaseError) as error:
            yield f"{storage.at(record.path)} cannot be read: {str(error).splitlines()[0]}"
    for path in storage.files():
        if path in manifest.files or path in (COLUMNS_NAME, MANIFEST_NAME, LOCK_NAME):
            continue
        if not is_ours(path):
            yield f"{storage.at(path)} does not belong to the archive; move it elsewhere"
        elif not written:
            yield f"{storage.at(path)} was left by an interrupted run; the next run removes it"


def _file_faults(
    storage: Storage, record: FileRecord, archive: ArchiveRecord, partitioning: Partitioning
) -> Iterator[str]:
    path = storage.at(record.path)
    size = storage.size(record.path)
    if size is None:
        yield f"{path} is missing"
        return
    if size != record.size:
        yield f"{path} has {size} bytes instead of {record.size}"
        return
    if _digest(storage, record.path) != record.sha256:
        yield f"{path} is damaged: its SHA-256 is not the one recorded"
        return
    with storage.open(record.path) as file:
        file_rows = pq.ParquetFile(file).read([LEDGER, TIME])
    if file_rows.num_rows != record.rows:
        yield f"{path} has {file_rows.num_rows} rows instead of {record.rows}"
        return
    try:
        pieces = list(partitioning.pieces(*ledgers_and_close_times(file_rows), record.first, record.last))
    except StellarArrowError as error:
        yield f"{path}: {error}"
        return
    folder = record.path.rpartition("/")[0]
    for piece in pieces:
        if piece.folder != folder:
            yield f"{path} holds rows that belong into {piece.folder}"


def table_faults(table: Table) -> Iterator[str]:
    """The same for a table: every file of its newest version is there, and has the rows that it should."""
    if table.archive is None:
        yield f"{table.place} holds no table: the first run was interrupted at its very beginning; run it again"
        return
    storage = table.storage
    for file in table.files():
        path, size = storage.at(file.path), storage.size(file.path)
        if size != file.size:
            yield f"{path} is missing" if size is None else f"{path} has {size} bytes instead of {file.size}"
            continue
        try:
            with storage.open(file.path) as content:
                rows = sum(batch.num_rows for batch in pq.ParquetFile(content).iter_batches())
        except (OSError, pa.ArrowException, BaseError) as error:
            yield f"{path} cannot be read: {str(error).splitlines()[0]}"
            continue
        if rows != file.rows:
            yield f"{path} has {rows} rows instead of {file.rows}"
    if not storage.is_locked():
        for stray in table.strays(storage.files()):
            yield f"{storage.at(stray)} was left by an interrupted run; the next run removes it"


def prune(storage: Storage, before: datetime, *, dry_run: bool = False) -> list[FileRecord]:
    """Give up the files whose rows are all older than ``before``; works beside a running writer.

    The files are first recorded as pruned, all at once, then deleted: after a crash in between, the next run
    deletes what is left of them. Their ledgers stay covered.

    Returns:
        The files given up, or that would be with ``dry_run``.

    Raises:
        ArchiveError: a file cannot be deleted.
    """
    manifest = Manifest.load(storage)
    old = [record for record in manifest.files.values() if datetime.fromisoformat(record.newest) < before]
    if dry_run or not old:
        return old
    manifest.append(PrunedRecord(before=before.isoformat(), paths=[record.path for record in old]))
    storage.delete(record.path for record in old)
    return old


def _digest(storage: Storage, path: str) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with storage.open(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
