"""Kafka: kafka-consumer beside a bare producer that sends the same messages, made before."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from consumers_data import Data, Way
from kafka_consumer.brokers import Brokers
from kafka_consumer.encodings import ENCODINGS
from kafka_consumer.planning import Publication
from kafka_consumer.publisher import Settings
from kafka_consumer.sink import KafkaSink

from stellar_arrow_client import StreamRequest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.kafka import KafkaServer, kafka_server

TRANSACTION = 100_000
"""Messages that the bare producer sends in a transaction."""


@contextmanager
def ways(data: Data) -> Iterator[list[Way]]:
    """A broker, and the ways to publish to it."""
    with kafka_server() as server:
        topics = _Topics(server)
        used = _processor_time(server)
        yield [
            way
            for encoding in ENCODINGS
            for way in (
                Way(f"kafka-consumer, {encoding}", _consume(topics, data, encoding), topics.clear, used),
                Way(f"bare producer, {encoding} made before", _produce(topics, data, encoding), topics.clear, used),
            )
        ]


class _Topics:
    """Makes topics, and deletes them after use, so that the broker's disk does not fill."""

    def __init__(self, server: KafkaServer) -> None:
        self.address = server.address
        self._admin = AdminClient({"bootstrap.servers": server.address})
        self._numbers = itertools.count()
        self.name = ""

    def clear(self) -> None:
        """A new topic instead of the last one."""
        for name in (self.name, f"{self.name}.cursor"):
            if name in self._admin.list_topics(timeout=10).topics:
                self._admin.delete_topics([name], operation_timeout=30)[name].result()
        self.name = f"rows-{next(self._numbers)}"
        self._admin.create_topics([NewTopic(self.name, 1, 1)], operation_timeout=30)[self.name].result()


def _consume(topics: _Topics, data: Data, encoding: str) -> Callable[[], None]:
    """As the command does, without reading from a server."""

    def write() -> None:
        publication = Publication(template=topics.name, encoding=encoding)
        sink = KafkaSink(Brokers(topics.address), publication, Settings())
        sink.open(data.parts[0].batch.schema, StreamRequest(data.stream, data.parts[0].cursor.first))
        for part in data.parts:
            sink.write(part.batch, part.cursor)
        sink.checkpoint()
        sink.close()

    return write


def _produce(topics: _Topics, data: Data, encoding: str) -> Callable[[], None]:
    """The least that a program in Python does to send messages in transactions, with headers as ours."""
    made = ENCODINGS[encoding](data.table.schema, 1_000_000)
    messages = [value for part in data.parts for value in made.encode(part.batch).values]

    def write() -> None:
        settings = {"transactional.id": topics.name, "compression.type": "zstd", "compression.level": 1}
        room = {"linger.ms": 100, "queue.buffering.max.messages": TRANSACTION, "delivery.report.only.error": True}
        producer = Producer({"bootstrap.servers": topics.address, **settings, **room})
        producer.init_transactions()
        headers = [("ledger", b"53312000"), ("schema-version", b"1"), ("network", b"pubnet"), ("stream", b"payments")]
        for start in range(0, len(messages), TRANSACTION):
            producer.begin_transaction()
            for value in messages[start : start + TRANSACTION]:
                while True:
                    try:
                        producer.produce(topics.name, value, headers=headers)
                    except BufferError:
                        producer.poll(0.05)
                    else:
                        break
            producer.commit_transaction()

    return write


def _processor_time(server: KafkaServer) -> Callable[[], float]:
    def read() -> float:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    return read
