"""Shows on stderr how far a command has come: a bar, log lines, or nothing."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stellar_arrow_client.options import Choice, option

LOG_SECONDS = 10.0

Show = Callable[[int, int], None]
"""Told after each step how many ledgers it was of, and the last of them."""

_log = logging.getLogger(__name__)

progress_option = option(
    "--progress",
    type=Choice(["auto", "bar", "log", "none"]),
    default="auto",
    envvar="STELLAR_ARROW_PROGRESS",
    help="A bar, log lines, or nothing; auto is a bar on a terminal and log lines elsewhere.",
)


@contextmanager
def showing(total: int, mode: str) -> Iterator[Show]:
    """A function that shows progress through ``total`` ledgers, in a mode of :data:`progress_option`."""
    if mode == "bar" or (mode == "auto" and sys.stderr.isatty()):
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as display:
            task = display.add_task("ledgers", total=total)
            yield lambda ledgers, _: display.advance(task, ledgers)
        return
    due = time.monotonic() + LOG_SECONDS
    done = 0

    def log(ledgers: int, last: int) -> None:
        nonlocal due, done
        done += ledgers
        if mode != "none" and time.monotonic() >= due:
            due += LOG_SECONDS
            _log.info("%d of %d ledgers, now at %d", done, total, last)

    yield log
