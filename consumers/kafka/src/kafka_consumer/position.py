"""What a topic holds: a record in its cursor topic, committed in the transaction of the messages that it tells of."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from kafka_consumer.brokers import CALL_SECONDS, Brokers
from kafka_consumer.errors import CursorError
from stellar_arrow_client.checkpoint import Checkpoint
from stellar_arrow_client.errors import IntegrityError

VERSION: Final = 1
KEY: Final = b"position"
MAX_BYTES: Final = 1024 * 1024
_RECENT: Final = 1000
"""Records to look at first: each transaction writes two, of which one is the mark of its end."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a topic holds, and who publishes to it.

    Attributes:
        instance: the run that wrote this; another one has taken over the topic when it is not one's own.
        topic, topic_id: the topic with the messages.
        revision: 1, and one more with each schema that began a topic of its own.
        network, encoding, key: what the messages are.
        columns: of the stream: name, type, and whether it may be null.
        checkpoint: the ledgers it holds; None before the first.
    """

    instance: str
    topic: str
    topic_id: str | None
    revision: int
    network: str
    encoding: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str, bool], ...]
    checkpoint: Checkpoint | None = None

    @property
    def next_ledger(self) -> int | None:
        """The first ledger that the topic does not hold; None before the first."""
        return self.checkpoint.next_ledger if self.checkpoint else None

    def at(self, checkpoint: Checkpoint) -> Position:
        """The same with more ledgers."""
        return replace(self, checkpoint=checkpoint)

    def to_json(self) -> bytes:
        """The record."""
        fields = {field: getattr(self, field) for field in self.__slots__ if field != "checkpoint"}
        checkpoint = json.loads(self.checkpoint.to_json()) if self.checkpoint else None
        return json.dumps({"version": VERSION, **fields, "checkpoint": checkpoint}).encode()

    @classmethod
    def from_json(cls, content: bytes, place: str) -> Position:
        """Read a record.

        Raises:
            CursorError: it is damaged or of a version that is not known.
        """
        remedy = "; to begin anew, delete the topic together with the one that it tells of"
        try:
            if len(content) > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            body: dict[str, Any] = json.loads(content)
            if (version := body.pop("version")) != VERSION:
                raise ValueError(f"it has version {version!r}, not {VERSION}")
            held = body.pop("checkpoint")
            checkpoint = Checkpoint.from_json(json.dumps(held).encode(), place) if held is not None else None
            columns = tuple((str(name), str(type_), bool(nullable)) for name, type_, nullable in body.pop("columns"))
            key = tuple(str(name) for name in body.pop("key"))
            position = cls(columns=columns, key=key, checkpoint=checkpoint, **body)
            if type(position.revision) is not int or not isinstance(position.instance, str):
                raise ValueError("it has a value of another type")
            return position
        except IntegrityError:
            raise
        except (ValueError, LookupError, TypeError, RecursionError, AttributeError) as error:
            raise CursorError(f"the last record of topic {place} is damaged ({error}){remedy}") from None


def columns_of(schema: pa.Schema) -> tuple[tuple[str, str, bool], ...]:
    """What of a schema matters to those who read messages."""
    return tuple((field.name, str(field.type), field.nullable) for field in schema)


def read_position(brokers: Brokers, cursor_topic: str) -> Position | None:
    """The last position that was committed; None when there is none.

    It is up to date when no transaction on the topic is open, hence after its publisher was fenced.

    Raises:
        KafkaException: the brokers do not answer.
        CursorError: the record is damaged.
    """
    reader = brokers.reader()
    try:
        partition = TopicPartition(cursor_topic, 0)
        low, high = reader.get_watermark_offsets(partition, timeout=CALL_SECONDS)
        for start in dict.fromkeys((max(low, high - _RECENT), low)) if high > low else ():
            content = _last_value(reader, TopicPartition(cursor_topic, 0, start))
            if content is not None:
                return Position.from_json(content, cursor_topic)
        return None
    finally:
        reader.close()


def _last_value(reader: Consumer, begin: TopicPartition) -> bytes | None:
    reader.assign([begin])
    last: bytes | None = None
    deadline = time.monotonic() + CALL_SECONDS
    while True:
        message = reader.poll(max(0.0, deadline - time.monotonic()))
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        if error is None:
            deadline = time.monotonic() + CALL_SECONDS
            if message.key() == KEY and message.value() is not None:
                last = message.value()
        elif error.code() == KafkaError._PARTITION_EOF:
            return last
        elif not error.retriable() and error.code() != KafkaError._TRANSPORT:
            raise KafkaException(error)
