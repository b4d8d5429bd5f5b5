"""Conditions on rows, against DuckDB's answers to the same text."""

from __future__ import annotations

import random
from functools import cache
from threading import Event

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from stellar_arrow_client.errors import InvalidRequestError, UnknownColumnError
from stellar_arrow_source.flight.filters import MAX_FILTER_CHARS, parse_filter
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import LedgerDecoder, find_stream

TYPES = {column.name: column.type for column in find_stream("payments").columns}
LEDGERS = 40


@cache
def payments() -> tuple[pa.RecordBatch, NDArray[np.int64]]:
    source = open_source(f"synthetic://?ledgers={LEDGERS}")
    ledgers = [ledger.xdr for ledger in source.ledgers(2, LEDGERS + 1, Event())]
    decoded = LedgerDecoder({"payments": None}).decode(ledgers)
    return decoded.batches["payments"], decoded.row_ends["payments"]


def expected(condition: str) -> list[int]:
    """The operation ids that DuckDB selects."""
    rows = pa.Table.from_batches([payments()[0]])
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.register("payments", rows)
        found = connection.execute(f"SELECT operation_id FROM payments WHERE {condition} ORDER BY 1").fetchall()
    return [row[0] for row in found]


def check(condition: str) -> int:
    batch, row_ends = payments()
    parsed = parse_filter(condition, TYPES, "payments")
    rows, ends = parsed.apply(batch, row_ends)
    assert all(parsed.sequences.meets(value, value) for value in rows.column("ledger_sequence").unique().to_pylist())
    closed = rows.column("ledger_close_time").cast(pa.int64()).unique().to_pylist()
    assert all(parsed.close_times.meets(value, value) for value in closed)
    assert rows.column("operation_id").to_pylist() == expected(condition), condition
    assert rows.schema == batch.schema
    sequences = np.array(rows.column("ledger_sequence").to_pylist(), np.int64)
    assert ends.tolist() == [int((sequences <= ledger).sum()) for ledger in range(2, LEDGERS + 2)]
    return rows.num_rows


@pytest.mark.parametrize(
    "condition",
    [
        "asset_code = 'XLM' AND amount >= 10000000",
        "NOT (memo IS NULL OR memo_type IN ('MEMO_TEXT'))",
        "successful",
        "not successful",
        "successful IS TRUE",
        "amount BETWEEN 1 AND 100000000 OR asset_issuer IS NOT NULL",
        "amount NOT BETWEEN 5 AND 1e8",
        "10000000 < amount",
        "-1 < amount",
        "asset_code LIKE 'U%'",
        "asset_code NOT IN ('XLM', 'USDC')",
        "memo <> '1'",
        "source_amount > 5 OR NOT source_amount > 5",
        "ledger_close_time >= '2025-09-30T23:36:00Z'",
        "ledger_close_time < TIMESTAMP '2025-09-30 23:36:00'",
        "payment_type = 'account_merge' or (payment_type = 'payment' and amount < 100000000)",
    ],
)
def test_conditions_mean_what_sql_means(condition: str) -> None:
    check(condition)


def test_the_conditions_are_telling() -> None:
    assert 0 < check("asset_code = 'XLM' AND amount >= 10000000") < payments()[0].num_rows


def test_hashes_are_written_in_hex() -> None:
    batch, row_ends = payments()
    wanted = batch.column("transaction_hash")[5].as_py()
    rows, _ = parse_filter(f"transaction_hash = '{wanted.hex()}'", TYPES, "payments").apply(batch, row_ends)
    assert set(rows.column("transaction_hash").to_pylist()) == {wanted}


@cache
def _some_close_times() -> list[str]:
    closed = payments()[0].column("ledger_close_time").unique()
    return [closed[at].as_py().strftime("%Y-%m-%d %H:%M:%S+00") for at in (3, 20, 30)]


def random_condition(chance: random.Random, depth: int = 3) -> str:
    if depth and chance.random() < 0.7:
        inner = random_condition(chance, depth - 1)
        form = chance.choice(("NOT ({0})", "({0}) AND ({1})", "({0}) OR ({1})", "({0}) OR ({1})"))
        return form.format(inner, random_condition(chance, depth - 1))
    column, values = chance.choice(
        (
            ("amount", ["0", "10000000", "1234567", "5e9", "-3"]),
            ("source_amount", ["0", "10000000", "99"]),
            ("asset_code", ["'XLM'", "'USDC'", "'none'"]),
            ("memo", ["'1'", "''", "'invoice'"]),
            ("transaction_index", ["1", "5", "20"]),
            ("ledger_sequence", ["5", "20", "39", "77"]),
            ("ledger_close_time", [f"'{closed}'" for closed in _some_close_times()]),
        )
    )
    operator = chance.choice(("=", "<>", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "IS"))
    if operator == "IS":
        return f"{column} IS {chance.choice(('', 'NOT '))}NULL"
    if operator == "BETWEEN":
        return f"{column} BETWEEN {chance.choice(values)} AND {chance.choice(values)}"
    if operator.endswith("IN"):
        return f"{column} {operator} ({', '.join(chance.sample(values, 2))})"
    return f"{column} {operator} {chance.choice(values)}"


def test_random_conditions() -> None:
    chance = random.Random(11)
    found = [check(random_condition(chance)) for _ in range(150)]
    assert len(set(found)) > 20


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("amount > 'x'", "cannot be compared"),
        ("amount > 1.5", "cannot be compared"),
        ("amount > 99999999999999999999", "cannot be compared"),
        ("amount > 1e999999999", "cannot be compared"),
        ("memo = NULL", "cannot be compared"),
        ("successful = 1", "cannot be compared"),
        ("transaction_hash = 'zz'", "cannot be compared"),
        ("amount = source_amount", "cannot be compared"),
        ("ledger_close_time > 'yesterday'", "cannot be compared"),
        ("sum(amount) > 3", "needs a column"),
        ("1 = 1", "needs a column"),
        ("payments.amount > 1", "needs a column"),
        ("amount::text = '3'", "needs a column"),
        ("amount IN (SELECT 1)", "list of literals"),
        ("asset_code", "no condition by itself"),
        ("SELECT 1", "cannot hold"),
        ("amount > 1; DROP TABLE payments", "cannot hold"),
        ("EXISTS (SELECT 1)", "cannot hold"),
        ("CASE WHEN successful THEN true END", "cannot hold"),
        ("(" * 3000, "cannot read the filter"),
        ("NOT " * 1000 + "successful", "cannot read the filter"),
        ("amount >", "cannot read the filter"),
        ("'", "cannot read the filter"),
        ("", "cannot read the filter"),
        ("a" * (MAX_FILTER_CHARS + 1), "at most"),
    ],
)
def test_everything_else_is_refused(condition: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        parse_filter(condition, TYPES, "payments")


HOUR = 3_600_000_000  # of 1970, in microseconds


@pytest.mark.parametrize(
    ("condition", "sequences", "close_times"),
    [
        ("amount > 3", (None, None), (None, None)),
        ("ledger_sequence = 7", (7, 7), (None, None)),
        ("7 <= ledger_sequence", (7, None), (None, None)),
        ("ledger_sequence < 7 AND amount > 3", (None, 7), (None, None)),
        ("ledger_sequence >= 7 OR amount > 3", (None, None), (None, None)),
        ("ledger_sequence IN (9, 7, 8)", (7, 9), (None, None)),
        ("(ledger_sequence BETWEEN 3 AND 5) OR ledger_sequence = 9", (3, 9), (None, None)),
        ("ledger_sequence BETWEEN 3 AND 8 AND ledger_sequence > 5", (5, 8), (None, None)),
        ("ledger_sequence > 8 AND ledger_sequence < 3", (8, 3), (None, None)),
        ("NOT (ledger_sequence > 8)", (None, None), (None, None)),
        ("ledger_sequence <> 8", (None, None), (None, None)),
        ("ledger_sequence > 2 AND ledger_close_time < '1970-01-01T02:00:00'", (2, None), (None, 2 * HOUR)),
        ("ledger_close_time BETWEEN '1970-01-01 01:00' AND '1970-01-01 05:00+02:00'", (None, None), (HOUR, 3 * HOUR)),
    ],
)  # fmt: skip
def test_conditions_tell_where_they_can_be_true(
    condition: str, sequences: tuple[int | None, ...], close_times: tuple[int | None, ...]
) -> None:
    parsed = parse_filter(condition, TYPES, "payments")
    assert (parsed.sequences, parsed.close_times) == (sequences, close_times)


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UnknownColumnError, match="did you mean amount"):
        parse_filter("amont > 3", TYPES, "payments")
