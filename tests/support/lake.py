"""Places for archives of every format, and readers of them that are not the archive's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import S3Store
from parquet_consumer.storage import Storage, open_storage

from tests.support.object_storage import BUCKET, S3Server


class Place:
    """An output, as a user names it: a folder, or a prefix of the bucket of a server.

    Attributes:
        output: what the command is given.
        catalog: options of the command for Iceberg; a file of SQLite when none was given.
    """

    def __init__(self, folder: Path, s3: S3Server | None, name: str = "archive", catalog: str | None = None) -> None:
        self._folder, self._s3, self._prefix = folder / name, s3, name
        self.output = str(self._folder) if s3 is None else f"s3://{BUCKET}/{name}"
        self._catalog = catalog or f"sqlite:///{folder / 'catalog.db'}"
        self.catalog = ["--catalog", self._catalog]

    @property
    def storage(self) -> Storage:
        return open_storage(self.output)

    def read(self, form: str, stream: str) -> pa.Table:
        """All rows, as DuckDB and pyarrow read the files that the format lists."""
        paths = getattr(self, f"_{form}_files")(stream)
        if not paths:
            return pa.table({})
        if self._s3 is None:
            files: list[Any] = [self._folder / path for path in paths]
            assert _count(files) == sum(pq.read_metadata(file).num_rows for file in files)
        else:
            store = self.client()
            files = [pa.BufferReader(bytes(obstore.get(store, path).bytes())) for path in paths]
        tables = [pq.ParquetFile(file).read().replace_schema_metadata(None) for file in files]
        return pa.concat_tables(tables, promote_options="default")

    def client(self) -> S3Store:
        """A client of the tests, past whatever the command goes through."""
        assert self._s3 is not None
        return self._s3.store(BUCKET, self._prefix)

    def _names(self) -> list[str]:
        if self._s3 is None:
            return [path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()]
        return [entry["path"] for page in obstore.list(self.client()) for entry in page]

    def _parquet_files(self, stream: str) -> list[str]:
        return sorted(name for name in self._names() if name.endswith(".parquet"))

    def _delta_files(self, stream: str) -> list[str]:
        from deltalake import DeltaTable

        options = {} if self._s3 is None else self._options()
        if not DeltaTable.is_deltatable(self.output, options):
            return []
        uris = DeltaTable(self.output, storage_options=options).file_uris()
        return sorted(uri.split(f"/{self._prefix}/")[-1] for uri in uris)

    def _iceberg_files(self, stream: str) -> list[str]:
        table = self.iceberg(stream)
        paths = [] if table is None else [task.file.file_path for task in table.scan().plan_files()]
        return sorted(path.split(f"/{self._prefix}/")[-1] for path in paths)

    def iceberg(self, stream: str) -> Any:
        """The table in the catalog, None when there is none."""
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NoSuchTableError

        options = {} if self._s3 is None else {f"s3.{name}": value for name, value in self._s3_options().items()}
        try:
            kind = "sql" if self._catalog.startswith("sqlite:") else "rest"
            catalog = load_catalog("stellar", type=kind, uri=self._catalog, **options)
            return catalog.load_table(("stellar", stream))
        except NoSuchTableError:
            return None

    def _s3_options(self) -> dict[str, str]:
        assert self._s3 is not None
        environment = self._s3.environment
        return {
            "endpoint": self._s3.endpoint,
            "region": environment["AWS_REGION"],
            "access-key-id": environment["AWS_ACCESS_KEY_ID"],
            "secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
        }

    def _options(self) -> dict[str, str]:
        return {name.replace("-", "_"): value for name, value in self._s3_options().items()} | {"allow_http": "true"}


def _count(files: list[Path]) -> int:
    names = ", ".join(f"'{file}'" for file in files)
    ((count,),) = duckdb.sql(f"SELECT count(*) FROM read_parquet([{names}])").fetchall()
    return int(count)


def same_rows(found: pa.Table, expected: pa.Table) -> None:
    """Every row once, every value the same, whatever the types are called."""
    numbers = [field.name for field in expected.schema if pa.types.is_integer(field.type)]
    order = [(name, "ascending") for name in numbers]
    found, expected = found.select(expected.column_names).sort_by(order), expected.sort_by(order)
    assert found["ledger_sequence"].to_pylist() == expected["ledger_sequence"].to_pylist()
    for name in expected.column_names:
        assert found[name].to_pylist() == expected[name].to_pylist(), f"values of {name}"
