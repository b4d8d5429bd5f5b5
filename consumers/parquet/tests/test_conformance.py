"""The SDK's conformance suite, on the real command: into a folder, into a bucket, and into a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.testing import SAMPLE_STREAM
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest
from stellar_arrow_client.testing.trial import FIRST, LAST, METERED, Trial
from tests.support.lake import Place
from tests.support.object_storage import S3Server, requires_s3

IMPATIENT = """
from parquet_consumer.cli import main
from stellar_arrow_client import object_storage

object_storage._FIRST_WAIT, object_storage._LONGEST_WAIT = 0.01, 0.2
main()
"""
"""The command, which makes requests again as often as ever, but sooner."""


class Parquet(ConsumerUnderTest):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("parquet-consumer"))
        often = ["--interval", "0.001", "--max-file-size", "8KB"]
        return [program, server, str(output), str(start), str(end or 0), "--stream", SAMPLE_STREAM, *often]

    def read(self, output: Path) -> pa.Table:
        files = sorted(output.glob("*/*.parquet"))
        return pa.concat_tables([pq.ParquetFile(path).read() for path in files] or [self.table(1, 1).slice(0, 0)])


class TestConformance(ConsumerConformance):
    consumer = Parquet()


class InBucket(Parquet):
    """The same in a bucket; an output is a prefix named after the test's folder."""

    s3: S3Server | None = None
    env: Mapping[str, str] = {}
    impatient = False

    def place(self, output: Path) -> Place:
        return Place(output.parent, self.s3, output.parent.name)

    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        program, address, _, *rest = super().command(server, output, start, end)
        run = [sys.executable, "-c", IMPATIENT] if self.impatient else [program]
        return [*run, address, self.place(output).output, *rest]

    def read(self, output: Path) -> pa.Table:
        found = self.place(output).read("parquet", self.stream)
        return found if found.num_columns else self.table(1, 1).slice(0, 0)


@requires_s3
class TestConformanceInBucket(ConsumerConformance):
    consumer = InBucket()

    # What does not depend on where the archive is.
    test_help = test_version = test_usage_error = test_range_that_ends_before_it_begins = None
    test_exit_code_is_that_of_the_error = test_stream_that_the_server_lacks = None
    test_server_that_cannot_be_reached = test_server_restart = test_broken_connections = None
    test_metrics_and_log = test_standstill = test_split_ledgers = test_many_small_batches = None

    @pytest.fixture(autouse=True)
    def server_of_objects(self, s3: S3Server) -> None:
        self.consumer.s3, self.consumer.env = s3, s3.environment

    def test_sink_that_fails(self, trial: Trial, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The storage is away for longer than requests are repeated; what then lacks is fetched when it is back."""
        trial.server.ledgers_per_batch, trial.server.delay = 5, 0.05
        monkeypatch.setattr(self.consumer, "impatient", True)
        with trial.start(FIRST, LAST, *METERED) as run:
            run.wait_for_batches(8)
            s3.kill()
            assert run.process.wait(120) == ExitCode.UNAVAILABLE, run.said()
        s3.start()
        monkeypatch.undo()
        trial.server.delay = 0
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)
