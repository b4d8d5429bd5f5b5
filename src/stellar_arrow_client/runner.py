"""Runs sinks: resume, stream, checkpoint, drain on a signal, report."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from typing import Final

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode, StellarArrowError
from stellar_arrow_client.metrics import serving_metrics
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.progress import Progress, reporting, summary
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.signals import Interruption, draining
from stellar_arrow_client.sink import Sink

REPORT_SECONDS: Final = 0.2
CHECKPOINT_SECONDS: Final = 60.0
START_SECONDS: Final = 5.0
"""How long those that are ready wait for the others, so that all begin to read at once: a server decodes once for
streams that are at about the same place, but cannot bring together those that are not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One stream and where it goes."""

    request: StreamRequest
    sink: Sink


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a job.

    Attributes:
        stream: its name.
        complete: whether the range was read to its end.
        ledgers, rows: how many this run handed to the sink; what was durable before does not count.
        next_ledger: where the next run goes on; None when nothing is durable.
        reconnects: breaks that were resumed.
        seconds: how long it took.
        exit_code: what the command should end with: 130 or 143 when a signal ended it early.
    """

    stream: str
    complete: bool
    ledgers: int
    rows: int
    next_ledger: int | None
    reconnects: int
    seconds: float
    exit_code: int


def run(
    sink: Sink,
    client: Client,
    request: StreamRequest,
    *,
    options: RunOptions | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Run one sink; see :func:`run_all`."""
    return run_all(
        [Job(request, sink)],
        client,
        options=options,
        stop=stop,
        on_progress=on_progress,
        checkpoint_seconds=checkpoint_seconds,
    )[0]


def run_all(
    jobs: Sequence[Job],
    client: Client,
    *,
    options: RunOptions | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> list[RunResult]:
    """Read the stream of each job into its sink, all at the same time, each in a thread of its own.

    The first SIGINT or SIGTERM drains: the batch in hand is finished and everything is checkpointed; the second
    one kills. When one job fails, the others are drained, then its error is raised. What was read before the
    stream failed is whole and is checkpointed too.

    Args:
        options: how to report; see :func:`stellar_arrow_client.options.run_options`.
        stop: drains when it is set; without it, one is set by the signals.
        on_progress: called a few times a second with the counters, beside the reports of ``options``.
        checkpoint_seconds: how often the sinks are asked to make durable what they have.

    Raises:
        StellarArrowError: the first failure of a stream or a sink.
    """
    options = options or RunOptions()
    stop = stop or threading.Event()
    counters = [Progress(job.request.stream, end=job.request.end) for job in jobs]
    start = threading.Barrier(len(jobs))
    with ExitStack() as stack:
        interruption = stack.enter_context(draining(stop))
        stack.enter_context(serving_metrics(counters, options.metrics_host, options.metrics_port))
        report = stack.enter_context(reporting(options.progress))
        workers = stack.enter_context(futures.ThreadPoolExecutor(len(jobs), thread_name_prefix="sink"))
        stack.callback(stop.set)  # whatever happens here, the workers end
        running = [
            workers.submit(_work, job, client, progress, start, stop, checkpoint_seconds)
            for job, progress in zip(jobs, counters, strict=True)
        ]
        for ended in running:
            ended.add_done_callback(lambda _: start.abort())  # nobody need wait for one that has failed
        pending: set[futures.Future[bool]] = set(running)
        said = False
        while pending:
            _done, pending = futures.wait(pending, REPORT_SECONDS, futures.FIRST_EXCEPTION)
            if any(future.done() and future.exception() for future in running):
                stop.set()
            if interruption.signal and not said:
                said = True
                log.warning("%s: finishing what is in hand; again to stop at once", interruption.signal.name)
            report(counters)
            if on_progress is not None:
                on_progress(counters)
        report(counters)
    for future in running:
        future.result()
    return [
        _result(progress, future.result(), interruption) for progress, future in zip(counters, running, strict=True)
    ]


def _result(progress: Progress, complete: bool, interruption: Interruption) -> RunResult:
    log.info("complete" if complete else "stopped", extra=summary(progress))
    early = interruption.signal if not complete else None
    return RunResult(
        stream=progress.stream,
        complete=complete,
        ledgers=progress.ledgers,
        rows=progress.rows,
        next_ledger=progress.durable,
        reconnects=progress.reconnects,
        seconds=time.monotonic() - progress.began,
        exit_code=128 + early if early else ExitCode.OK,
    )


def _work(
    job: Job,
    client: Client,
    progress: Progress,
    start: threading.Barrier,
    stop: threading.Event,
    checkpoint_seconds: float,
) -> bool:
    """Run one job to its end, from when all others have reached ``start``; whether its range is complete."""
    # Without the range, which the sink may have outgrown; what else is wrong with the request shows here,
    # before the sink is opened.
    schema = client.plan(replace(job.request, start=None, end=None)).schema
    failure: StellarArrowError | None = None
    try:
        resume = job.sink.open(schema, job.request)
        request = job.request if resume is None else _rest(job.request, resume)
        with suppress(threading.BrokenBarrierError):
            start.wait(START_SECONDS)
        progress.start = progress.next_ledger = job.request.start if resume is None else resume
        progress.durable = resume
        if request is not None:
            failure = _pump(job.sink, client, request, progress, stop, checkpoint_seconds)
            progress.durable = job.sink.checkpoint()
    except BaseException:  # whatever it is, the sink hears of it
        job.sink.close(complete=False)
        raise
    job.sink.close(complete=failure is None)
    if failure is not None:
        raise failure
    return progress.remaining is not None and progress.remaining <= 0


def _rest(request: StreamRequest, resume: int) -> StreamRequest | None:
    if request.end is not None and resume > request.end:
        return None
    log.info("resuming", extra={"stream": request.stream, "ledger": resume})
    return request.resumed_at(resume)


def _pump(
    sink: Sink,
    client: Client,
    request: StreamRequest,
    progress: Progress,
    stop: threading.Event,
    checkpoint_seconds: float,
) -> StellarArrowError | None:
    """Hand the stream to the sink until it ends; the error that ended the stream, if one did."""

    def count_reconnect(_error: StellarArrowError) -> None:
        progress.reconnects += 1

    due = time.monotonic() + checkpoint_seconds
    with closing(client.stream(request, stop=stop, heartbeats=True, on_reconnect=count_reconnect)) as batches:
        while True:
            try:
                batch, cursor = next(batches)
            except StopIteration:
                return None
            except StellarArrowError as error:
                return error
            if cursor.advances:
                sink.write(batch, cursor)
                progress.count(batch, cursor)
            if time.monotonic() >= due:
                progress.durable = sink.checkpoint()
                due = time.monotonic() + checkpoint_seconds
