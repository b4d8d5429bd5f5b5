"""Where a row belongs: the folder of its own close time, or of its ledger number.

``hive``
    ``date=2024-08-30``, one level deep (the default); readers see a column ``date``.
``2006/01/02`` or ``%Y/%m/%d``
    a date layout in Go's or strftime's notation, see :mod:`parquet_consumer.layouts`; levels such as
    ``year=2006`` are read back as columns.
``ledgers:64000``
    ``ledgers=0053312000-0053375999``, by ranges of that many ledgers.
``none``
    all files in one folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquet_consumer.errors import ArchiveIntegrityError
from parquet_consumer.layouts import Unit, parse_layout
from stellar_arrow_client.errors import InvalidRequestError, OutputMismatchError
from stellar_arrow_client.request import LEDGER, MAX_LEDGER, TIME

HIVE: Final = "hive"
NONE: Final = "none"
_HIVE_LAYOUT: Final = "date=%Y-%m-%d"
_LEDGERS = re.compile(r"ledgers:([0-9]{1,10})")
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9=_.+-]*")
_MAX_LENGTH: Final = 200


class Piece(NamedTuple):
    """A run of ledgers that belong to one folder.

    Attributes:
        folder: relative to the archive, "" for the archive itself; None when ledgers without rows leave it open.
        first: first ledger of the run.
        last: last ledger of the run.
        row_start: its first row in the batch.
        row_end: one past its last row.
    """

    folder: str | None
    first: int
    last: int
    row_start: int
    row_end: int


@dataclass(frozen=True, slots=True)
class Partitioning:
    """A partition format.

    Attributes:
        text: the format as given.
        layout: literals and units of a date layout; empty for the other formats.
        span: number of ledgers in a folder of ``ledgers:N``; 0 for the other formats.
    """

    text: str
    layout: tuple[str | Unit, ...] = ()
    span: int = 0

    @classmethod
    def parse(cls, text: str) -> Partitioning:
        """Read a partition format.

        Raises:
            InvalidRequestError: it is not one, or cannot name a partition.
        """
        if text == NONE:
            return cls(text)
        if matched := _LEDGERS.fullmatch(text):
            span = int(matched[1])
            if not 1 <= span <= MAX_LEDGER:
                raise InvalidRequestError(f"the partition format {text!r} must have from 1 to {MAX_LEDGER} ledgers")
            return cls(text, span=span)
        if len(text) > _MAX_LENGTH:
            raise InvalidRequestError(f"a partition format has at most {_MAX_LENGTH} characters, not {len(text)}")
        partitioning = cls(text, parse_layout(_HIVE_LAYOUT if text == HIVE else text))
        partitioning._check_levels()
        return partitioning

    def _check_levels(self) -> None:
        example = self._date_folder(datetime(2006, 1, 2, 15, 4, tzinfo=UTC))
        for level in example.split("/"):
            if not _LEVEL.fullmatch(level):
                raise InvalidRequestError(
                    f"the partition format {self.text!r} gives folders such as {example!r}; each level must begin "
                    "with a letter or digit and hold only letters, digits and = _ . + -"
                )

    @property
    def glob(self) -> str:
        """The pattern that all files of an archive match, relative to it."""
        return "*/" * self._example().count("/") + "*.parquet"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that readers make of folders named ``key=value``."""
        return tuple(level.split("=")[0] for level in self._example().split("/") if "=" in level)

    def _example(self) -> str:
        return f"{folder}/" if (folder := self.folder(1, datetime(2006, 1, 2, tzinfo=UTC))) else ""

    def check_schema(self, names: list[str]) -> None:
        """Refuse a schema that has a column of the same name as one that readers make of the folders.

        Raises:
            OutputMismatchError: names the column.
        """
        for column in self.columns:
            if column in names:
                raise OutputMismatchError(
                    f"the stream has a column {column}, as the folders of --partition {self.text} would give; "
                    "choose another partition format, such as 2006/01/02"
                )

    def folder(self, ledger: int, close_time: datetime) -> str:
        """The folder of a ledger, relative to the archive."""
        if self.span:
            first = ledger - ledger % self.span
            return f"ledgers={first:010d}-{first + self.span - 1:010d}"
        return self._date_folder(close_time)

    def _date_folder(self, close_time: datetime) -> str:
        return "".join(part.write(close_time) if isinstance(part, Unit) else part for part in self.layout)

    def pieces(
        self, ledgers: npt.NDArray[np.uint32], close_times: npt.NDArray[np.int64], first: int, last: int
    ) -> Iterator[Piece]:
        """Cut the ledgers ``first`` to ``last`` where the folder changes.

        Args:
            ledgers: uint32[rows], ascending: the ledger of each row.
            close_times: int64[rows]: close time of each row, in microseconds since 1970.

        Raises:
            ArchiveIntegrityError: rows of one ledger have different close times, or time runs backwards.
        """
        _check_rows(ledgers, close_times, first, last)
        if self.span:
            yield from self._pieces_by_ledger(ledgers, first, last)
        elif len(ledgers) == 0:
            yield Piece(None if self.layout else "", first, last, 0, 0)
        else:
            yield from self._pieces_by_time(ledgers, close_times, first, last)

    def _pieces_by_ledger(self, ledgers: npt.NDArray[np.uint32], first: int, last: int) -> Iterator[Piece]:
        while first <= last:
            end = min(last, first - first % self.span + self.span - 1)
            start, stop = np.searchsorted(ledgers, [first, end + 1])
            yield Piece(self.folder(first, datetime.min), first, end, int(start), int(stop))
            first = end + 1

    def _pieces_by_time(
        self, ledgers: npt.NDArray[np.uint32], close_times: npt.NDArray[np.int64], first: int, last: int
    ) -> Iterator[Piece]:
        starts = np.flatnonzero(np.diff(close_times, prepend=close_times[0] - 1))
        folders = [self._date_folder(from_microseconds(int(close_times[row]))) for row in starts]
        cuts = [at for at in range(len(starts)) if at == 0 or folders[at] != folders[at - 1]]
        for this, following in zip(cuts, [*cuts[1:], None], strict=True):
            row_end = len(ledgers) if following is None else int(starts[following])
            end = last if following is None else int(ledgers[row_end]) - 1
            yield Piece(folders[this], first, end, int(starts[this]), row_end)
            first = end + 1


def ledgers_and_close_times(
    rows: pa.RecordBatch | pa.Table,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The first two columns of a stream: the ledger of each row, and its close time in microseconds since 1970.

    Raises:
        ArchiveIntegrityError: one of them has a null.
    """
    ledgers = np.asarray(_values(rows, LEDGER, pa.uint32()), np.uint32)
    return ledgers, np.asarray(_values(rows, TIME, pa.int64()), np.int64)


def _values(rows: pa.RecordBatch | pa.Table, name: str, type_: pa.DataType) -> Any:
    column = rows.column(name).cast(type_)
    if column.null_count:
        raise ArchiveIntegrityError(f"a row has no {name}")
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(array)  # unlike to_numpy(), this does not import pandas


def from_microseconds(close_time: int) -> datetime:
    """A UTC time from microseconds since 1970.

    Raises:
        ArchiveIntegrityError: it is out of the calendar.
    """
    try:
        return datetime.fromtimestamp(close_time // 1_000_000, UTC).replace(microsecond=close_time % 1_000_000)
    except (ValueError, OverflowError, OSError):
        raise ArchiveIntegrityError(f"a close time of {close_time} microseconds since 1970 is no date") from None


def _check_rows(ledgers: npt.NDArray[np.uint32], close_times: npt.NDArray[np.int64], first: int, last: int) -> None:
    if len(ledgers) == 0:
        return
    if ledgers[0] < first or ledgers[-1] > last or np.any(ledgers[1:] < ledgers[:-1]):
        raise ArchiveIntegrityError(
            f"a batch of ledgers {first} to {last} holds rows of other ledgers or in another order "
            f"(from {ledgers[0]} to {ledgers[-1]}); the server breaks its contract"
        )
    steps = np.diff(close_times)
    same_ledger = ledgers[1:] == ledgers[:-1]
    wrong = np.flatnonzero((steps < 0) | ((steps != 0) & same_ledger))
    if len(wrong):
        raise ArchiveIntegrityError(
            f"the close time of ledger {ledgers[wrong[0] + 1]} runs backwards or differs between its rows; "
            "the server breaks its contract"
        )
