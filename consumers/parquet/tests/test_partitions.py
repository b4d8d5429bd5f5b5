"""Partition formats: what they mean, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from parquet_consumer.partitions import Partitioning, Piece

from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, OutputMismatchError

CLOSE_TIME = datetime(2024, 2, 9, 7, 5, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("hive", "date=2024-02-09"),
        ("none", ""),
        ("ledgers:1000", "ledgers=0000042000-0000042999"),
        ("ledgers:1", "ledgers=0000042042-0000042042"),
        ("2006/01/02", "2024/02/09"),
        ("2006/01/02/15", "2024/02/09/07"),
        ("2006-01-02T15.04", "2024-02-09T07.05"),
        ("2006/1/2", "2024/2/9"),
        ("2006/Jan", "2024/Feb"),
        ("2006/January/Mon-02", "2024/February/Fri-09"),
        ("2006/002", "2024/040"),
        ("06/01", "24/02"),
        ("year=2006/month=01/day=02", "year=2024/month=02/day=09"),
        ("Monthly-2006-01", "Monthly-2024-02"),
        ("v_2006", "v_2024"),
        ("%Y/%m/%d", "2024/02/09"),
        ("date=%F", "date=2024-02-09"),
        ("%Y%j%H", "202404007"),
        ("year=%Y/month=%b", "year=2024/month=Feb"),
    ],
)
def test_folder_of_a_ledger(text: str, folder: str) -> None:
    assert Partitioning.parse(text).folder(42042, CLOSE_TIME) == folder


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("daily", "no partition format"),
        ("", "no partition format"),
        ("01/02", "no year"),
        ("2024/08/30", "is the time 2006-01-02"),
        ("2006/02", "no month"),
        ("2006/01/15", "no day"),
        ("2006/01/02/04", "no hour"),
        ("2006/01/02/03", "12-hour clock"),
        ("2006/01/02/15/04/05", "finer than a minute"),
        ("2006/01/_2", "padded with a blank"),
        ("2006/01/02 MST", "time zone"),
        ("%Y/%m/%d/%I", "12-hour clock"),
        ("%Y/%S", "finer than a minute"),
        ("%Y/%q", "unknown field"),
        ("%Y/%", "unknown field"),
        ("%m", "no year"),
        ("/2006/01", "each level"),
        ("2006//01", "each level"),
        ("2006/01/", "each level"),
        ("../2006", "each level"),
        ("_2006/01", "each level"),
        (".2006", "each level"),
        ("2006*01", "each level"),
        ("2006/01/02\n", "each level"),
        ("ledgers:0", "from 1"),
        ("ledgers:9999999999", "from 1"),
        ("ledgers:x", "no partition format"),
        ("2006" * 100, "at most 200"),
    ],
)
def test_refused_formats(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequestError, match=fault):
        Partitioning.parse(text)


@pytest.mark.parametrize(
    ("text", "glob", "columns"),
    [
        ("hive", "*/*.parquet", ("date",)),
        ("none", "*.parquet", ()),
        ("ledgers:10", "*/*.parquet", ("ledgers",)),
        ("2006/01/02", "*/*/*/*.parquet", ()),
        ("year=%Y/month=%m", "*/*/*.parquet", ("year", "month")),
    ],
)
def test_glob_and_columns_of_readers(text: str, glob: str, columns: tuple[str, ...]) -> None:
    partitioning = Partitioning.parse(text)
    assert (partitioning.glob, partitioning.columns) == (glob, columns)


def test_a_column_of_the_stream_may_not_hide_that_of_the_folders() -> None:
    Partitioning.parse("2006/01/02").check_schema(["ledger_sequence", "date"])
    with pytest.raises(OutputMismatchError, match="a column date"):
        Partitioning.parse("hive").check_schema(["ledger_sequence", "date"])


def microseconds(*times: datetime) -> np.ndarray:
    return np.array([int(time.timestamp()) * 1_000_000 for time in times])


BEFORE, AFTER = datetime(2024, 8, 30, 23, 59, 55, tzinfo=UTC), datetime(2024, 8, 31, tzinfo=UTC)


def test_pieces_are_cut_where_the_day_changes() -> None:
    pieces = Partitioning.parse("hive").pieces(
        np.array([11, 11, 13], np.uint32), microseconds(BEFORE, BEFORE, AFTER), 10, 14
    )
    assert list(pieces) == [Piece("date=2024-08-30", 10, 12, 0, 2), Piece("date=2024-08-31", 13, 14, 2, 3)]


def test_ledgers_without_rows_leave_the_day_open() -> None:
    nothing = np.array([], np.uint32), np.array([], np.int64)
    assert list(Partitioning.parse("hive").pieces(*nothing, 10, 14)) == [Piece(None, 10, 14, 0, 0)]
    assert list(Partitioning.parse("none").pieces(*nothing, 10, 14)) == [Piece("", 10, 14, 0, 0)]


def test_pieces_by_ledger_cut_ledgers_without_rows_too() -> None:
    pieces = Partitioning.parse("ledgers:5").pieces(
        np.array([11, 17, 17], np.uint32), microseconds(BEFORE, AFTER, AFTER), 8, 20
    )
    assert list(pieces) == [
        Piece("ledgers=0000000005-0000000009", 8, 9, 0, 0),
        Piece("ledgers=0000000010-0000000014", 10, 14, 0, 1),
        Piece("ledgers=0000000015-0000000019", 15, 19, 1, 3),
        Piece("ledgers=0000000020-0000000024", 20, 20, 3, 3),
    ]


@pytest.mark.parametrize(
    ("ledgers", "times", "fault"),
    [
        ([9], [BEFORE], "other ledgers"),
        ([15], [BEFORE], "other ledgers"),
        ([12, 11], [BEFORE, AFTER], "another order"),
        ([11, 11], [BEFORE, AFTER], "close time of ledger 11"),
        ([11, 12], [AFTER, BEFORE], "close time of ledger 12"),
    ],
)
def test_contradicting_rows_are_refused(ledgers: list[int], times: list[datetime], fault: str) -> None:
    with pytest.raises(IntegrityError, match=fault):
        list(Partitioning.parse("hive").pieces(np.array(ledgers, np.uint32), microseconds(*times), 10, 14))


def test_a_close_time_out_of_the_calendar_is_refused() -> None:
    with pytest.raises(IntegrityError, match="no date"):
        list(Partitioning.parse("hive").pieces(np.array([11], np.uint32), np.array([2**62]), 10, 14))
