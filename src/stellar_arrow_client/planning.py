"""What a run reads: what its outputs lack, in which order, and how ``--dry-run`` tells it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeVar

from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.ranges import LedgerRanges
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.runner import Job, run_all
from stellar_arrow_client.sink import Sink

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is read of a stream, and where it goes. A consumer that must know more of the output adds fields.

    Its text is what ``--dry-run`` says.

    Attributes:
        output: what a user calls it.
        missing: the parts of the request to read, ascending; the last one may follow the tip.
    """

    output: str
    chosen: Chosen
    missing: tuple[StreamRequest, ...]

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.chosen.stream}: already complete in {self.output}"
        ranges = ", ".join(map(_range, self.missing))
        columns = ",".join(self.chosen.schema.names)
        return f"{self.chosen.stream}: ledgers {ranges} would be written to {self.output} with the columns {columns}"


P = TypeVar("P", bound=Plan)


def _range(part: StreamRequest) -> str:
    start = part.start or "the latest one"
    return f"from {start} on" if part.end is None else f"{start} to {part.end}"


def find_missing(
    request: StreamRequest, held: LedgerRanges, output: object, latest: Callable[[], int | None]
) -> tuple[StreamRequest, ...]:
    """The parts of a request that an output lacks, ascending.

    A request without a start begins where the output ends; what the output lacks before that is told as a warning.

    Args:
        held: ledgers that it has, whether or not they had rows.
        output: what a user calls it.
        latest: where a request without a start begins when it has none; None for wherever the server is then.
    """
    start = request.start
    if start is None:
        for first, last in held.gaps():
            log.warning("%s lacks ledgers %s to %s; give them as START and END", output, first, last)
        start = latest() if held.last is None else held.last + 1
    if start is None:
        return (request,)
    return tuple(replace(request, start=first, end=last) for first, last in held.missing(start, request.end))


def rounds(plans: Sequence[P], at_once: int = 1) -> Iterator[list[tuple[P, StreamRequest]]]:
    """What to read at the same time: of each stream its first parts, its next ones, …; at last all tips.

    Args:
        at_once: parts of one stream.
    """
    bounded = [[(plan, part) for part in plan.missing if part.end is not None] for plan in plans]
    steps = [[parts[at : at + at_once] for at in range(0, len(parts), at_once)] for parts in bounded]
    for step in zip_longest(*steps, fillvalue=[]):
        yield [part for parts in step for part in parts]
    tips = [(plan, part) for plan in plans for part in plan.missing if part.end is None]
    if tips:
        yield tips


def run_plans(
    plans: Sequence[P],
    client: Client,
    sink: Callable[[P, threading.Event], Sink],
    *,
    options: RunOptions,
    checkpoint_seconds: float,
    at_once: int = 1,
) -> int:
    """Read what is missing, one round after the other.

    Args:
        sink: makes the sink of one part; the event is set when its round ends, also by a signal.
        checkpoint_seconds: see :func:`~stellar_arrow_client.runner.run_all`.
        at_once: see :func:`rounds`.

    Returns:
        The exit code: that of the round which was ended early, else 0.

    Raises:
        StellarArrowError: the first failure of a stream or a sink.
    """
    for plan in plans:
        if not plan.missing:
            log.info("%s: already complete", plan.output)
    exit_code: int = ExitCode.OK
    for parts in rounds(plans, at_once):
        stop = threading.Event()
        jobs = [Job(part, sink(plan, stop)) for plan, part in parts]
        results = run_all(jobs, client, options=options, stop=stop, checkpoint_seconds=checkpoint_seconds)
        exit_code = max(result.exit_code for result in results)
        if exit_code:
            break
    return exit_code
