"""What ``ttp-processor events`` and ``balances`` do: streams into sinks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode, IntegrityError
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.options import Selection as StreamSelection
from stellar_arrow_client.planning import run_plans
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.runner import Job, run, run_all
from ttp_processor.columns import COLUMNS, STREAM
from ttp_processor.selection import Selection
from ttp_processor.sink import Lines, LinesFile

if TYPE_CHECKING:
    from ttp_processor.balances import Key

_log = logging.getLogger(__name__)


def write_json(
    client: Client,
    start: int | None,
    end: int | None,
    condition: str | None,
    output: Path | None,
    options: RunOptions,
    checkpoint_seconds: float,
) -> int:
    """JSON lines to a file, or to standard output; the exit code."""
    request = StreamRequest(STREAM, start, end, COLUMNS, condition)
    sink = Lines(sys.stdout.buffer) if output is None else LinesFile(output)
    return run(sink, client, request, options=options, checkpoint_seconds=checkpoint_seconds).exit_code


def write_parquet(
    client: Client,
    start: int | None,
    end: int | None,
    condition: str | None,
    output: Path,
    options: RunOptions,
    checkpoint_seconds: float,
) -> int:
    """An archive of parquet-consumer, partitioned by day, with all columns of the stream; the exit code."""
    from parquet_consumer.archive import Archive  # loads slowly
    from parquet_consumer.files import FileOptions
    from parquet_consumer.folders import Folder
    from parquet_consumer.partitions import Partitioning
    from parquet_consumer.plan import plan_targets
    from parquet_consumer.sink import ParquetSink

    partitioning = Partitioning.parse("hive")
    wanted = StreamSelection(start, end, filter=condition)
    targets = plan_targets(client, Folder(output), [STREAM], wanted, partitioning)
    with closing(Archive(targets[0].storage)) as archive:
        exit_code = run_plans(
            targets,
            client,
            lambda _target, _stop: ParquetSink(archive, partitioning, FileOptions()),
            options=options,
            checkpoint_seconds=checkpoint_seconds,
        )
    if not exit_code:
        print(targets[0].output)
    return exit_code


def write_balances(
    client: Client, start: int, end: int, selection: Selection, output_format: str, check: bool, options: RunOptions
) -> int:
    """Balances on standard output; the exit code.

    Raises:
        IntegrityError: they are not what the ledger's entries say, or these cannot be had.
    """
    from ttp_processor import conservation, report
    from ttp_processor.balances import EVENT_COLUMNS, Balances, RangeSink

    found, ledger = Balances(selection), conservation.EntryDeltas(selection)
    jobs = [Job(StreamRequest(STREAM, start, end, EVENT_COLUMNS, selection.condition), RangeSink(found.add))]
    if check:
        entries, pools = conservation.requests(start, end)
        jobs += [Job(entries, RangeSink(ledger.add_entries)), Job(pools, RangeSink(ledger.add_pools))]
    exit_code = max(result.exit_code for result in run_all(jobs, client, options=options))
    if exit_code:
        return exit_code
    report.show(found.flows, output_format)
    if check:
        compared = sum(map(conservation.is_comparable, found.flows))
        _check(conservation.differences(found, ledger), compared, len(found.flows) - compared)
    return ExitCode.OK


def _check(differences: Sequence[tuple[Key, int, int]], compared: int, others: int) -> None:
    for (holder, asset), by_events, by_entries in differences:
        _log.error("%s of %s: %d by the events, %d by the ledger's entries", holder, asset, by_events, by_entries)
    if differences:
        raise IntegrityError(f"{len(differences)} balances differ from the ledger's entries; they are listed above")
    _log.info("%d balances agree with the ledger's entries; %d have no such entry", compared, others)
