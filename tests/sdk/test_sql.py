"""SQL over streams: the rows are those of DuckDB over the whole tables, and only what a query needs travels."""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellar_arrow_client import Answer, Client, Connection, connect
from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError, UnavailableError
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.tables import STREAMS
from tests.client.scripted import QUICK
from tests.sdk.recording import FIRST, LAST, WholeTables, recorded

USED = ("ledgers", "transactions", "payments", "ttp_events", "trades")
RANGE = "ledger_sequence BETWEEN 10 AND 40"


@pytest.fixture(scope="module")
def connection(service: Service) -> Iterator[Connection]:
    with connect(service.location) as connection:
        yield connection


@pytest.fixture(scope="module")
def local(whole: WholeTables) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the same tables as its own."""
    with duckdb.connect() as database:
        for stream in USED:
            database.register("read", whole(stream))
            database.execute(f"CREATE TABLE {stream} AS FROM read")
        database.execute("CREATE VIEW token_transfers AS FROM ttp_events")
        yield database


def rows(table: pa.Table) -> Counter[str]:
    return Counter(map(repr, table.to_pylist()))


QUERIES = [
    f"SELECT * FROM payments WHERE {RANGE}",
    f"SELECT count(*) FROM payments WHERE {RANGE}",
    "SELECT count(*) FROM payments WHERE ledger_sequence = 20",
    "SELECT count(*), sum(amount) FROM payments WHERE ledger_sequence IN (12, 20, 33)",
    "SELECT sum(amount) FROM payments WHERE ledger_sequence > 9 AND 41 > ledger_sequence AND amount % 2 = 0",
    "SELECT sum(amount) FROM payments WHERE ledger_sequence BETWEEN 10 AND 20 OR ledger_sequence BETWEEN 30 AND 31",
    f"SELECT asset_code, sum(amount) FROM payments WHERE {RANGE} AND successful GROUP BY ALL HAVING sum(amount) > 5",
    f"SELECT DISTINCT asset_code FROM payments WHERE {RANGE} AND asset_code <> 'XLM' AND memo IS NOT NULL",
    f"SELECT * FROM payments WHERE {RANGE} ORDER BY amount DESC, operation_id LIMIT 5",
    f"SELECT memo FROM payments WHERE {RANGE} AND memo LIKE '%a%' AND asset_code IN ('XLM', 'USDC')",
    f"SELECT amount FROM payments WHERE {RANGE} AND (asset_issuer IS NULL OR NOT successful) AND amount NOT IN (1, 2)",
    f"SELECT sum(amount), max(amount), min(amount) FROM ttp_events WHERE {RANGE} AND event_type = 'transfer'",
    f"SELECT sum(amount) FROM token_transfers WHERE {RANGE} AND amount > 12345678901234567890",
    f"SELECT hex(transaction_hash) FROM transactions WHERE {RANGE} AND NOT successful",
    "SELECT * FROM ledgers WHERE ledger_sequence BETWEEN 10 AND 40 AND ledger_close_time > '2025-01-01 00:00:00+00'",
    # Joins, also of a stream with itself
    f"""SELECT p.amount, t.fee_charged FROM payments p JOIN transactions t USING (ledger_sequence, transaction_hash)
        WHERE p.{RANGE}""",
    f"SELECT count(*) FROM payments a JOIN payments b USING (operation_id) WHERE a.{RANGE} AND b.{RANGE}",
    f"SELECT a.amount FROM payments a LEFT JOIN trades b ON a.ledger_sequence = b.ledger_sequence AND b.{RANGE} "
    f"WHERE a.{RANGE}",
    f"""SELECT count(*) FROM payments p WHERE {RANGE} AND NOT EXISTS
        (SELECT 1 FROM trades t WHERE t.{RANGE} AND t.operation_id = p.operation_id)""",
    f"SELECT ledger_sequence FROM payments WHERE {RANGE} UNION ALL SELECT ledger_sequence FROM trades WHERE {RANGE}",
    # Subqueries, common table expressions, windows
    f"SELECT sum(amount) FROM (SELECT * FROM payments) WHERE {RANGE} AND asset_code = 'USDC'",
    f"""WITH xlm AS (SELECT * FROM payments WHERE asset_code = 'XLM'), big AS MATERIALIZED (FROM xlm WHERE {RANGE})
        SELECT a.operation_id, b.amount FROM big a JOIN big b USING (operation_id) WHERE a.amount > 1000""",
    f"SELECT operation_id, rank() OVER (PARTITION BY asset_code ORDER BY operation_id) FROM payments WHERE {RANGE}",
    f"SELECT amount > (SELECT avg(amount) FROM payments WHERE {RANGE}) FROM payments WHERE {RANGE}",
    f"FROM ledgers SELECT ledger_sequence, transaction_count WHERE {RANGE} AND transaction_count + 1 > 20",
    "SELECT * FROM payments WHERE ledger_sequence BETWEEN 40 AND 10",
    "SELECT * FROM payments WHERE ledger_sequence = 20 AND ledger_sequence = 21",
]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_answers_are_those_of_the_whole_tables(
    connection: Connection, local: duckdb.DuckDBPyConnection, query: str
) -> None:
    expected = local.sql(query).to_arrow_table()
    found = connection.sql(query).to_table()
    assert found.schema.types == expected.schema.types
    assert rows(found) == rows(expected)
    assert found.num_rows or "= 21" in query or "AND 10" in query


def literals(table: pa.Table, name: str) -> st.SearchStrategy[str]:
    """Values of a column, in SQL."""
    column = table[name].drop_null()
    found = [column[row].as_py() for row in range(0, len(column), max(1, len(column) // 20))]
    kind = column.type

    def text(value: Any) -> str:
        match value:
            case bytes():
                return f"unhex('{value.hex()}')"
            case int() | Decimal() | bool():
                return str(value)
        return "'" + str(value).replace("'", "''") + "'"

    other = st.nothing()
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        other = st.integers(-10, 2**70).map(str) | st.sampled_from(["0.5", "1e3", "NULL"])
    elif pa.types.is_string(kind):
        other = st.sampled_from(["''", "'A'", "NULL", "'it''s'"])
    return (st.sampled_from(found).map(text) if found else st.just("NULL")) | other


def predicates(table: pa.Table) -> st.SearchStrategy[str]:
    def of_column(name: str) -> st.SearchStrategy[str]:
        value, kind = literals(table, name), table.schema.field(name).type
        if pa.types.is_boolean(kind):
            return st.sampled_from([name, f"NOT {name}", f"{name} IS NULL", f"{name} = true", f"{name} IS NOT FALSE"])
        compare = st.builds("{} {} {}".format, st.just(name), st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), value)
        distinct = value.map(f"{name} IS DISTINCT FROM {{}}".format)
        among = st.lists(value, min_size=1, max_size=4).map(lambda values: f"{name} IN ({', '.join(values)})")
        not_among = among.map(lambda text: f"NOT ({text})")
        between = st.builds(f"{name} BETWEEN {{}} AND {{}}".format, value, value)
        null = st.sampled_from([f"{name} IS NULL", f"{name} IS NOT NULL"])
        kinds = compare | distinct | among | not_among | between | null
        if pa.types.is_string(kind):
            kinds |= st.sampled_from([f"{name} LIKE '%A%'", f"{name} NOT LIKE 'c%'", f"starts_with({name}, 'G')"])
        return kinds

    flat = [
        field.name
        for field in table.schema
        if not pa.types.is_nested(field.type) and field.type != pa.binary() and not pa.types.is_timestamp(field.type)
    ]
    joined = st.sampled_from(["({} AND {})", "({} OR {})"])
    leaf = st.sampled_from(flat).flatmap(of_column)
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds(lambda form, a, b: form.format(a, b), joined, inner, inner) | inner.map("NOT ({})".format)
        ),
        max_leaves=6,
    )


@pytest.mark.parametrize("stream", ["payments", "ttp_events", "transactions"])
def test_any_condition_gives_the_rows_of_the_whole_table(
    connection: Connection, local: duckdb.DuckDBPyConnection, whole: WholeTables, stream: str
) -> None:
    columns = st.lists(st.sampled_from(whole(stream).column_names), min_size=1, max_size=4, unique=True)
    some = 0

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(columns, predicates(whole(stream)))
    def check(columns: list[str], condition: str) -> None:
        nonlocal some
        query = f"SELECT {', '.join(columns)} FROM {stream} WHERE {RANGE} AND {condition}"
        try:
            expected = local.sql(query).to_arrow_table()
        except duckdb.Error as error:
            with pytest.raises(type(error)):
                connection.sql(query).to_table()
            return
        found = connection.sql(query).to_table()
        some += found.num_rows > 0
        assert rows(found) == rows(expected), query

    check()
    assert some > 15


def test_only_what_a_query_needs_travels(
    connection: Connection, whole: WholeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(connection.client, monkeypatch) as traffic:
        query = f"SELECT sum(amount) FROM payments WHERE {RANGE} AND asset_code = 'USDC' AND successful"
        connection.sql(query).fetchall()
    [request] = traffic.requests
    assert (request.start, request.end) == (10, 40)
    assert set(request.columns or ()) == {"ledger_sequence", "amount", "asset_code", "successful"}
    assert "\"asset_code\" = 'USDC'" in (request.filter or "")
    assert traffic.bytes < whole("payments").nbytes / 100

    with recorded(connection.client, monkeypatch) as traffic:
        connection.sql(f"SELECT count(*) FROM transactions WHERE {RANGE}").fetchall()
    assert [request.columns for request in traffic.requests] == [("ledger_sequence",)]

    with recorded(connection.client, monkeypatch) as traffic:
        connection.sql(
            f"""SELECT sum(p.amount), max(t.fee_charged) FROM payments p
            JOIN transactions t USING (ledger_sequence, transaction_hash) WHERE p.{RANGE}"""
        ).fetchall()
    assert {(request.stream, request.start, request.end) for request in traffic.requests} == {
        ("payments", 10, 40),
        ("transactions", 10, 40),
    }
    assert all(len(request.columns or ()) == 3 for request in traffic.requests)


def test_a_query_that_is_satisfied_stops_reading(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(service.location, start=FIRST, end=LAST) as connection:
        connection.duckdb.execute("SET threads = 1")
        with recorded(connection.client, monkeypatch) as traffic:
            [(total,)] = connection.sql("SELECT count(*) FROM operations").fetchall()
            everything = traffic.rows
            assert total == everything
            traffic.rows = 0
            assert len(connection.sql("SELECT * FROM operations LIMIT 1").fetchall()) == 1
            assert traffic.rows < everything


def test_every_stream_is_a_table(connection: Connection, client: Client) -> None:
    names = {name for stream in STREAMS for name in (stream.name, *stream.aliases)}
    assert {row[0] for row in connection.sql("SHOW TABLES").fetchall()} == names
    for stream in STREAMS:
        described = connection.sql(f"DESCRIBE {stream.name}").to_table()["column_name"].to_pylist()
        assert described == client.schema(stream.name).names
        assert connection.sql(f"SELECT * FROM {stream.name} WHERE ledger_sequence = {FIRST}").to_table() is not None


def test_values_are_exact(connection: Connection, whole: WholeTables) -> None:
    found = connection.sql(f"SELECT * FROM ttp_events WHERE ledger_sequence BETWEEN {FIRST} AND {LAST}").to_table()
    expected = whole("ttp_events")
    assert found["amount"].type == pa.decimal128(38, 0)
    assert found.cast(expected.schema).equals(expected)
    [(total,)] = connection.sql(f"SELECT sum(total_coins) FROM ledgers WHERE {RANGE}").fetchall()
    assert total == sum(whole("ledgers").slice(10 - FIRST, 31)["total_coins"].to_pylist())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM payments", r"payments is read over a range .* WHERE ledger_sequence BETWEEN first AND last"),
        ("SELECT * FROM payments WHERE ledger_sequence > 5", r"payments .* \(the newest ledger is 91\)"),
        ("SELECT * FROM payments WHERE ledger_sequence < 5", "payments is read over a range of ledgers"),
        ("SELECT * FROM payments WHERE amount > 5 OR ledger_sequence = 5", "payments is read over a range of ledgers"),
        (
            "SELECT 1 FROM payments p JOIN trades t USING (operation_id) WHERE p.ledger_sequence = 5",
            "trades is read over a range of ledgers",
        ),
        ("SELECT * FROM payments WHERE ledger_sequence BETWEEN 80 AND 92", "ledger 92 of payments cannot be read"),
        ("SELECT * FROM payments LIMIT 1", "payments is read over a range of ledgers"),
    ],
)
def test_a_range_that_is_open_is_refused(connection: Connection, query: str, message: str) -> None:
    answer = connection.sql(query)
    for read in (
        answer.to_table,
        answer.fetchall,
        answer.preview,
        answer.to_pandas,
        lambda: answer.reader().read_all(),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            read()
    with pytest.raises(InvalidRequestError, match=message):
        str(answer)
    for shown in (repr(answer), answer._repr_html_()):
        assert re.search(message, shown)
    assert connection.sql("SELECT 5").fetchall() == [(5,)]


def test_a_range_of_times(connection: Connection, local: duckdb.DuckDBPyConnection, whole: WholeTables) -> None:
    times = whole("ledgers")["ledger_close_time"].to_pylist()
    early, late = times[8], times[20]
    for low, high in ((">=", "<="), (">", "<"), (">=", "<")):
        query = "SELECT operation_id FROM payments WHERE ledger_close_time {} {!r} AND ledger_close_time {} {!r}"
        query = query.format(low, str(early), high, str(late))
        with recorded(connection.client, pytest.MonkeyPatch()) as traffic:
            found = connection.sql(query).to_table()
        assert rows(found) == rows(local.sql(query).to_arrow_table())
        assert found.num_rows > 0
        [request] = [request for request in traffic.requests if request.stream == "payments"]
        assert (request.start, request.end) == (FIRST + 8 + (low == ">"), FIRST + 20 - (high == "<"))
    query = f"SELECT count(*) FROM ledgers WHERE ledger_sequence > 20 AND ledger_close_time < '{late}'"
    assert connection.sql(query).fetchall() == [(1,)]
    query = f"SELECT count(*) FROM ledgers WHERE ledger_close_time < '{times[0]}' AND ledger_close_time > '2000-01-01'"
    assert connection.sql(query).fetchall() == [(0,)]
    with pytest.raises(InvalidRequestError, match=r"closed from .* to .*; ask for a time between these"):
        connection.sql("SELECT * FROM ledgers WHERE ledger_close_time BETWEEN '2025-01-01' AND '9999-12-31'").fetchall()
    with pytest.raises(InvalidRequestError, match="ledgers is read over a range of ledgers"):
        connection.sql(f"SELECT * FROM ledgers WHERE ledger_close_time > '{early}'").fetchall()


def test_ledgers_by_time(client: Client, whole: WholeTables) -> None:
    for ledger, time in enumerate(whole("ledgers")["ledger_close_time"].to_pylist(), FIRST):
        if ledger % 20 == 1:
            assert client.ledger_at(time) == ledger
            assert client.ledger_at(time - timedelta(microseconds=1)) == ledger
            assert client.ledger_at(time.astimezone(timezone(timedelta(hours=5)))) == ledger
    with pytest.raises(InvalidRequestError, match="ask for a time between these"):
        client.ledger_at(datetime(2100, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidRequestError, match="no time zone"):
        client.ledger_at(datetime(2025, 1, 1))


def test_the_range_of_the_connection(service: Service, whole: WholeTables) -> None:
    with connect(service.location, start=10, end=20) as connection:
        assert connection.sql("SELECT min(ledger_sequence), max(ledger_sequence) FROM ledgers").fetchall() == [(10, 20)]
        inside = connection.sql("SELECT ledger_sequence FROM ledgers WHERE ledger_sequence > 18").fetchall()
        assert inside == [(19,), (20,)]
        assert connection.sql("SELECT * FROM ledgers WHERE ledger_sequence = 30").fetchall() == []
    with connect(service.location, start=10) as connection:
        assert connection.sql("SELECT count(*) FROM ledgers WHERE ledger_sequence < 20").fetchall() == [(10,)]


def test_answers_in_every_form(connection: Connection) -> None:
    answer = connection.sql(f"SELECT ledger_sequence, amount FROM payments WHERE {RANGE} ORDER BY operation_id")
    table = answer.to_table()
    assert pa.table(answer).equals(table)
    assert answer.reader().read_all().equals(table)
    assert answer.to_polars().to_arrow().equals(table)
    assert [str(kind) for kind in answer.to_pandas().dtypes] == ["uint32[pyarrow]", "int64[pyarrow]"]
    assert answer.fetchall() == [tuple(row.values()) for row in table.to_pylist()]
    assert answer.preview(3).table.equals(table.slice(0, 3))
    assert repr(answer).splitlines()[1] == "ledger_sequence  amount"
    assert "<th>amount</th>" in answer._repr_html_()
    assert answer._repr_mimebundle_() == {"text/plain": repr(answer), "text/html": answer._repr_html_()}


def test_parameters_and_statements(connection: Connection) -> None:
    by_place = connection.sql("SELECT count(*) FROM ledgers WHERE ledger_sequence BETWEEN ? AND ?", [10, 19])
    by_name = connection.sql("SELECT count(*) FROM ledgers WHERE ledger_sequence BETWEEN $a AND $b", {"a": 10, "b": 19})
    assert by_place.fetchall() == by_name.fetchall() == [(10,)]
    connection.sql(f"CREATE TABLE kept AS SELECT * FROM payments WHERE {RANGE}")
    [(count,)] = connection.sql("SELECT count(*) FROM kept").fetchall()
    assert count > 0
    dropped = connection.sql("DROP TABLE kept")
    assert dropped.to_table().num_rows == len(dropped.fetchall()) == dropped.reader().read_all().num_rows == 0
    assert str(dropped.preview()).startswith("DROP TABLE kept")
    without_relation = Answer(connection, "SET threads = 2", None)  # as DuckDB 1 answers
    assert without_relation.to_table().num_rows == len(without_relation.fetchall()) == 0
    assert without_relation.reader().read_all().num_rows == without_relation.preview().table.num_rows == 0
    with pytest.raises(duckdb.Error, match="payments"):
        connection.sql("SELECT * FROM paymnts")


def test_in_a_database_of_ones_own(service: Service, tmp_path: Any) -> None:
    with duckdb.connect(tmp_path / "own.duckdb") as own:
        own.execute("CREATE TABLE trades AS SELECT 5 AS five")
        with connect(service.location, start=10, end=19, connection=own) as connection:
            connection.sql("CREATE TABLE kept AS FROM ledgers")
            assert len(connection.sql("DESCRIBE trades").fetchall()) > 1
        assert own.execute("SELECT count(*) FROM kept").fetchall() == [(10,)]
        assert own.execute("FROM trades").fetchall() == [(5,)]
        assert {name for (name,) in own.execute("SHOW TABLES").fetchall()} == {"kept", "trades"}


def test_queries_of_many_threads(service: Service, local: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT sum(amount) FROM payments WHERE ledger_sequence BETWEEN {} AND {}"
    found: dict[int, Any] = {}

    def ask(first: int) -> None:
        with connect(service.location) as connection:
            found[first] = connection.sql(query.format(first, first + 9)).fetchall()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(10, 50, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {first: local.execute(query.format(first, first + 9)).fetchall() for first in range(10, 50, 5)}


def test_failures_of_the_server_keep_their_type(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(service.location, retry=QUICK) as connection:
        answer = connection.sql(f"SELECT sum(amount) FROM payments WHERE {RANGE}")

        def break_off(*_arguments: object, **_options: object) -> Iterator[Any]:
            raise UnavailableError("cannot reach the server")
            yield

        monkeypatch.setattr(Client, "stream", break_off)
        for read in (answer.to_table, answer.fetchall, lambda: answer.reader().read_all(), answer.preview):
            with pytest.raises(UnavailableError, match="cannot reach the server"):
                read()
    with pytest.raises(UnavailableError, match="is stellar-arrow-source running there"):
        connect("127.0.0.1:1", retry=QUICK)


def test_duckdb_is_named_where_it_is_not_installed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(StellarArrowError, match=r"SQL needs duckdb, .* pip install 'stellar-arrow-source\[duckdb\]'"):
        connect(service.location)
