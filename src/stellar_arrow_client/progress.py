"""What a run has done so far, and how it is shown: a bar, log lines, or not at all."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import pyarrow as pa

from stellar_arrow_client.request import TIME, Cursor

LOG_SECONDS: Final = 10.0
MOST_LINES: Final = 4

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """The counters of one stream of a run; written by its thread, read by any.

    Attributes:
        start: the first ledger asked for, None while the server has not said it.
        end: the last one, None when the tip is followed.
        next_ledger: the first one that is not yet handed to the sink.
        durable: the first one that the sink has not yet made durable.
        close_time: of the newest row, in microseconds since 1970; None before the first row.
    """

    stream: str
    start: int | None = None
    end: int | None = None
    next_ledger: int | None = None
    durable: int | None = None
    ledgers: int = 0
    rows: int = 0
    reconnects: int = 0
    close_time: int | None = None
    began: float = field(default_factory=time.monotonic)

    def count(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Add what the sink has taken."""
        if self.start is None:
            self.start = cursor.first
        self.next_ledger = cursor.cursor
        self.ledgers += cursor.last - cursor.first + 1
        self.rows += batch.num_rows
        if batch.num_rows and TIME in batch.schema.names:
            self.close_time = batch.column(TIME)[-1].value

    @property
    def lag_seconds(self) -> float | None:
        """Age of the newest row; None before the first."""
        return None if self.close_time is None else time.time() - self.close_time / 1e6

    @property
    def ledgers_per_second(self) -> float:
        return self.ledgers / max(time.monotonic() - self.began, 1e-9)

    @property
    def remaining(self) -> int | None:
        """Ledgers to come; None when the tip is followed or the start is not known yet."""
        first = self.next_ledger if self.next_ledger is not None else self.start
        return None if self.end is None or first is None else self.end - first + 1

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end at the speed so far; None when unknown."""
        return None if self.remaining is None or not self.ledgers else self.remaining / self.ledgers_per_second


def together(streams: Sequence[Progress]) -> Progress:
    """What all streams of a run have come to: the ledgers of the one that is furthest behind, the rows of all."""
    slowest = min(streams, key=lambda progress: progress.next_ledger or 0)
    return replace(
        slowest,
        stream=f"{len(streams)} streams",
        rows=sum(progress.rows for progress in streams),
        reconnects=sum(progress.reconnects for progress in streams),
    )


class Reporter(Protocol):
    """Told about all streams of a run several times a second."""

    def __call__(self, streams: Sequence[Progress], /) -> None: ...


@contextmanager
def reporting(mode: str) -> Iterator[Reporter]:
    """The reporter for ``--progress``: ``auto``, ``bar``, ``log`` or ``none``."""
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "log"
    if mode == "bar":
        with _bar() as reporter:
            yield reporter
    elif mode == "log":
        yield _LogLines()
    else:
        yield lambda streams: None


class _LogLines:
    """A line for each stream every ten seconds; one line for all where they are many."""

    def __init__(self) -> None:
        self._due = time.monotonic() + LOG_SECONDS

    def __call__(self, streams: Sequence[Progress], /) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOG_SECONDS
        for progress in streams if len(streams) <= MOST_LINES else [together(streams)]:
            log.info("progress", extra=summary(progress))


def summary(progress: Progress) -> dict[str, Any]:
    """The counters as fields of a log record."""
    eta = progress.eta_seconds
    return {
        "stream": progress.stream,
        "next_ledger": progress.next_ledger,
        "ledgers": progress.ledgers,
        "rows": progress.rows,
        "ledgers_per_second": round(progress.ledgers_per_second, 1),
        "eta_seconds": None if eta is None else round(eta),
        "reconnects": progress.reconnects,
    }


@contextmanager
def _bar() -> Iterator[Reporter]:
    from rich import progress as bars  # here, so that the SDK imports fast
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.completed:,.0f} ledgers  {task.fields[rows]:,} rows  {task.fields[rate]:,.0f}/s"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as display:
        tasks: dict[int, bars.TaskID] = {}

        def report(streams: Sequence[Progress], /) -> None:
            if len(streams) >= max(display.console.height, 2):
                streams = [together(streams)]
            for index, progress in enumerate(streams):
                if index not in tasks:
                    tasks[index] = display.add_task(progress.stream, total=None, rows=0, rate=0.0)
                remaining = progress.remaining
                display.update(
                    tasks[index],
                    completed=progress.ledgers,
                    total=None if remaining is None else progress.ledgers + remaining,
                    rows=progress.rows,
                    rate=progress.ledgers_per_second,
                )

        yield report
