"""The edges of the window, and what it refuses."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from analytics_consumer.analyses import ANALYSES
from analytics_consumer.measures import Aggregation, Count, Extreme, Total
from analytics_consumer.window import Chunks, Ledger, SlidingWindow

from consumers.analytics.tests.made import Made, run_sink
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import LEDGER

PAYMENT_VOLUME = ANALYSES[0]
AGGREGATION = Aggregation(("key",), (Count("rows", ""), Total("total", "", "value"), Extreme("largest", "", "value")))


def paid(amount: int, **other: Any) -> dict[str, Any]:
    return {
        "asset_type": "native",
        "asset_code": "XLM",
        "asset_issuer": None,
        "amount": amount,
        "successful": True,
        **other,
    }


def made(*closes: int) -> list[Made]:
    """A ledger for each close time; the n-th one pays 2**n stroops, so a sum tells which ones are in it."""
    return [Made(100 + n, seconds, [paid(1 << n)]) for n, seconds in enumerate(closes)]


def amount(*closes: int, minutes: int = 1) -> int:
    result = run_sink(PAYMENT_VOLUME, made(*closes), minutes=minutes).results[-1]
    return sum(row["amount"] for row in result.rows)


@pytest.mark.parametrize(
    ("closes", "inside"),
    [
        pytest.param((0, 59), 0b11, id="a second inside"),
        pytest.param((0, 60), 0b10, id="exactly on the edge is outside"),
        pytest.param((0, 61), 0b10, id="a second outside"),
        pytest.param((0, 0, 0), 0b111, id="equal close times stay together"),
        pytest.param((0, 0, 60), 0b100, id="equal close times leave together"),
        pytest.param((0, 60, 60), 0b110, id="equal close times at the end are both in"),
        pytest.param((0, 5, 10, 3600), 0b1000, id="a pause empties the window"),
        pytest.param((0, 30, 59, 61, 89), 0b11110, id="one leaves, others stay"),
    ],
)
def test_edges(closes: tuple[int, ...], inside: int) -> None:
    assert amount(*closes) == inside


def test_the_largest_is_exact_after_it_has_left() -> None:
    ledgers = [
        Made(1, 0, [paid(2**63 - 1), paid(7)]),
        Made(2, 10, [paid(5), paid(6)]),
        Made(3, 59, [paid(3)]),
        Made(4, 60, [paid(4)]),
        Made(5, 70, []),
        Made(6, 119, []),
    ]
    results = run_sink(PAYMENT_VOLUME, ledgers, minutes=1, every=1).results
    assert [[row["largest"] for row in result.rows] for result in results] == [
        [2**63 - 1],
        [2**63 - 1],
        [6],
        [4],
        [4],
        [4],
    ]


def test_sums_go_beyond_64_bits() -> None:
    ledgers = [Made(n, n, [paid(2**63 - 1)] * 9) for n in range(1, 40)]
    (row,) = run_sink(PAYMENT_VOLUME, ledgers, minutes=1).results[-1].rows
    assert row == {"asset": "native", "payments": 351, "amount": 351 * (2**63 - 1), "largest": 2**63 - 1}


def test_a_payment_without_amount_counts_but_adds_nothing() -> None:
    (row,) = run_sink(PAYMENT_VOLUME, [Made(1, 0, [paid(5) | {"amount": None}])]).results[-1].rows
    assert row == {"asset": "native", "payments": 1, "amount": 0, "largest": None}


def rows_of(*rows: tuple[int, str, int]) -> pa.Table:
    sequence, key, value = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            LEDGER: pa.array(sequence, pa.uint32()),
            "key": pa.array(key, pa.string()),
            "value": pa.array(value, pa.int64()),
        }
    )


def test_a_missing_or_repeated_ledger_is_refused() -> None:
    window = SlidingWindow(AGGREGATION, 60)
    nothing = window.aggregate(rows_of())
    window.add([Ledger(5, 10)], nothing)
    for wrong in (5, 4, 7):
        with pytest.raises(IntegrityError, match=f"ledger {wrong} came after ledger 5"):
            window.add([Ledger(wrong, 10)], nothing)


def test_a_close_time_that_goes_back_is_refused() -> None:
    ledgers = [Made(5, 100, [paid(1)]), Made(6, 99, [paid(1)])]
    with pytest.raises(IntegrityError, match="ledger 6 closes before ledger 5"):
        run_sink(PAYMENT_VOLUME, ledgers)


def test_memory_is_bounded_by_the_window() -> None:
    window = SlidingWindow(AGGREGATION, 100)
    held = []
    for sequence in range(1, 3000):
        rows = rows_of(*((sequence, f"k{index % 7}", index) for index in range(50)))
        window.add([Ledger(sequence, sequence)], window.aggregate(rows))
        held.append(sum(table.num_rows for table in window._chunks[0]._tables))
    # 100 ledgers of 7 groups; chunks that are half outside may double that, and the newest may be unjoined
    assert 700 <= max(held[200:]) <= 2100
    assert len(window._ledgers) == 100
    result = window.result()
    assert result is not None
    assert result.sort_by("key")["rows"].to_pylist() == [800, 700, 700, 700, 700, 700, 700]


def test_chunks_stay_few_and_exact() -> None:
    chunks = Chunks()
    for sequence in range(1, 1001):
        chunks.append(pa.table({LEDGER: pa.array([sequence] * 3, pa.uint32())}))
    assert len(chunks._tables) < 12
    for oldest in (1, 2, 500, 1000, 1001):
        chunks.drop_before(oldest)
        held = chunks.since(oldest)
        assert held is not None
        assert held[LEDGER].to_pylist() == [n for n in range(oldest, 1001) for _ in range(3)]


def test_ledgers_without_rows_move_the_window() -> None:
    ledgers = [Made(1, 0, [paid(1)]), *(Made(n, n * 5, []) for n in range(2, 20))]
    results = run_sink(PAYMENT_VOLUME, ledgers, minutes=1, cuts=[1, 4, 5]).results
    assert results[-1].rows == []
    assert results[-1].span.full
    assert results[-1].span.ledgers == 12


def test_no_ledger_no_result() -> None:
    recorder = run_sink(PAYMENT_VOLUME, [])
    assert (recorder.results, recorder.closed) == ([], 1)


def test_a_failed_run_has_no_final_result() -> None:
    recorder = run_sink(PAYMENT_VOLUME, made(0, 5), complete=False)
    assert (recorder.results, recorder.closed) == ([], 1)
