"""The SDK's conformance suite, on the real command."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from consumers.elasticsearch.tests.support import Command
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest
from stellar_arrow_client.testing.sample import sample_schema
from stellar_arrow_client.testing.trial import FIRST, LAST, METERED, SECONDS, Trial
from tests.support.opensearch import OpenSearchServer


class Elasticsearch(ConsumerUnderTest):
    search: OpenSearchServer

    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        often = ["--checkpoint-seconds", "0.05", "--bulk-bytes", "16384", "--index-ledgers", "70"]
        return [*Command(self.search, _prefix(output)).line(server, start, end or 0, "--stream", self.stream), *often]

    def read(self, output: Path) -> pa.Table:
        return Command(self.search, _prefix(output)).table(self.stream, sample_schema(self.stream))


class TestConformance(ConsumerConformance):
    consumer = Elasticsearch()

    @pytest.fixture(autouse=True)
    def server_of_indices(self, search: OpenSearchServer) -> Iterator[None]:
        self.consumer.search = search
        yield
        search.ask("DELETE", "/c_*")

    def test_sink_that_fails(self, trial: Trial) -> None:
        """The consumer writes no files; instead, the server takes no more, as when its disk is full."""
        trial.run(FIRST, FIRST + 19)
        search, indices = self.consumer.search, f"{_prefix(trial.output)}-{self.consumer.stream}-*"
        search.ask("PUT", f"/{indices}/_settings", {"index.blocks.read_only_allow_delete": True})
        said = trial.run(FIRST, LAST, code=ExitCode.FAILURE)
        assert "free disk space" in said
        search.ask("PUT", f"/{indices}/_settings", {"index.blocks.read_only_allow_delete": None})
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_one_writer_at_a_time(self, trial: Trial) -> None:
        """The newer one goes on; the older one ends, in one sentence, as soon as it has something to write."""
        consumer, alias = self.consumer, f"{_prefix(trial.output)}-{self.consumer.stream}"

        def writer() -> str:
            found = consumer.search.ask("GET", f"/{_prefix(trial.output)}-checkpoints/_doc/{alias}")
            return str(found["_source"]["writer"])

        with trial.start(FIRST, None, *METERED) as run:
            run.wait_for_metrics(durable=LAST + 1)
            older = writer()
            newer = subprocess.Popen(
                consumer.command(trial.server.address, trial.output, FIRST, LAST + 20), stderr=subprocess.DEVNULL
            )
            while writer() == older:
                assert newer.poll() is None
                time.sleep(0.05)
            trial.publish(LAST + 20)
            assert newer.wait(SECONDS) == ExitCode.OK
            run.process.wait(SECONDS)
            said = run.said()
        assert run.process.returncode == ExitCode.FAILURE
        assert said.count("error: ") == 1
        assert "another run writes into" in said
        trial.check(FIRST, LAST + 20)


def _prefix(output: Path) -> str:
    """A prefix for an output."""
    return f"c_{output.parent.name}"[:60].replace("-", "_").lower()
