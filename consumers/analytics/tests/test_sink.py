"""Batches that contradict themselves, and the clock for ledgers without rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.selection import Selection
from analytics_consumer.sink import AnalyticsSink, Clock, server_clock

from consumers.analytics.tests.made import Recorder, make_ledgers, run_sink, schema_of, to_batch
from stellar_arrow_client import RetryPolicy, StreamRequest
from stellar_arrow_client.errors import IntegrityError, UnavailableError
from stellar_arrow_client.request import Cursor

ANALYSIS = ANALYSES[0]


def sink(clock: Clock) -> AnalyticsSink:
    return AnalyticsSink(
        ANALYSIS, Selection(), length=60_000_000, every=60_000_000, top=5, clock=clock, output=Recorder()
    )


def no_clock(first: int, last: int) -> Mapping[int, int]:
    raise AssertionError(f"nobody should ask for {first} to {last}")


def batch(*rows: tuple[int | None, int | None]) -> pa.RecordBatch:
    """Payments by ledger and close time in microseconds."""
    return pa.RecordBatch.from_pylist(
        [
            {
                "ledger_sequence": sequence,
                "ledger_close_time": closed,
                "asset_type": "native",
                "asset_code": "XLM",
                "amount": 1,
                "successful": True,
            }
            for sequence, closed in rows
        ],
        schema_of(ANALYSIS),
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(2, 20), (1, 10)], "rows of ledger 1 after those of 2"),
        ([(1, 10), (1, 11), (2, 20)], "two close times for one ledger"),
        ([(1, -1), (2, 20)], "not between 1970 and 9999"),
        ([(1, 10), (2, 2**62)], "not between 1970 and 9999"),
        ([(1, None), (2, 20)], "a row without ledger or close time"),
        ([(None, 10), (2, 20)], "a row without ledger or close time"),
    ],
)
def test_contradictions_are_refused(rows: list[tuple[int | None, int | None]], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        sink(no_clock).write(batch(*rows), Cursor(1, 2))


def test_a_batch_of_all_ledgers_is_refused() -> None:
    with pytest.raises(IntegrityError, match="ledgers 1 to 4294967295 as one batch"):
        sink(no_clock).write(batch(), Cursor(1, 2**32 - 1))


def test_the_clock_is_asked_only_for_ledgers_without_rows() -> None:
    asked = []

    def clock(first: int, last: int) -> Mapping[int, int]:
        asked.append((first, last))
        return {sequence: sequence * 10 for sequence in range(first, last + 1)}

    consumer = sink(clock)
    consumer.write(batch((1, 10), (2, 20)), Cursor(1, 2))
    assert asked == []
    consumer.write(batch((4, 40)), Cursor(3, 7))
    consumer.write(batch(), Cursor(8, 8))
    assert asked == [(3, 7), (8, 8)]
    assert consumer.result().span.last == (8, 80)


def test_a_clock_that_does_not_know_is_refused() -> None:
    with pytest.raises(IntegrityError, match="does not have ledger 2"):
        sink(lambda first, last: {}).write(batch((1, 10)), Cursor(1, 2))


def misplaced(array: pa.Array, offset: int) -> pa.Array:
    """The same array with every buffer ``offset`` bytes past an aligned address, as Flight may give it."""
    buffers = []
    for buffer in array.buffers():
        if buffer is not None:
            room = pa.allocate_buffer(buffer.size + offset)  # aligned to 64 bytes
            memoryview(room)[offset:] = memoryview(buffer)
            buffer = room.slice(offset)
        buffers.append(buffer)
    return pa.Array.from_buffers(array.type, len(array), buffers)


@pytest.mark.parametrize("offset", [1, 4, 8, 15])
def test_buffers_may_lie_anywhere(capfd: pytest.CaptureFixture[str], analysis: Analysis, offset: int) -> None:
    ledgers = make_ledgers(random.Random(offset), analysis.stream, 40, most_rows=30)
    expected = run_sink(analysis, ledgers, minutes=60).results[-1]
    made, cursor = to_batch(analysis, ledgers)
    moved = pa.RecordBatch.from_arrays([misplaced(column, offset) for column in made.columns], schema=made.schema)
    recorder = Recorder()
    times = {ledger.sequence: int(ledger.closed.timestamp()) * 1_000_000 for ledger in ledgers}
    consumer = AnalyticsSink(
        analysis,
        Selection(),
        length=3600_000_000,
        every=60_000_000,
        top=10_000,
        clock=lambda first, last: times,
        output=recorder,
    )
    consumer.write(moved, cursor)
    consumer.close()
    assert recorder.results[-1].rows == expected.rows
    assert "align" not in capfd.readouterr().err


def test_what_is_no_amount_is_refused() -> None:
    analysis = next(found for found in ANALYSES if found.name == "token-volume")
    (ledger,) = make_ledgers(random.Random(2), analysis.stream, 1)
    made, cursor = to_batch(analysis, [replace(ledger, rows=[{"event_type": "mint", "amount_raw": "1e400"}])])
    consumer = AnalyticsSink(analysis, Selection(), length=1, every=1, top=1, clock=no_clock, output=Recorder())
    with pytest.raises(IntegrityError, match=r"in ledgers 1000 to 1000: .*decimal"):
        consumer.write(made, cursor)


class Restarting:
    """A client whose server is not there for a while; gives close times of all ledgers then."""

    def __init__(self, failures: int, retry_for: float) -> None:
        self.retry = RetryPolicy(retry_for=retry_for, initial=0.001, maximum=0.002)
        self.failures = failures

    def read_table(self, request: StreamRequest) -> pa.Table:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("cannot reach the server")
        ledgers = list(range(request.start or 0, (request.end or 0) + 1))
        closed = pa.array([ledger * 10**6 for ledger in ledgers], pa.timestamp("us", "UTC"))
        return pa.table({"ledger_sequence": pa.array(ledgers, pa.uint32()), "ledger_close_time": closed})


def test_the_clock_waits_for_a_server_that_restarts() -> None:
    client = Restarting(failures=30, retry_for=60)
    assert server_clock(client)(7, 9) == {7: 7 * 10**6, 8: 8 * 10**6, 9: 9 * 10**6}
    assert client.failures == 0


def test_the_clock_waits_no_longer_than_a_stream() -> None:
    with pytest.raises(UnavailableError, match="cannot reach the server"):
        server_clock(Restarting(failures=10**6, retry_for=0.05))(7, 9)
