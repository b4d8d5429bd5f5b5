"""One archive: its lock, its manifest, its files and what an interrupted run left in it."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import Final

import pyarrow as pa

from parquet_consumer.errors import ArchiveIntegrityError
from parquet_consumer.formats import Format, Records
from parquet_consumer.manifest import ArchiveRecord
from parquet_consumer.partitions import Partitioning
from parquet_consumer.storage import Storage
from stellar_arrow_client.contents import check_same as check_source
from stellar_arrow_client.contents import difference, said
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.request import StreamRequest

ELSEWHERE: Final = "choose another folder"


class Archive:
    """An archive open for writing; only one process at a time can have it open.

    Opening removes what an interrupted run left: a torn line of the manifest, temporary files, and complete ones that
    it did not come to record (their ledgers are fetched again). A file that does not bear one of the archive's names
    is never touched.

    Raises:
        ArchiveError: the place cannot be written.
        StellarArrowError: another process writes into it.
        ArchiveIntegrityError: the manifest is damaged, or missing beside files.
    """

    def __init__(self, storage: Storage, form: Format | None = None, stream: str | None = None) -> None:
        self.storage = storage
        with ExitStack() as stack:
            storage.prepare()
            stack.enter_context(storage.locked())
            self.records: Records = (form or Format()).records(storage, stream)
            if self.records.torn:
                self.records.repair()
            if storage.shared:
                self.records.claim()
            self._clear_up()
            self._held = stack.pop_all()

    def _clear_up(self) -> None:
        strays = self.records.strays(self.storage.files())
        if strays and self.records.archive is None:
            raise ArchiveIntegrityError(
                f"{self.storage} holds {strays[0]} but {self.records.place} is missing; restore it from a backup or "
                "choose another place"
            )
        self.storage.delete(strays)

    def describe(self, schema: pa.Schema, request: StreamRequest, partitioning: Partitioning) -> None:
        """Record what the archive is of, or see that it is the same as before.

        Raises:
            OutputMismatchError: the archive is of another stream, or has other columns or folders.
            IntegrityError: it is of another network.
        """
        record = describe(schema, request, partitioning)
        known = self.records.archive
        if known is not None:
            check_same(self.storage, known, record, grows=self.records.grows)
            if (known.network is not None or record.network is None) and known.columns == record.columns:
                return
            record = dataclasses.replace(record, start=known.start)
        self.records.describe(record, schema)

    def close(self) -> None:
        """Let another process write."""
        self._held.close()


def stream_name(schema: pa.Schema, request: StreamRequest) -> str:
    """The canonical name of the stream, which the request may call by an alias."""
    return said(schema, "stream") or request.stream


def describe(schema: pa.Schema, request: StreamRequest, partitioning: Partitioning) -> ArchiveRecord:
    """What an archive of a stream is of.

    Raises:
        OutputMismatchError: the folders would hide a column of the stream.
    """
    partitioning.check_schema(schema.names)
    return ArchiveRecord(
        stream=stream_name(schema, request),
        network=said(schema, "network"),
        partition=partitioning.text,
        filter=request.filter,
        columns=[f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema],
        start=request.start,
    )


def check_same(place: Storage, known: ArchiveRecord, wanted: ArchiveRecord, *, grows: bool) -> None:
    """Refuse to mix two different things in one archive.

    Args:
        grows: whether new columns may be added to it.

    Raises:
        OutputMismatchError, IntegrityError: as :meth:`Archive.describe`.
    """
    check_source(known, wanted, place, ELSEWHERE)
    if known.partition != wanted.partition:
        raise OutputMismatchError(
            f"{place} is partitioned by {known.partition!r}, not by {wanted.partition!r}; "
            f"give --partition {known.partition} or {ELSEWHERE}"
        )
    if grows and set(known.columns) <= set(wanted.columns):
        return
    if known.columns != wanted.columns:
        held, given = (dict.fromkeys(column.split(" ")[0] for column in one.columns) for one in (known, wanted))
        if list(held) != list(given):
            raise OutputMismatchError(
                f"{place} holds other columns than the stream now has ({difference(held, given)}); "
                f"give --columns {','.join(held)} or {ELSEWHERE}"
            )
        changed = next(pair for pair in zip(known.columns, wanted.columns, strict=True) if pair[0] != pair[1])
        raise OutputMismatchError(
            f"{place} holds the column {changed[0]!r} but the server now gives {changed[1]!r}; {ELSEWHERE}"
        )
