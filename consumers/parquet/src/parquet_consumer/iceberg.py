"""An Iceberg table: each file is one snapshot, which also says what ledgers the table covers.

The property ``stellar-arrow.ledgers`` has all covered ranges, ``stellar-arrow.commit`` the token of the newest commit.
They change in the commit of the file, which Iceberg refuses when there is another snapshot than the one it was
prepared on; so every commit makes a snapshot, also one without a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.catalogs import catalog_errors, open_catalog, own_catalog
from parquet_consumer.errors import ArchiveError
from parquet_consumer.extras import load
from parquet_consumer.files import FileOptions, FileWriter
from parquet_consumer.folders import Folder
from parquet_consumer.formats import ICEBERG, read_sign
from parquet_consumer.row_groups import RowGroups
from parquet_consumer.storage import Storage
from parquet_consumer.table_types import table_schema
from parquet_consumer.tables import ARCHIVE_PROPERTY, DAY, Change, ConflictError, Table, TableFile
from stellar_arrow_client.checkpoint import sync_folder
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.object_storage import first_line
from stellar_arrow_client.request import LEDGER, TIME

_LEDGERS, _COMMIT = "stellar-arrow.ledgers", "stellar-arrow.commit"
_FULL: Final = 0.75
"""The share of the wanted size from which on a file is left as it is."""

_PROPERTIES: Final = {
    "format-version": "2",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


class Iceberg(Table):
    """See :class:`~parquet_consumer.tables.Table`.

    Args:
        stream: the table's name in the catalog; None to find it, and the catalog, at the place itself.
    """

    def __init__(self, storage: Storage, stream: str | None, catalog: str | None, namespace: str) -> None:
        load("pyiceberg.catalog", "iceberg", "--format iceberg")
        self.storage = storage
        known = read_sign(storage)
        self._address = catalog or known.get("catalog") or own_catalog(storage)
        self._identifier = tuple(known.get("table", "").split(".")) if known else (namespace, stream or "")
        if stream is not None and self._identifier != (namespace, stream):
            raise OutputMismatchError(
                f"{storage} is the table {'.'.join(self._identifier)}, not {namespace}.{stream}; choose another place"
            )
        self._catalog = open_catalog(self._address, storage)
        self._table: Any = None
        super().__init__(storage)

    def _sign(self) -> dict[str, str]:
        return {"format": ICEBERG, "catalog": self._address, "table": ".".join(self._identifier)}

    def _load(self) -> tuple[str, int | None, Iterable[tuple[int, int]]] | None:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            with catalog_errors(self._address):
                self._table = self._catalog.load_table(self._identifier)
        except NoSuchTableError:
            return None
        # Else the library would repeat a refused commit on top of a version that was not looked at here.
        self._table.metadata.properties["commit.retry.num-retries"] = "0"
        properties = self._table.properties
        ranges = [text.split("-") for text in properties.get(_LEDGERS, "").split(",") if text]
        token = properties.get(_COMMIT)
        return (
            properties.get(ARCHIVE_PROPERTY, ""),
            None if token is None else int(token),
            [(int(first), int(last)) for first, last in ranges],
        )

    def _create(self, record: str, stream: str, schema: pa.Schema, *, by_day: bool) -> None:
        from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
        from pyiceberg.transforms import DayTransform

        with catalog_errors(self._address):
            self._catalog.create_namespace_if_not_exists(self._identifier[:-1])
            with self._catalog.create_table_transaction(
                self._identifier,
                pa.schema([_with_doc(field) for field in schema]),
                location=_location(self.storage),
                partition_spec=UNPARTITIONED_PARTITION_SPEC,
                properties={**_PROPERTIES, ARCHIVE_PROPERTY: record, _LEDGERS: "", _COMMIT: "0"},
            ) as transaction:
                if by_day:
                    with transaction.update_spec() as spec:
                        spec.add_field(TIME, DayTransform(), DAY)
        self._sync()

    def _widen(self, record: str, new: list[pa.Field]) -> None:
        with catalog_errors(self._address), self._table.transaction() as transaction:
            if new:
                with transaction.update_schema() as update:
                    update.union_by_name(pa.schema([_with_doc(field) for field in new]))
            transaction.set_properties({ARCHIVE_PROPERTY: record})
        self._sync()

    def _commit(self, change: Change) -> None:
        from pyiceberg.exceptions import CommitFailedException

        ranges = list(self.covered)
        described = {}
        if change.covers is not None:
            self.covered.add(*change.covers)  # read again in any case
            ranges = list(self.covered)
            described = {_LEDGERS: "{}-{}".format(*change.covers)}
        covered = ",".join(f"{first}-{last}" for first, last in ranges)
        try:
            with catalog_errors(self._address), self._table.transaction() as transaction:
                transaction.set_properties({_LEDGERS: covered, _COMMIT: str(change.token)})
                if change.file is None:
                    transaction.update_snapshot(described).fast_append().commit()
                else:
                    path = f"{_location(self.storage)}/{change.file[0].path}"
                    transaction.add_files([path], described, check_duplicate_files=False)
        except CommitFailedException as error:
            raise ConflictError(first_line(error)) from error
        self._sync()

    def _sync(self) -> None:
        """Bring the metadata to the disk of this machine, which the library leaves to the system."""
        if isinstance(self.storage, Folder):
            folder = self.storage.path / "metadata"
            newest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)[-4:]
            for path in newest:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(folder)

    @property
    def version(self) -> str:
        return str(self._table.metadata_location)

    def files(self) -> Iterator[TableFile]:
        if self._table is None:
            return
        for file in self._data_files():
            newest = self._bound(file.upper_bounds, TIME)
            yield TableFile(
                self._relative(file.file_path),
                file.record_count,
                file.file_size_in_bytes,
                None if newest is None else datetime.fromtimestamp(newest / 1_000_000, UTC),
            )

    def _data_files(self) -> list[Any]:
        return [task.file for task in self._table.scan().plan_files()]

    def _bound(self, bounds: dict[int, bytes], column: str) -> int | None:
        """A bound of a column of integers or times."""
        from pyiceberg.conversions import from_bytes

        field = self._table.schema().find_field(column)
        bound = bounds.get(field.field_id)
        return None if bound is None else int(from_bytes(field.field_type, bound))

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{_location(self.storage)}/")

    def optimize(self, target_size: int) -> tuple[int, int]:
        removed = added = 0
        for group in _groups(self._small_files(target_size), target_size):
            try:
                self._replace(group, [self._merged(group, target_size)])
            except ConflictError as error:
                raise ArchiveError(f"{self.place} was changed in the meantime; run the same command again") from error
            self._reload()
            removed, added = removed + len(group), added + 1
        return removed, added

    def _replace(self, old: list[Any], new: list[str]) -> None:
        """Take files out, and put others in their place, in one commit."""
        from pyiceberg.exceptions import CommitFailedException, ValidationException
        from pyiceberg.io.pyarrow import parquet_file_to_data_file

        try:
            with catalog_errors(self._address), self._table.transaction() as transaction:
                files = [parquet_file_to_data_file(self._table.io, transaction.table_metadata, path) for path in new]
                with transaction.update_snapshot().overwrite() as change:
                    for file in old:
                        change.delete_data_file(file)
                    for file in files:
                        change.append_data_file(file)
        except (CommitFailedException, ValidationException) as error:
            raise ConflictError(first_line(error)) from error
        self._sync()

    def _small_files(self, target_size: int) -> list[Any]:
        """The files that are worth to be merged, in the order of their ledgers."""
        files = [file for file in self._data_files() if file.file_size_in_bytes < target_size * _FULL]
        return sorted(files, key=lambda file: self._bound(file.lower_bounds, LEDGER) or 0)

    def _merged(self, group: list[Any], target_size: int) -> str:
        """Write the rows of files into a new one; its full path."""
        schema = self._file_schema()
        folder = self._relative(group[0].file_path).rpartition("/")[0]
        options = FileOptions(max_file_size=target_size)
        writer: FileWriter | None = None
        last = 0
        try:
            for file in group:
                with self.storage.open(self._relative(file.file_path)) as content:
                    for batch in pq.ParquetFile(content).iter_batches():
                        if writer is None:
                            first = batch[LEDGER][0].as_py()
                            writer = FileWriter(
                                self.storage, folder, self._identifier[-1], first, schema, options, RowGroups()
                            )
                        writer.add(_fit(batch, schema))
                        last = batch[LEDGER][-1].as_py()
            assert writer is not None, "a file of a table has rows"
            record, _ = writer.complete(last, unique=True)
        except BaseException:  # whatever ends it, a part of a file must not stay
            if writer is not None:
                writer.abort()
            raise
        return f"{_location(self.storage)}/{record.path}"

    def _file_schema(self) -> pa.Schema:
        """The columns of the table with the types of the files that this program writes."""
        columns = [field.with_metadata(None) for field in self._table.schema().as_arrow()]
        return table_schema(pa.schema(columns))

    def _remove(self, files: list[TableFile]) -> None:
        paths = {file.path for file in files}
        self._replace([file for file in self._data_files() if self._relative(file.file_path) in paths], [])

    def vacuum(self, keep: timedelta, *, dry_run: bool) -> list[str]:
        limit = datetime.now(UTC) - keep
        if not dry_run:
            # A time stamp without a zone is what the library takes for UTC.
            with catalog_errors(self._address):
                self._table.maintenance.expire_snapshots().older_than(limit.replace(tzinfo=None)).commit()
            self._sync()
            self._reload()
        needed = self._needed(limit if dry_run else None)
        unneeded = [
            path
            for path in self.storage.files()
            if path.endswith((".parquet", ".avro")) and path not in needed and self._is_older(path, limit)
        ]
        if not dry_run:
            self.storage.delete(unneeded)
        return unneeded

    def _needed(self, since: datetime | None) -> set[str]:
        """The files that the versions since a time need, all of them when it is None."""
        found = set()
        metadata = self._table.metadata
        for snapshot in metadata.snapshots:
            is_current = snapshot.snapshot_id == metadata.current_snapshot_id
            if since is not None and not is_current and snapshot.timestamp_ms < since.timestamp() * 1000:
                continue
            found.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(self._table.io):
                found.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(self._table.io, discard_deleted=True)
                found.update(entry.data_file.file_path for entry in entries)
        return {self._relative(path) for path in found}

    def _is_older(self, path: str, limit: datetime) -> bool:
        modified = self.storage.modified(path)
        return modified is not None and modified < limit


def _groups(files: list[Any], target_size: int) -> Iterator[list[Any]]:
    """Files of one partition that follow each other, as many as make up about ``target_size`` bytes."""
    group: list[Any] = []
    size = 0
    for file in files:
        if group and (file.partition != group[0].partition or size + file.file_size_in_bytes > target_size):
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(file)
        size += file.file_size_in_bytes
    if len(group) > 1:
        yield group


def _fit(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with all columns of a schema: null where their file is older than the column."""
    columns = [
        rows.column(field.name).cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _location(storage: Storage) -> str:
    return f"file://{storage.path.absolute()}" if isinstance(storage, Folder) else str(storage)


def _with_doc(field: pa.Field) -> pa.Field:
    """A column with its description as Iceberg keeps it."""
    description = (field.metadata or {}).get(b"description")
    return field.with_metadata({"doc": description} if description else None)
