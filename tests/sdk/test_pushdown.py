"""Conditions that are pushed down: whatever the server makes of them, the rows are those of the whole condition."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellar_arrow_client import Client, StreamRequest
from stellar_arrow_client.pushdown import MAX_PUSHED_CHARS, Bounds, Pushdown, push_down
from tests.sdk.recording import FIRST, LAST, WholeTables, recorded

SCHEMA = pa.schema(
    [
        ("ledger_sequence", pa.uint32()),
        ("ledger_close_time", pa.timestamp("us", "UTC")),
        ("amount", pa.int64()),
        ("raw", pa.decimal128(38, 0)),
        ("memo", pa.string()),
        ("hash", pa.binary(4)),
        ("payload", pa.binary()),
        ("successful", pa.bool_()),
        ("nested", pa.struct([("inner", pa.int64())])),
    ]
)
LEDGER, AMOUNT, MEMO, DONE = (pc.field(name) for name in ("ledger_sequence", "amount", "memo", "successful"))


@pytest.mark.parametrize(
    ("expression", "low", "high"),
    [
        (LEDGER == 5, 5, 5),
        ((LEDGER >= 5) & (LEDGER <= 9), 5, 9),
        ((LEDGER > 5) & (LEDGER < 9), 6, 8),
        (LEDGER >= 5, 5, None),
        (LEDGER < 5, None, 4),
        (LEDGER != 5, None, None),
        (~(LEDGER == 5), None, None),
        ((LEDGER == 5) | (LEDGER == 9), 5, 9),
        ((LEDGER == 5) | (AMOUNT == 9), None, None),
        ((LEDGER >= 5) | (LEDGER == 3), 3, None),
        ((LEDGER == 5) | ((LEDGER > 9) & (LEDGER < 8)), 5, 5),
        (((LEDGER > 9) & (LEDGER < 8)) | LEDGER.isin([]), 1, 0),
        (LEDGER.isin([9, 5, 7]), 5, 9),
        (LEDGER.isin([9, None]), 9, 9),
        (LEDGER.isin([]), 1, 0),
        (pc.if_else(LEDGER.is_valid(), LEDGER.isin([9, 5]), pa.scalar(None, pa.bool_())), 5, 9),
        (pc.scalar(5) <= LEDGER, 5, None),
        ((LEDGER > -5) & (LEDGER < -2), -4, -3),
        ((AMOUNT == 5) & (LEDGER == 5) & (pc.field("nested", "inner") == 9), 5, 5),
        (LEDGER <= 5.5, None, None),
        (pc.less(LEDGER, pa.scalar(None, pa.uint32())), None, None),
        (AMOUNT == 5, None, None),
    ],
    ids=str,
)
def test_bounds(expression: pc.Expression, low: int | None, high: int | None) -> None:
    asked = push_down(expression, SCHEMA)
    assert asked.ledgers == Bounds(low, high)
    assert asked.times == Bounds()
    assert asked.ledgers.are_empty == ((low, high) == (1, 0))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_bounds_of_times(unit: str) -> None:
    field, time = pc.field("ledger_close_time"), pa.scalar(5_000_000, pa.timestamp("us", "UTC"))
    condition = (field >= time.cast(pa.timestamp(unit, "UTC"))) & (field < pa.scalar(9, pa.timestamp("s", "UTC")))
    assert push_down(condition, SCHEMA).times == Bounds(5_000_000, 8_999_999)
    assert push_down(condition, SCHEMA).ledgers == Bounds()
    assert push_down(field == time, SCHEMA).times == Bounds(5_000_000, 5_000_000)


HEX = bytes.fromhex("00ff10ab")


@pytest.mark.parametrize(
    ("expression", "filter_"),
    [
        (AMOUNT == 5, '"amount" = 5'),
        (AMOUNT != -5, '"amount" <> -5'),
        (pc.scalar(5) < AMOUNT, '"amount" > 5'),
        (AMOUNT == 5.5, None),
        (pc.field("raw") >= pa.scalar(10**30, pa.decimal128(38, 0)), f'"raw" >= {10**30}'),
        (MEMO == "it's", "\"memo\" = 'it''s'"),
        (MEMO == "line\nbreak", None),
        (MEMO > AMOUNT, None),
        (DONE, '"successful"'),
        (~DONE, 'NOT ("successful")'),
        (DONE == True, '"successful" = TRUE'),  # noqa: E712
        (MEMO.is_null(), '"memo" IS NULL'),
        (MEMO.is_valid(), '"memo" IS NOT NULL'),
        (MEMO.isin(["a", "b"]), "(\"memo\" IS NOT NULL AND \"memo\" IN ('a', 'b'))"),
        (MEMO.isin(["a", None]), None),
        (pc.equal(MEMO, pa.scalar(None, pa.string())), None),
        (pc.field("hash") == pa.scalar(HEX, pa.binary(4)), "\"hash\" = '00ff10ab'"),
        (pc.field("hash") == pa.scalar(HEX), "\"hash\" = '00ff10ab'"),
        (pc.field("hash") == pa.scalar(HEX[:3]), None),
        (pc.field("payload") == pa.scalar(HEX), None),
        (pc.field("nested", "inner") == 5, None),
        (pc.utf8_length(MEMO) == 5, None),
        ((AMOUNT == 5) | (pc.utf8_length(MEMO) == 5), None),
        ((AMOUNT == 5) & (pc.utf8_length(MEMO) == 5) & DONE, '"amount" = 5 AND "successful"'),
        ((AMOUNT == 5) | (AMOUNT == 6) | DONE, '("amount" = 5 OR "amount" = 6 OR "successful")'),
        ((DONE & (AMOUNT < 3)) | MEMO.is_null(), '(("successful" AND "amount" < 3) OR "memo" IS NULL)'),
        ((LEDGER >= 5) & (LEDGER <= 9), None),
        ((LEDGER >= 5) & (LEDGER != 9), '"ledger_sequence" <> 9'),
        (
            pc.field("ledger_close_time") >= pa.scalar(0, pa.timestamp("us", "UTC")),
            "\"ledger_close_time\" >= '1970-01-01T00:00:00+00:00'",
        ),
        (pc.field("ledger_close_time") >= pa.scalar(0, pa.timestamp("ns", "UTC")), None),
    ],
    ids=str,
)  # fmt: skip
def test_filters(expression: pc.Expression, filter_: str | None) -> None:
    assert push_down(expression, SCHEMA).filter == filter_


def test_columns_are_those_that_it_reads() -> None:
    expression = (AMOUNT == 5) & (pc.field("nested", "inner") == 5) | MEMO.is_null()
    assert push_down(expression, SCHEMA).columns == ("amount", "nested", "memo")
    assert push_down(None, SCHEMA) == Pushdown(Bounds(), Bounds(), (), None)


def test_what_is_too_long_or_too_deep_is_left_to_the_client() -> None:
    many = MEMO.isin([f"memo {number}" for number in range(1000)])
    assert push_down(many & DONE, SCHEMA).filter == '"successful"'
    assert push_down(DONE & (AMOUNT == 5), SCHEMA, room=20).filter == '"successful"'
    deep = DONE
    for number in range(20):
        deep = ~(deep & pc.equal(AMOUNT, number))
    assert push_down(deep & (AMOUNT < 5), SCHEMA).filter == '"amount" < 5'
    for number in range(5000):
        deep = ~(deep & pc.equal(AMOUNT, number))
    assert push_down(deep & (LEDGER == 5), SCHEMA) == Pushdown(columns=None)


def test_an_expression_of_another_form_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __init__(self, pickled: Any) -> None:
            self.pickled = pickled

        def __reduce__(self) -> Any:
            return None, (self.pickled,)

    for pickled in (b"", b"ARROW1", pa.py_buffer(b"x" * 100)):
        assert push_down(Odd(pickled), SCHEMA) == Pushdown(columns=None)


def _values(table: pa.Table, name: str) -> st.SearchStrategy[Any]:
    """Literals of a column: values that it has, and others."""
    column = table[name].drop_null()
    kind = column.type
    found = [column[row] for row in range(0, len(column), max(1, len(column) // 25))]
    if pa.types.is_integer(kind):
        least, most = (np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max)
        other = st.integers(int(least), int(most)).map(lambda value: pa.scalar(value, kind))
        return st.sampled_from(found) | other if found else other
    if pa.types.is_string(kind):
        return st.sampled_from(found or [pa.scalar("x")]) | st.text(max_size=5).map(pa.scalar)
    if pa.types.is_decimal(kind):
        limit = 10**38 - 1
        return st.sampled_from(found or [pa.scalar(0, kind)]) | st.integers(-limit, limit).map(
            lambda v: pa.scalar(v, kind)
        )
    if not found:
        return st.nothing()
    return st.sampled_from(found)


def expressions(table: pa.Table) -> st.SearchStrategy[pc.Expression]:
    """Conditions on the columns of a table of every kind that can be compared, and some that the server knows not."""

    def of_column(name: str) -> st.SearchStrategy[pc.Expression]:
        field, kind = pc.field(name), table.schema.field(name).type
        if pa.types.is_boolean(kind):
            return st.sampled_from([field, ~field, field.is_null(), field == True])  # noqa: E712
        compare = st.builds(
            lambda function, value: function(field, value),
            st.sampled_from([pc.equal, pc.not_equal, pc.less, pc.less_equal, pc.greater, pc.greater_equal]),
            _values(table, name),
        )
        among = st.lists(_values(table, name), max_size=6).map(
            lambda values: field.isin(pa.array([value.as_py() for value in values], kind))
        )
        null = st.sampled_from([field.is_null(), field.is_valid()])
        odd = [pc.utf8_length(field) > 10] if pa.types.is_string(kind) else [pc.equal(field, field)]
        guarded = among.map(lambda inner: pc.if_else(field.is_valid(), inner, pa.scalar(None, pa.bool_())))
        return compare | among | null | guarded | st.sampled_from(odd)

    flat = [f.name for f in table.schema if not pa.types.is_nested(f.type) and f.type != pa.binary()]
    leaf = st.sampled_from(flat).flatmap(of_column)
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds(operator.and_, inner, inner) | st.builds(operator.or_, inner, inner) | inner.map(operator.invert)
        ),
        max_leaves=6,
    )


def rows_of(table: pa.Table) -> Counter[str]:
    return Counter(map(repr, table.to_pylist()))


@pytest.mark.parametrize("stream", ["payments", "ttp_events", "transactions"])
def test_rows_are_those_of_arrow(client: Client, whole: WholeTables, stream: str) -> None:
    """For any condition, in any combination."""
    table = whole(stream)
    rows = client.read(StreamRequest(stream, FIRST, LAST))
    local = ds.dataset(table)
    pushed = 0

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(expressions(table), st.lists(st.sampled_from(table.column_names), min_size=1, max_size=4, unique=True))
    def check(expression: pc.Expression, columns: list[str]) -> None:
        nonlocal pushed
        asked = push_down(expression, table.schema)
        assert asked.columns is not None
        pushed += asked.filter is not None
        expected = local.to_table(columns=columns, filter=expression)
        assert rows.to_table(columns=columns, filter=expression).equals(expected)
        if asked.filter is not None:
            # What the server keeps holds all that meets the condition.
            kept = client.read_table(StreamRequest(stream, FIRST, LAST, tuple(columns), asked.filter))
            assert rows_of(kept) >= rows_of(expected)

    check()
    assert pushed > 15


def test_the_filter_of_the_request_holds_too(client: Client, whole: WholeTables) -> None:
    request = StreamRequest("payments", FIRST, LAST, ("amount", "asset_code"), "successful AND asset_code = 'XLM'")
    table = whole("payments")
    condition = (pc.field("asset_code") == "XLM") & pc.field("successful") & (pc.field("amount") > 1_000_000)
    found = client.read(request).to_table(filter=pc.field("amount") > 1_000_000)
    assert found.num_rows > 0
    assert found.equals(table.filter(condition).select(["amount", "asset_code"]))


def test_long_alternatives_are_understood_by_the_server(client: Client, whole: WholeTables) -> None:
    amounts = whole("payments")["amount"].drop_null().to_pylist()[:150]
    condition = pc.field("amount") == amounts[0]
    for amount in amounts[1:]:
        condition = condition | (pc.field("amount") == amount)
    pushed = push_down(condition, whole("payments").schema).filter
    assert pushed is not None
    assert 2000 < len(pushed) <= MAX_PUSHED_CHARS
    found = client.read(f"payments:{FIRST}:{LAST}").to_table(filter=condition)
    assert found.equals(whole("payments").filter(condition))


def test_fewer_rows_and_bytes_come(client: Client, whole: WholeTables, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = (pc.field("asset_code") == "USDC") & (pc.field("ledger_sequence") < 60)
    with recorded(client, monkeypatch) as traffic:
        found = client.read(f"payments:{FIRST}:{LAST}").to_table(columns=["amount"], filter=condition)
    [request] = traffic.requests
    assert (request.start, request.end) == (FIRST, 59)
    assert set(request.columns or ()) == {"amount", "asset_code", "ledger_sequence"}
    assert traffic.rows == found.num_rows > 0
    assert traffic.bytes < whole("payments").nbytes / 50
