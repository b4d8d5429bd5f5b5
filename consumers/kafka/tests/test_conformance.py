"""The SDK's conformance suite, on the real command and a real broker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from consumers.kafka.tests.support import Command, configure_topic, decode, read_topic
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest
from stellar_arrow_client.testing.trial import FIRST, LAST, METERED, Trial
from tests.support.kafka import KafkaServer


class Kafka(ConsumerUnderTest):
    address = ""

    def topic(self, output: Path) -> str:
        """The topic that stands for an output."""
        return hashlib.sha256(bytes(output)).hexdigest()[:20]

    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        often = ["--transaction-seconds", "0.05", "--topic-template", self.topic(output), "--encoding", "arrow"]
        return Command(self.address).line(server, start, end or 0, "--stream", self.stream, *often)

    def read(self, output: Path) -> pa.Table:
        values = [record.value for record in read_topic(self.address, self.topic(output))]
        return decode("arrow", self.table(1, 1).schema, values)


class TestConformance(ConsumerConformance):
    consumer = Kafka()

    @pytest.fixture(autouse=True)
    def _broker(self, kafka: KafkaServer) -> Iterator[None]:
        self.consumer.address = kafka.address
        return

    def test_sink_that_fails(self, trial: Trial) -> None:
        """It writes no file; here the topic takes no message as large as those of some ledgers."""
        trial.run(FIRST, FIRST + 20)
        topic = self.consumer.topic(trial.output)
        configure_topic(self.consumer.address, topic, {"max.message.bytes": "1200"})
        said = trial.run(FIRST, LAST, code=ExitCode.FAILURE)
        assert "a message of ledger 1021 has" in said
        assert "raise its max.message.bytes" in said
        trial.check(FIRST, FIRST + 20)
        configure_topic(self.consumer.address, topic, {"max.message.bytes": "1000000"})
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_one_writer_at_a_time(self, trial: Trial) -> None:
        """The newer one goes on; the older one ends, in one sentence, as soon as it has something to write."""
        with trial.start(FIRST, None, *METERED) as run:
            run.wait_for_metrics(durable=LAST + 1)
            trial.run(FIRST, LAST)
            trial.publish(LAST + 20)
            run.process.wait(60)
            said = run.said()
        assert run.process.returncode == ExitCode.FAILURE
        assert said.count("error: ") == 1
        assert "another kafka-consumer has taken over" in said
        trial.check(FIRST, LAST)
        trial.run(FIRST, LAST + 20)
        trial.check(FIRST, LAST + 20)
