"""The folder of one archive: its lock, its manifest, its files and what an interrupted run left in it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pyarrow as pa

from parquet_consumer.errors import ArchiveError, ArchiveIntegrityError, ArchiveMismatchError, os_errors
from parquet_consumer.manifest import MANIFEST_NAME, ArchiveRecord, Manifest
from parquet_consumer.partitions import Partitioning
from stellar_arrow_client.checkpoint import locked, sync_folder
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import StreamRequest

LOCK_NAME: Final = "_lock"
_OURS = re.compile(r"[A-Za-z0-9_]+-[0-9]{10}-[0-9]{10}\.parquet")
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_]+-[0-9]{10}\.parquet\.tmp")


def file_name(stream: str, first: int, last: int) -> str:
    """The name of the file of a range of ledgers."""
    return f"{stream}-{first:010d}-{last:010d}.parquet"


def temporary_name(stream: str, first: int) -> str:
    """The name of a file that is being written; readers and globs pass over it."""
    return f".{stream}-{first:010d}.parquet.tmp"


def is_ours(name: str) -> bool:
    """Whether a file bears a name that the archive gives: a complete or a temporary one."""
    return bool(_OURS.fullmatch(name) or _TEMPORARY.fullmatch(name))


class Archive:
    """An archive open for writing; only one process at a time can have it open.

    Opening removes what an interrupted run left: a torn line of the manifest, temporary files, and complete ones that
    it did not come to record (their ledgers are fetched again). A file that does not bear one of the archive's names
    is never touched.

    Raises:
        ArchiveError: the folder cannot be written.
        StellarArrowError: another process writes into it.
        ArchiveIntegrityError: the manifest is damaged, or missing beside files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with ExitStack() as stack, os_errors("write into", folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            stack.enter_context(locked(folder / LOCK_NAME))
            self.manifest = Manifest.load(folder)
            if self.manifest.torn:
                self.manifest.repair()
            self._clear_up()
            self._held = stack.pop_all()

    def _clear_up(self) -> None:
        for path in stray_files(self.folder, self.manifest):
            if not is_ours(path.name):
                continue
            if self.manifest.archive is None:
                raise ArchiveIntegrityError(
                    f"{self.folder} holds {path.relative_to(self.folder)} but no {MANIFEST_NAME}; restore the "
                    "manifest from a backup or choose another folder"
                )
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def describe(self, schema: pa.Schema, request: StreamRequest, partitioning: Partitioning) -> None:
        """Record what the archive is of, or see that it is the same as before.

        Raises:
            ArchiveMismatchError: the archive is of another stream, or has other columns or folders.
            IntegrityError: it is of another network.
        """
        record = describe(schema, request, partitioning)
        known = self.manifest.archive
        if known is not None:
            check_same(self.folder, known, record)
            if known.network is not None or record.network is None:
                return
            record = dataclasses.replace(record, start=known.start)
        self.manifest.append(record)

    def close(self) -> None:
        """Let another process write."""
        self._held.close()


def stream_name(schema: pa.Schema, request: StreamRequest) -> str:
    """The canonical name of the stream, which the request may call by an alias."""
    name: bytes = (schema.metadata or {}).get(b"stream", request.stream.encode())
    return name.decode(errors="replace")


def describe(schema: pa.Schema, request: StreamRequest, partitioning: Partitioning) -> ArchiveRecord:
    """What an archive of a stream is of.

    Raises:
        ArchiveMismatchError: the folders would hide a column of the stream.
    """
    partitioning.check_schema(schema.names)
    network: bytes = (schema.metadata or {}).get(b"network", b"")
    return ArchiveRecord(
        stream=stream_name(schema, request),
        network=network.decode(errors="replace") or None,
        partition=partitioning.text,
        filter=request.filter,
        columns=[f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema],
        start=request.start,
    )


def check_same(folder: Path, known: ArchiveRecord, wanted: ArchiveRecord) -> None:
    """Refuse to mix two different things in one archive.

    Raises:
        ArchiveMismatchError, IntegrityError: as :meth:`Archive.describe`.
    """
    choose = "choose another folder"
    if known.stream != wanted.stream:
        raise ArchiveMismatchError(f"{folder} is an archive of {known.stream}, not of {wanted.stream}; {choose}")
    if known.network and wanted.network and known.network != wanted.network:
        raise IntegrityError(
            f"{folder} holds ledgers of {known.network!r} but the server gives those of {wanted.network!r}; {choose}"
        )
    if known.partition != wanted.partition:
        raise ArchiveMismatchError(
            f"{folder} is partitioned by {known.partition!r}, not by {wanted.partition!r}; "
            f"give --partition {known.partition} or {choose}"
        )
    if known.filter != wanted.filter:
        held = f"holds the rows with {known.filter}" if known.filter else "holds all rows"
        raise ArchiveMismatchError(f"{folder} {held}; give the same --filter or {choose}")
    if known.columns != wanted.columns:
        names = [column.split(" ")[0] for column in known.columns]
        if (found := [column.split(" ")[0] for column in wanted.columns]) != names:
            lacking, new = sorted(set(names) - set(found)), sorted(set(found) - set(names))
            difference = "; ".join(
                f"{what} {', '.join(columns)}" for what, columns in (("without", lacking), ("with", new)) if columns
            )
            raise ArchiveMismatchError(
                f"{folder} holds other columns than the stream now has ({difference or 'another order'}); "
                f"give --columns {','.join(names)} or {choose}"
            )
        changed = next(pair for pair in zip(known.columns, wanted.columns, strict=True) if pair[0] != pair[1])
        raise ArchiveMismatchError(
            f"{folder} holds the column {changed[0]!r} but the server now gives {changed[1]!r}; {choose}"
        )


def find_archives(folder: Path) -> list[Path]:
    """The archives at a path: the folder itself, else its sub-folders of one stream each.

    Raises:
        ArchiveError: there is none, or the folder cannot be read.
    """
    with os_errors("read", folder):
        if (folder / MANIFEST_NAME).exists():
            return [folder]
        found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}"))
    if not found:
        raise ArchiveError(f"{folder} is no archive: it has no {MANIFEST_NAME}; name the folder that was archived into")
    return found


def stray_files(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """Files in the archive that its manifest does not record."""
    own = {folder / MANIFEST_NAME, folder / LOCK_NAME}
    for root, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = Path(root, name)
            if path not in own and path.relative_to(folder).as_posix() not in manifest.files:
                yield path


def _raise(error: OSError) -> None:
    raise error
