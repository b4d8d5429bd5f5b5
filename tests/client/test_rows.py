"""Rows of a range, into pyarrow, pandas, Polars and DuckDB: exact, bounded in memory, and only what is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from stellar_arrow_client import Client, Rows, StreamRequest
from stellar_arrow_client.errors import GapError, InvalidRequestError, StellarArrowError, UnknownColumnError
from stellar_arrow_client.testing import FakeServer, Fault, sample_table
from tests.client.scripted import QUICK, ScriptedServer, step

FIRST, LAST = 10, 90
TABLE = sample_table(FIRST, LAST)
WITHOUT_OBJECTS = [name for name in TABLE.column_names if name not in ("topics", "path")]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"samples": TABLE}, FIRST, LAST, ledgers_per_batch=4) as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, retry=QUICK) as client:
        yield client


@pytest.fixture
def rows(client: Client) -> Rows:
    return client.read(f"samples:{FIRST}:{LAST}")


def test_into_arrow(rows: Rows) -> None:
    assert rows.to_table().equals(TABLE)
    assert rows.schema.equals(TABLE.schema, check_metadata=True)
    assert rows.reader().read_all().equals(TABLE)
    assert pa.Table.from_batches(rows.to_batches()).equals(TABLE)
    assert pa.table(rows).equals(TABLE)
    assert rows.head(7).equals(TABLE.slice(0, 7))
    assert rows.to_table(columns=["memo", "amount"]).equals(TABLE.select(["memo", "amount"]))


def test_into_files(rows: Rows, tmp_path: Path) -> None:
    ds.write_dataset(rows, tmp_path, format="parquet", preserve_order=True)
    assert ds.dataset(tmp_path).to_table().cast(TABLE.schema).equals(TABLE)


def test_into_pandas(rows: Rows) -> None:
    frame = rows.to_pandas()
    assert {str(kind) for kind in frame.dtypes} == {f"{field.type}[pyarrow]" for field in TABLE.schema}
    assert pa.Table.from_pandas(frame, preserve_index=False).cast(TABLE.schema).equals(TABLE)
    assert frame["amount_raw"].dropna().iloc[0] == Decimal(TABLE["amount_raw"].drop_null()[0].as_py())


def test_into_polars(rows: Rows) -> None:
    frame = rows.to_polars()
    assert frame.schema["amount_raw"] == pl.Decimal(38, 0)
    assert frame.schema["fee_rate"] == pl.UInt64
    assert frame.to_arrow().cast(TABLE.schema).equals(TABLE)
    assert pl.DataFrame(rows).equals(frame)


def test_polars_asks_for_what_a_lazy_frame_needs(rows: Rows, server: FakeServer) -> None:
    lazy = pl.scan_pyarrow_dataset(rows).filter(pl.col("ledger_sequence").is_between(20, 29)).select("amount")
    assert lazy.collect().to_arrow().equals(sample_table(20, 29).select(["amount"]))
    [request] = server.requests
    assert (request.start, request.end) == (20, 29)
    assert set(request.columns or ()) == {"ledger_sequence", "amount"}


def test_into_duckdb(rows: Rows, server: FakeServer) -> None:
    relation = rows.to_duckdb()
    assert (
        relation.select(*WITHOUT_OBJECTS)
        .to_arrow_table()
        .cast(TABLE.select(WITHOUT_OBJECTS).schema)
        .equals(TABLE.select(WITHOUT_OBJECTS))
    )
    server.requests.clear()
    total = relation.filter("ledger_sequence >= 50").aggregate("sum(amount) AS total").fetchall()
    assert total == [(sum(value for value in sample_table(50, LAST)["amount"].to_pylist() if value is not None),)]
    [request] = server.requests
    assert (request.start, request.end) == (50, LAST)
    assert set(request.columns or ()) == {"ledger_sequence", "amount"}
    assert duckdb.sql("SELECT count(*) FROM rows").fetchall() == [(TABLE.num_rows,)]


def test_counting_reads_one_column(rows: Rows, server: FakeServer) -> None:
    assert rows.count_rows() == TABLE.num_rows
    assert rows.count_rows(pc.field("ledger_sequence") < 20) == sample_table(FIRST, 19).num_rows
    assert [(request.columns, request.end) for request in server.requests] == [
        (("ledger_sequence",), LAST),
        (("ledger_sequence",), 19),
    ]


def test_a_filter_is_applied_whatever_the_server_does(client: Client, server: FakeServer) -> None:
    """The sample server refuses filters: none may be sent where nothing can be pushed down."""
    condition = (pc.field("ledger_sequence") >= 30) & (pc.utf8_length(pc.field("source_account")) > 56)
    assert client.read("samples:10:90").to_table(filter=condition).num_rows == 0
    condition = (
        (pc.field("ledger_sequence") >= 31)
        & (pc.field("ledger_sequence") <= 40)
        & (pc.add(pc.field("transaction_id"), 0) > 5)
    )
    expected = TABLE.filter(condition)
    assert client.read("samples:10:90").to_table(filter=condition).equals(expected)
    assert (server.requests[-1].start, server.requests[-1].end) == (31, 40)
    assert server.requests[-1].filter is None


def test_nothing_is_asked_for_where_nothing_can_be(client: Client, server: FakeServer) -> None:
    condition = (pc.field("ledger_sequence") > 40) & (pc.field("ledger_sequence") < 30)
    assert client.read("samples:10:90").to_table(filter=condition).equals(TABLE.slice(0, 0))
    assert client.read("samples:10:20").to_table(filter=pc.field("ledger_sequence") == 50).num_rows == 0
    assert server.requests == []


@pytest.mark.parametrize(
    ("request_", "condition", "message"),
    [
        (
            "samples",
            None,
            r"samples is read over a range of ledgers: give start and end, .* \(the newest ledger is 90\)",
        ),
        ("samples:10:", None, "BETWEEN first AND last"),
        ("samples", pc.field("ledger_sequence") >= 20, "BETWEEN first AND last"),
        ("samples", pc.field("ledger_sequence") <= 20, "BETWEEN first AND last"),
        ("samples", pc.field("amount") == 20, "BETWEEN first AND last"),
        ("samples", ~pc.field("ledger_sequence").isin([20]), "BETWEEN first AND last"),
        ("samples:10:91", None, "ledger 91 of samples cannot be read: the newest ledger is 90; end there"),
    ],
)
def test_an_open_range_is_refused(
    client: Client, server: FakeServer, request_: str, condition: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.read(request_).to_table(filter=condition)
    assert server.requests == []


def test_a_filter_closes_an_open_range(client: Client) -> None:
    field = pc.field("ledger_sequence")
    for condition in (
        (field >= 20) & (field <= 29),
        (field > 19) & (field < 30),
        (pc.scalar(20) <= field) & (pc.scalar(30) > field),
    ):
        assert client.read("samples").to_table(filter=condition).equals(sample_table(20, 29))


def test_failures_keep_their_type(client: Client) -> None:
    with pytest.raises(UnknownColumnError, match="did you mean 'amount'"):
        client.read(StreamRequest("samples", 10, 20, ("amuont",))).to_table()
    with pytest.raises(InvalidRequestError, match="by the names of its columns"):
        client.read("samples:10:20").to_table(columns=["amuont"])
    with ScriptedServer([[step(1, 1, 1), step(5, 5, 5)]]) as gapped, Client(gapped.address) as other:
        told: list[StellarArrowError] = []
        schema = step(1, 1)[0].schema
        other.latest_ledger = lambda: 9  # type: ignore[method-assign]
        rows = Rows(other, StreamRequest("samples", 1, 9), schema=schema, on_error=told.append)
        for read in (rows.to_table, lambda: list(rows.to_batches()), lambda: rows.reader().read_all()):
            gapped.scripts = [[step(1, 1, 1), step(5, 5, 5)]]
            with pytest.raises(GapError, match="2 to 4 are missing"):
                read()
        assert [type(error) for error in told] == [GapError] * 3


def test_a_broken_connection_is_resumed(server: FakeServer, rows: Rows) -> None:
    server.faults = [Fault(2), Fault(3)]
    assert rows.to_table().equals(TABLE)


def test_leaving_a_reading_ends_the_call(rows: Rows, server: FakeServer) -> None:
    server.ledgers_per_batch, server.delay = 1, 0.05
    assert rows.head(1).num_rows == 1
    batches = rows.to_batches()
    next(batches)
    batches.close()
    reader = rows.reader()
    reader.read_next_batch()
    reader.close()
    assert server.batches < 30


@pytest.mark.parametrize(
    "use",
    [
        lambda rows: rows.filter(pc.field("amount") > 5),
        lambda rows: rows.sort_by("amount"),
        lambda rows: rows.join(rows, "transaction_id"),
        lambda rows: rows.join_asof(rows, "transaction_id", "memo", 5),
        lambda rows: rows.replace_schema(rows.schema),
        lambda rows: rows.get_fragments(),
        lambda rows: rows.take([1]),
        lambda rows: ds.Scanner.from_dataset(rows).to_table(),
        lambda rows: ds.dataset([rows, rows]).to_table(),
        lambda rows: acero.Declaration("scan", acero.ScanNodeOptions(rows)).to_table(),
        lambda rows: pa.ipc.open_file(rows.files[0]),
    ],
)
def test_what_needs_a_dataset_of_files_is_refused(rows: Rows, use: Callable[[Rows], Any]) -> None:
    """It neither crashes, as it would without any dataset in C++, nor gives no rows."""
    with pytest.raises((NotImplementedError, OSError, AttributeError, TypeError, ValueError)) as caught:
        use(rows)
    if not isinstance(caught.value, (AttributeError, TypeError)):
        assert "read them first" in str(caught.value) or "UnionDataset" in str(caught.value)


@pytest.mark.parametrize(("name", "read"), [("pandas", "to_pandas"), ("polars", "to_polars"), ("duckdb", "to_duckdb")])
def test_what_is_not_installed_is_named(rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str, read: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StellarArrowError, match=rf"needs {name}, .* pip install 'stellar-arrow-source\[{name}\]'"):
        getattr(rows, read)()


def test_how_it_looks(client: Client, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(rows).startswith("<Rows samples:10:90: ledger_sequence, ledger_close_time, ")
    html = rows._repr_html_()
    assert "<td>amount_raw</td><td>decimal128(38, 0)</td><td>yes</td>" in html
    assert "sample amount_raw" in html
    assert rows.preview(3).table.equals(TABLE.slice(0, 3))
    assert "samples" in repr(client.streams())
    assert "<td>rows of samples</td>" in client.streams()._repr_html_()
    assert client.read("samples:10:90", progress=True).to_table().equals(TABLE)
    assert "81 ledgers" in capsys.readouterr().err


def test_previews(client: Client) -> None:
    shown = client.preview("samples", 4, columns=["ledger_sequence", "memo"])
    assert shown.table.equals(sample_table(90, 90).select(["ledger_sequence", "memo"]).slice(1))
    assert str(shown).splitlines()[:2] == ["samples:90:90", "ledger_sequence  memo"]
    assert "&lt;" not in shown._repr_html_()
    assert "memo “90002” \\\\ \\n \\x00" in shown._repr_html_()
    assert client.preview("samples", 10_000).table.equals(TABLE)
