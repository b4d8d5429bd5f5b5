"""A Delta Lake table: each file is one commit, which also says what ledgers it covers.

Ledgers are covered by application transactions, which Delta keeps for ever: ``stellar-arrow/FIRST`` has as its
version the last ledger of the range that begins with FIRST. The table property ``stellar-arrow.ranges`` lists these
FIRSTs. ``stellar-arrow`` has the token of the newest commit as its version; Delta refuses a commit that was prepared
before another one changed it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.errors import StorageUnavailableError
from parquet_consumer.extras import load
from parquet_consumer.folders import Folder
from parquet_consumer.formats import DELTA
from parquet_consumer.manifest import FileRecord
from parquet_consumer.storage import Storage
from parquet_consumer.table_types import table_schema
from parquet_consumer.tables import ARCHIVE_PROPERTY, DAY, Change, ConflictError, Table, TableFile
from stellar_arrow_client.checkpoint import sync_folder
from stellar_arrow_client.object_storage import first_line
from stellar_arrow_client.request import TIME

_APPLICATION: Final = "stellar-arrow"
_RANGES_PROPERTY: Final = "stellar-arrow.ranges"
_LOG: Final = "_delta_log"


class Delta(Table):
    """See :class:`~parquet_consumer.tables.Table`."""

    def __init__(self, storage: Storage) -> None:
        self._delta = load("deltalake", "delta", "--format delta")
        self._table: Any = None
        self._uri, self._options = _address(storage)
        super().__init__(storage)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        return table_schema(schema, fixed_binary=False)

    def _load(self) -> tuple[str, int | None, Iterable[tuple[int, int]]] | None:
        try:
            if self._table is None:
                if not self._delta.DeltaTable.is_deltatable(self._uri, self._options):
                    return None
                self._table = self._delta.DeltaTable(self._uri, storage_options=self._options)
            else:
                self._table.update_incremental()
        except self._delta.exceptions.DeltaError as error:
            raise self._unavailable(error) from error
        properties = self._table.metadata().configuration
        firsts = [int(text) for text in properties.get(_RANGES_PROPERTY, "").split(",") if text]
        lasts = ((first, self._table.transaction_version(f"{_APPLICATION}/{first}")) for first in firsts)
        return (
            properties.get(ARCHIVE_PROPERTY, ""),
            self._table.transaction_version(_APPLICATION),
            [(first, last) for first, last in lasts if last is not None],
        )

    def _sign(self) -> dict[str, str]:
        return {"format": DELTA}

    def _create(self, record: str, stream: str, schema: pa.Schema, *, by_day: bool) -> None:
        schema = pa.schema([_with_comment(field) for field in schema])
        self._delta.DeltaTable.create(
            self._uri,
            schema.append(pa.field(DAY, pa.date32(), nullable=False)) if by_day else schema,
            partition_by=[DAY] if by_day else None,
            name=stream,
            configuration={ARCHIVE_PROPERTY: record},
            storage_options=self._options,
            raise_if_key_not_exists=False,
        )
        self._sync()

    def _widen(self, record: str, new: list[pa.Field]) -> None:
        if new:
            fields = self._delta.Schema.from_arrow(pa.schema([_with_comment(field) for field in new])).fields
            self._table.alter.add_columns(fields)
        self._set_property(ARCHIVE_PROPERTY, record)

    def _set_property(self, name: str, value: str) -> None:
        self._table.update_incremental()
        self._table.alter.set_table_properties({name: value}, raise_if_not_exists=False)
        self._table.update_incremental()
        self._sync()

    def _commit(self, change: Change) -> None:
        transaction = self._delta.Transaction
        transactions, described = [transaction(_APPLICATION, change.token)], {}
        if change.covers is not None:
            first, last = change.covers
            transactions.append(transaction(f"{_APPLICATION}/{self._range_of(first)}", last))
            described = {"stellar-arrow.ledgers": f"{first}-{last}"}
        self._write([] if change.file is None else [self._action(*change.file)], described, transactions)

    def _write(self, actions: list[Any], described: dict[str, str] | None = None, transactions: Any = None) -> None:
        properties = self._delta.CommitProperties(custom_metadata=described, app_transactions=transactions)
        partition_by = self._table.metadata().partition_columns
        try:
            self._table.create_write_transaction(
                actions, "append", self._table.schema(), partition_by=partition_by, commit_properties=properties
            )
        except self._delta.exceptions.DeltaError as error:
            raise ConflictError(first_line(error)) from error
        self._sync()

    def _range_of(self, first: int) -> int:
        """The FIRST of the range that a range continues; a new one is entered before anything refers to it."""
        properties = self._table.metadata().configuration
        firsts = [int(text) for text in properties.get(_RANGES_PROPERTY, "").split(",") if text]
        for begun in firsts:
            if begun == first or self._table.transaction_version(f"{_APPLICATION}/{begun}") == first - 1:
                return begun
        self._set_property(_RANGES_PROPERTY, ",".join(map(str, sorted([*firsts, first]))))
        return first

    def _action(self, record: FileRecord, metadata: pq.FileMetaData) -> Any:
        day = dict(level.split("=", 1) for level in record.path.split("/")[:-1])
        return self._delta.transaction.AddAction(
            record.path, record.size, day, int(time.time() * 1000), True, json.dumps(_statistics(metadata))
        )

    def _sync(self) -> None:
        """Bring the commit to the disk of this machine, which the library leaves to the system."""
        if isinstance(self.storage, Folder):
            log = self.storage.path / _LOG
            newest = max((path for path in log.iterdir() if path.suffix == ".json"), key=lambda path: path.name)
            with newest.open("rb") as commit:
                os.fsync(commit.fileno())
            sync_folder(log)

    @property
    def version(self) -> str:
        return str(self._table.version())

    def files(self) -> Iterator[TableFile]:
        if self._table is None:
            return
        for row in pa.table(self._table.get_add_actions(flatten=True)).to_pylist():
            day = row.get(f"partition.{DAY}")
            yield TableFile(
                row["path"],
                row["num_records"],
                row["size_bytes"],
                row.get(f"max.{TIME}"),
                {} if day is None else {DAY: str(day)},
            )

    def optimize(self, target_size: int) -> tuple[int, int]:
        done = self._table.optimize.compact(target_size=target_size)
        self._sync()
        self._reload()
        return done["numFilesRemoved"], done["numFilesAdded"]

    def _remove(self, files: list[TableFile]) -> None:
        now = int(time.time() * 1000)
        remove = self._delta.transaction.RemoveAction
        self._write([remove(file.path, True, now, file.size, dict(file.partition)) for file in files])

    def vacuum(self, keep: timedelta, *, dry_run: bool) -> list[str]:
        hours = int(keep.total_seconds() // 3600)
        deleted: list[str] = self._table.vacuum(
            retention_hours=hours, dry_run=dry_run, enforce_retention_duration=False, full=True
        )
        if not dry_run:
            self._table.create_checkpoint()
            self._table.cleanup_metadata()
            self._reload()
        return deleted

    def _unavailable(self, error: Exception) -> StorageUnavailableError:
        return StorageUnavailableError(f"cannot read {self.storage}: {first_line(error)}; run the same command again")


def _address(storage: Storage) -> tuple[str, dict[str, str]]:
    """Where the library finds the table, and its options."""
    from parquet_consumer.buckets import Bucket

    if isinstance(storage, Bucket):
        return str(storage), storage.address.library_options
    return str(storage.path.absolute()) if isinstance(storage, Folder) else str(storage), {}


def _with_comment(field: pa.Field) -> pa.Field:
    """A column with its description as Delta keeps it."""
    description = (field.metadata or {}).get(b"description")
    return field.with_metadata({"comment": description} if description else None)


def _statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
    """What readers need to pass over files: rows, nulls, and the bounds of numbers and times."""
    found: dict[str, dict[str, Any]] = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    for at in range(metadata.num_columns):
        name = metadata.schema.column(at).path
        parts = [metadata.row_group(group).column(at).statistics for group in range(metadata.num_row_groups)]
        if "." in name or any(part is None or not part.has_null_count for part in parts):
            continue
        found["nullCount"][name] = sum(part.null_count for part in parts)
        bounded = [part for part in parts if part.has_min_max]
        if bounded and len(bounded) == sum(1 for part in parts if part.num_values):
            low, high = min(part.min for part in bounded), max(part.max for part in bounded)
            if isinstance(low, datetime):
                found["minValues"][name], found["maxValues"][name] = _milliseconds(low), _milliseconds(high, up=True)
            elif type(low) is int:
                found["minValues"][name], found["maxValues"][name] = low, high
    return {"numRecords": metadata.num_rows, **found}


def _milliseconds(time: datetime, *, up: bool = False) -> str:
    """A time as Delta's statistics have it, rounded to a bound."""
    rest = time.microsecond % 1000
    rounded = time + timedelta(microseconds=(1000 - rest if up and rest else -rest))
    return rounded.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
