"""Delta Lake and Iceberg tables: every value survives, a commit is whole, nothing is doubled, space is given back."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from parquet_consumer import tables
from parquet_consumer.archive import Archive
from parquet_consumer.errors import ArchiveError, StorageUnavailableError
from parquet_consumer.files import FileOptions
from parquet_consumer.formats import Format, find_archives
from parquet_consumer.manifest import EmptyRecord
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.tables import ConflictError, Table, TableFile
from parquet_consumer.upkeep import table_faults

from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import sample_table
from stellar_arrow_source.tables import STREAMS
from tests.support.lake import Place, same_rows
from tests.support.object_storage import requires_s3

FIRST, LAST = 1000, 1100
FORMATS = ("delta", "iceberg")


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    pytest.importorskip({"delta": "deltalake", "iceberg": "pyiceberg"}[request.param])
    return request.param


@pytest.fixture(params=["folder", pytest.param("bucket", marks=requires_s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        return Place(tmp_path, None)
    s3 = request.getfixturevalue("s3")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return Place(tmp_path, s3, request.node.name.replace("[", "-").strip("]"))


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return Place(tmp_path, None)


class Lake:
    """One table of the samples, written and read."""

    def __init__(self, place: Place, form: str, partition: str = "hive") -> None:
        self.place, self.name, self._partition = place, form, partition
        self.format = Format(form, place.catalog[1] if form == "iceberg" else None)

    def open(self) -> Archive:
        return Archive(self.place.storage, self.format, "samples")

    def table(self) -> Table:
        return self.format.table(self.place.storage, "samples")

    def write(self, rows: pa.Table, first: int, last: int, *, step: int = 20, archive: Archive | None = None) -> None:
        """One run; each step of ledgers is checkpointed."""
        opened = archive or self.open()
        try:
            sink = ParquetSink(opened, Partitioning.parse(self._partition), FileOptions())
            begin = sink.open(rows.schema, StreamRequest("samples", first, last)) or first
            for start in range(begin, last + 1, step):
                end = min(last, start + step - 1)
                sink.write(one_batch(of_ledgers(rows, start, end)), Cursor(start, end))
                sink.checkpoint()
            sink.close()
        finally:
            if archive is None:
                opened.close()

    def read(self) -> pa.Table:
        return self.place.read(self.name, "samples")

    def check(self, expected: pa.Table) -> None:
        same_rows(self.read(), expected)
        assert list(table_faults(self.table())) == []


def of_ledgers(rows: pa.Table, first: int, last: int) -> pa.Table:
    sequence = rows["ledger_sequence"]
    return rows.filter(pc.and_(pc.greater_equal(sequence, first), pc.less_equal(sequence, last)))


def one_batch(rows: pa.Table) -> pa.RecordBatch:
    return next(iter(rows.combine_chunks().to_batches()), pa.RecordBatch.from_pylist([], rows.schema))


@pytest.fixture
def lake(place: Place, form: str) -> Lake:
    return Lake(place, form)


def test_runs_in_any_order_give_every_row_once(lake: Lake) -> None:
    rows = sample_table(FIRST - 50, LAST + 40)
    lake.write(rows, FIRST, LAST)
    lake.write(rows, FIRST, LAST)
    lake.write(rows, FIRST - 50, LAST + 40)
    lake.check(rows)
    table = lake.table()
    assert list(table.covered) == [(FIRST - 50, LAST + 40)]
    assert table.archive is not None
    assert table.archive.stream == "samples"
    assert [(str(found), kept.name) for found, kept in find_archives(lake.place.storage)] == [
        (lake.place.output, lake.name)
    ]


def test_ledgers_without_rows_are_covered(lake: Lake) -> None:
    rows = sample_table(FIRST, LAST)
    lake.write(rows.slice(0, 0), FIRST, LAST)
    assert list(lake.table().covered) == [(FIRST, LAST)]
    assert list(lake.table().files()) == []
    lake.write(rows, FIRST, LAST)
    assert list(lake.table().files()) == []


def test_a_crash_between_file_and_commit(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was not committed is removed by the next run, which fetches its ledgers again."""
    rows = sample_table(FIRST, LAST)
    archive = lake.open()
    lake.write(rows, FIRST, FIRST + 39, archive=archive)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(archive.records), "_commit", crash)
        with pytest.raises(KeyboardInterrupt):
            lake.write(rows, FIRST, LAST, archive=archive)
    archive.close()
    strays = lake.table().strays(lake.place.storage.files())
    assert len(strays) == 1
    lake.write(rows, FIRST, LAST)
    lake.check(rows)  # which also finds what was left over


def test_a_commit_whose_answer_is_lost(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sample_table(FIRST, LAST)
    archive = lake.open()
    lake.write(rows, FIRST, FIRST + 19, archive=archive)
    kind = type(archive.records)
    real, lost = kind._commit, []

    def commit(table: Table, change: object) -> None:
        real(table, change)
        if not lost:
            lost.append(change)
            raise ConnectionResetError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "_commit", commit)
        lake.write(rows, FIRST, LAST, archive=archive)
    archive.close()
    assert lost
    lake.check(rows)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConflictError("version 3 is taken"), "others keep changing it .version 3 is taken.; try again"),
        (PermissionError(13, "Permission denied"), "(?i)permission denied"),
        (StorageUnavailableError("the catalog answers 503"), "the catalog answers 503"),
    ],
)
def test_why_nothing_can_be_committed_is_said(
    folder: Place, form: str, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, rows = Lake(folder, form), sample_table(FIRST, LAST)
    lake.write(rows, FIRST, FIRST + 19)
    archive = lake.open()

    def refuse(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(archive.records), "_commit", refuse)
        patch.setattr(tables, "_PATIENCE", RetryPolicy(initial=0, maximum=0))
        with pytest.raises((ArchiveError, StorageUnavailableError), match=said):
            lake.write(rows, FIRST, LAST, archive=archive)
    archive.close()
    lake.write(rows, FIRST, LAST)
    lake.check(rows)


def test_of_two_writers_one_must_end(lake: Lake) -> None:
    """Even when the lock did not keep them apart, such as that of a process that was held up for long."""
    rows = sample_table(FIRST, LAST)
    lake.write(rows, FIRST, FIRST + 19)
    stale, fresh = lake.table(), lake.table()
    fresh.add_empty(EmptyRecord(first=FIRST + 20, last=FIRST + 30))
    with pytest.raises(ArchiveError, match="another process has begun to write"):
        stale.add_empty(EmptyRecord(first=FIRST + 20, last=FIRST + 30))
    assert list(lake.table().covered) == [(FIRST, FIRST + 30)]


def test_a_second_writer_is_refused(lake: Lake) -> None:
    archive = lake.open()
    with pytest.raises(Exception, match="another process is writing to"):
        lake.open()
    archive.close()
    lake.open().close()


def test_new_columns_are_added(lake: Lake) -> None:
    whole = sample_table(FIRST, LAST)
    lake.write(whole.drop_columns(["payload", "fee_rate"]), FIRST, FIRST + 39)
    lake.write(whole, FIRST, LAST)
    lake.write(whole, FIRST, LAST)
    old = of_ledgers(whole, FIRST, FIRST + 39)
    for name in ("payload", "fee_rate"):
        at = whole.schema.get_field_index(name)
        old = old.set_column(at, whole.schema.field(at), pa.nulls(len(old), whole.schema.field(at).type))
    expected = pa.concat_tables([old, of_ledgers(whole, FIRST + 40, LAST)])
    lake.check(expected)
    with pytest.raises(OutputMismatchError, match="gone: payload"):
        lake.write(whole.drop_columns(["payload"]), FIRST, LAST)


def test_small_files_are_merged_and_their_space_is_given_back(lake: Lake) -> None:
    rows = sample_table(FIRST, LAST)
    lake.write(rows, FIRST, LAST, step=10)
    table = lake.table()
    before = {file.path for file in table.files()}
    removed, added = table.optimize(2**28)
    lake.check(rows)
    after = {file.path for file in table.files()}
    assert len(before) - removed + added == len(after) < len(before)
    assert before - after <= set(lake.place.storage.files()), "older versions must stay readable"
    assert table.vacuum(timedelta(hours=1), dry_run=False) == []
    replaced = {path for path in table.vacuum(timedelta(0), dry_run=True) if path in before}
    assert replaced == before - after
    assert replaced <= set(table.vacuum(timedelta(0), dry_run=False))
    assert not replaced & set(lake.place.storage.files())
    lake.check(rows)
    assert table.optimize(2**28) == (0, 0)
    more = sample_table(FIRST, LAST + 20)
    lake.write(more, FIRST, LAST + 20)
    lake.check(more)


def test_old_files_are_given_up_but_stay_covered(lake: Lake) -> None:
    rows = sample_table(FIRST, LAST)
    lake.write(rows, FIRST, LAST)
    times = rows["ledger_close_time"]
    limit = of_ledgers(rows, FIRST + 40, LAST)["ledger_close_time"][0].as_py()
    kept = rows.filter(pc.greater_equal(times, pa.scalar(limit, times.type)))
    table = lake.table()
    old = table.prune(limit, dry_run=True)
    assert sum(file.rows for file in old) == rows.num_rows - kept.num_rows > 0
    same_rows(lake.read(), rows)
    assert table.prune(limit) == old
    assert table.prune(limit) == []
    lake.check(kept)
    lake.write(rows, FIRST, LAST)
    lake.check(kept)
    assert {file.path for file in old} <= set(table.vacuum(timedelta(0), dry_run=False))
    lake.check(kept)


def test_old_files_are_given_up_though_others_write(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sample_table(FIRST, LAST)
    lake.write(rows, FIRST, LAST)
    limit = of_ledgers(rows, FIRST + 40, LAST)["ledger_close_time"][0].as_py()
    table = lake.table()
    remove, tries = type(table)._remove, []

    def after_a_conflict(self: Table, files: list[TableFile]) -> None:
        tries.append(files)
        if len(tries) == 1:
            raise ConflictError("version 3 is taken")
        remove(self, files)

    monkeypatch.setattr(type(table), "_remove", after_a_conflict)
    assert table.prune(limit) == tries[0] == tries[1] != []
    assert table.prune(limit) == []

    def refuse(*_: object) -> None:
        raise ConflictError("version 4 is taken")

    monkeypatch.setattr(type(table), "_remove", refuse)
    monkeypatch.setattr(tables, "_PATIENCE", RetryPolicy(initial=0, maximum=0))
    with pytest.raises(ArchiveError, match=r"others keep changing it \(version 4 is taken\); try again"):
        table.prune(limit + timedelta(days=1))


def test_upkeep_beside_a_writer(lake: Lake) -> None:
    rows = sample_table(FIRST, LAST)
    archive = lake.open()
    lake.write(rows, FIRST, FIRST + 59, step=10, archive=archive)
    assert lake.table().optimize(2**28)[0] > 1
    lake.write(rows, FIRST, LAST, step=10, archive=archive)
    archive.close()
    lake.check(rows)


@pytest.mark.parametrize("form", FORMATS)
def test_every_version_holds_whole_ledgers(folder: Place, form: str) -> None:
    """A reader that comes at any moment sees the rows of all ledgers that are covered, and no others."""
    rows = sample_table(FIRST, LAST)
    lake = Lake(folder, form, "none")
    lake.write(rows, FIRST, LAST, step=25)
    ends = [*range(FIRST + 24, LAST, 25), LAST]
    found = [counts for counts in versions(folder, form) if counts]
    assert found == [of_ledgers(rows, FIRST, end).num_rows for end in ends]


def versions(place: Place, form: str) -> list[int]:
    """The number of rows in each version, by the format's own reader."""
    if form == "delta":
        from deltalake import DeltaTable

        newest = DeltaTable(place.output).version()
        return [DeltaTable(place.output, version=version).count() for version in range(newest + 1)]
    table = place.iceberg("samples")
    return [table.scan(snapshot_id=snapshot.snapshot_id).count() for snapshot in table.snapshots()]


@pytest.mark.parametrize("form", FORMATS)
def test_the_formats_own_readers_see_the_same(folder: Place, form: str) -> None:
    rows = sample_table(FIRST, LAST)
    Lake(folder, form).write(rows, FIRST, LAST)
    if form == "delta":
        from deltalake import DeltaTable

        found = pa.table(DeltaTable(folder.output).to_pyarrow_table())
    else:
        table = folder.iceberg("samples")
        # Its reader makes empty lists of lists of structs that are null.
        found = table.scan(selected_fields=tuple(name for name in rows.column_names if name != "path")).to_arrow()
        rows = rows.drop_columns(["path"])
    same_rows(found, rows)


@pytest.mark.parametrize("form", FORMATS)
def test_columns_are_described(folder: Place, form: str) -> None:
    Lake(folder, form).write(sample_table(FIRST, LAST), FIRST, LAST)
    if form == "delta":
        from deltalake import DeltaTable

        comments = [field.metadata.get("comment") for field in DeltaTable(folder.output).schema().fields]
    else:
        comments = [field.doc for field in folder.iceberg("samples").schema().fields]
    assert "sample amount_raw" in comments


@pytest.mark.parametrize("form", FORMATS)
def test_damage_is_found(folder: Place, form: str) -> None:
    lake = Lake(folder, form)
    lake.write(sample_table(FIRST, LAST), FIRST, LAST)
    path, other, *_ = (Path(folder.output) / file.path for file in lake.table().files())
    path.write_bytes(path.read_bytes()[:-1])
    other.unlink()
    faults = sorted(table_faults(lake.table()))
    assert len(faults) == 2
    assert any("bytes instead of" in fault for fault in faults)
    assert any("is missing" in fault for fault in faults)


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_not_mixed_with_another(folder: Place, form: str) -> None:
    rows = sample_table(FIRST, LAST)
    Lake(folder, form).write(rows, FIRST, LAST)
    with pytest.raises(OutputMismatchError, match=f"is an archive of the format {form}; give --format {form}"):
        Archive(folder.storage)


@pytest.mark.parametrize("form", FORMATS)
def test_a_package_that_is_missing(folder: Place, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"delta": "deltalake", "iceberg": "pyiceberg"}[form]
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(module), *sys.meta_path])
    with pytest.raises(ArchiveError, match=rf"not installed: pip install 'parquet-consumer\[{form}\]'"):
        Lake(folder, form).open()


class Missing:
    """Finds that a package is not there."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self._module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self._module)


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_of_every_stream(tmp_path: Path, form: str) -> None:
    """With all columns, also those that must be asked for."""
    pytest.importorskip({"delta": "deltalake", "iceberg": "pyiceberg"}[form])
    for stream in STREAMS:
        schema = stream.schema([column.name for column in stream.columns], None)
        archive = Archive(Place(tmp_path, None, stream.name).storage, Format(form), stream.name)
        ParquetSink(archive, Partitioning.parse("hive"), FileOptions()).open(schema, StreamRequest(stream.name, 1, 2))
        archive.close()
        assert archive.records.archive is not None
        assert [text.split(" ")[0] for text in archive.records.archive.columns] == schema.names
