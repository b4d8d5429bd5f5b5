"""What ``ttp-processor events`` does: a stream into a sink."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_client.runner import run
from ttp_processor.columns import COLUMNS, STREAM
from ttp_processor.sink import Lines, LinesFile


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
    from parquet_consumer.partitions import Partitioning
    from parquet_consumer.plan import plan_targets
    from parquet_consumer.sink import ParquetSink

    partitioning = Partitioning.parse("hive")
    wanted = StreamRequest(STREAM, start, end, None, condition)
    [target] = plan_targets(client, output, [STREAM], wanted, partitioning)
    with closing(Archive(target.folder)) as archive:
        for part in target.missing:
            sink = ParquetSink(archive, partitioning, FileOptions())
            result = run(sink, client, part, options=options, checkpoint_seconds=checkpoint_seconds)
            if result.exit_code:
                return result.exit_code
    print(target.folder / partitioning.glob)
    return ExitCode.OK
