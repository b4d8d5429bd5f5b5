"""What a run publishes where, decided from what the topic holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import pyarrow as pa
from confluent_kafka import TopicPartition

from kafka_consumer.brokers import CALL_SECONDS, Brokers
from kafka_consumer.messages import check_key
from kafka_consumer.position import Position, columns_of, read_position
from kafka_consumer.topics import CURSOR_SUFFIX, Topic, TopicOptions, Topics, topic_name
from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.contents import difference, said
from stellar_arrow_client.errors import IntegrityError, OutputMismatchError
from stellar_arrow_client.planning import Plan, find_missing
from stellar_arrow_client.ranges import LedgerRanges
from stellar_arrow_client.request import LEDGER, StreamRequest

OnSchemaChange = Literal["refuse", "new-topic"]
UNKNOWN: Final = "unknown"
"""What the server does not say of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What to publish where.

    Attributes:
        template: of the topics' names.
        encoding: a key of :data:`kafka_consumer.encodings.ENCODINGS`.
        key: columns of the messages' keys.
        topics: how topics are made.
        on_schema_change: whether a schema that changed is refused, or begins a topic of its own.
    """

    template: str
    encoding: str
    key: tuple[str, ...] = ()
    topics: TopicOptions = field(default_factory=TopicOptions)
    on_schema_change: OnSchemaChange = "refuse"

    def base(self, schema: pa.Schema, stream: str) -> str:
        """The topic of a stream; those that schema changes begin are called after it.

        Raises:
            InvalidRequestError: the template does not give a name, or a column of the key is not there.
            IntegrityError: the stream does not begin with its ledgers.
        """
        if schema.names[:1] != [LEDGER] or schema.field(0).type != pa.uint32() or schema.field(0).nullable:
            raise IntegrityError(f"the stream {stream} does not begin with a column {LEDGER} of type uint32")
        check_key(schema, self.key)
        return topic_name(self.template, network_of(schema), stream, version_of(schema))


def version_of(schema: pa.Schema) -> str:
    """The version of the columns of a stream."""
    return said(schema, "schema_version") or UNKNOWN


def network_of(schema: pa.Schema) -> str:
    """The network of a stream."""
    return said(schema, "network") or UNKNOWN


def decide(
    publication: Publication, base: str, schema: pa.Schema, request: StreamRequest, held: Position | None
) -> Position:
    """Who publishes what into which topic from now on; its ``topic_id`` is to be checked or filled in.

    Args:
        held: what the topic ``base``, or the one that a change of the schema began, holds.

    Raises:
        OutputMismatchError: the topic holds something else.
        InvalidRequestError: the range does not join what it holds.
    """
    wanted = Position(
        instance=uuid.uuid4().hex,
        topic=base,
        topic_id=None,
        revision=1,
        network=network_of(schema),
        encoding=publication.encoding,
        key=publication.key,
        columns=columns_of(schema),
    )
    if held is None:
        return wanted
    for name, option in (("network", "--topic-template"), ("encoding", "--encoding"), ("key", "--key")):
        there, asked = getattr(held, name), getattr(wanted, name)
        if there != asked:
            raise OutputMismatchError(
                f"topic {held.topic} has the {name} {_text(there)}, not {_text(asked)}; give it the same {option}, or "
                "choose another --topic-template"
            )
    revision, topic, topic_id = held.revision, held.topic, held.topic_id
    if held.columns != wanted.columns:
        before, after = ({name: rest for name, *rest in position.columns} for position in (held, wanted))
        if publication.on_schema_change == "refuse":
            raise OutputMismatchError(
                f"topic {held.topic} holds other columns than {request.stream} has now ({difference(before, after)}); "
                "give --on-schema-change new-topic to go on in a topic of its own, or the old ones with --columns"
            )
        revision, topic_id = held.revision + 1, None
        topic = f"{base}.v{revision}"
    # Columns are compared above, so that it does not matter how they were asked for.
    checkpoint = held.checkpoint and replace(held.checkpoint, columns=request.columns)
    if checkpoint is not None:
        checkpoint.resume(request, f"topic {held.topic}")
    return replace(wanted, topic=topic, topic_id=topic_id, revision=revision, checkpoint=checkpoint)


def inspect(
    brokers: Brokers, topics: Topics, publication: Publication, schema: pa.Schema, request: StreamRequest
) -> Position:
    """As :func:`decide`, from what the brokers have now; changes nothing.

    Raises:
        BrokersUnavailableError, BrokerAuthenticationError: see there.
    """
    base = publication.base(schema, request.stream)
    held = None
    if topics.find(base + CURSOR_SUFFIX) is not None:
        with brokers.errors(f"read what topic {base} holds"):
            held = read_position(brokers, base + CURSOR_SUFFIX)
    position = decide(publication, base, schema, request, held)
    check_topic(brokers, position, topics.find(position.topic))
    return position


def plan_topic(
    brokers: Brokers, topics: Topics, publication: Publication, chosen: Chosen, latest: Callable[[], int | None]
) -> Plan:
    """What a topic lacks of a stream; see :func:`inspect`.

    Args:
        latest: where a request without a start begins in a topic that holds nothing.
    """
    position = inspect(brokers, topics, publication, chosen.schema, chosen.request)
    next_ledger, checkpoint = position.next_ledger, position.checkpoint
    held = LedgerRanges([(checkpoint.first, next_ledger - 1)] if checkpoint and next_ledger else [])
    missing = find_missing(chosen.request, held, position.topic, latest)
    return Plan(output=position.topic, chosen=chosen, missing=missing)


def check_topic(brokers: Brokers, position: Position, topic: Topic | None) -> None:
    """See that a topic is the one that a position tells of, or empty when the position begins it.

    Raises:
        OutputMismatchError: it is another one, is gone, or holds messages of somebody else.
    """
    if position.topic_id is None:
        if topic is not None and _has_messages(brokers, topic):
            raise OutputMismatchError(
                f"topic {topic.name} has messages, but there is no record of what it holds; choose another "
                "--topic-template, or delete the topic"
            )
    elif topic is None or topic.identity != position.topic_id:
        gone = "is gone" if topic is None else "was deleted and made anew"
        base = position.topic if position.revision == 1 else position.topic.rpartition(".")[0]
        raise OutputMismatchError(
            f"topic {position.topic} {gone}, so that ledgers before {position.next_ledger} would be missing; to "
            f"publish them again, delete the topic {base}{CURSOR_SUFFIX} too"
        )


def _has_messages(brokers: Brokers, topic: Topic) -> bool:
    reader = brokers.reader()
    try:
        with brokers.errors(f"look into topic {topic.name}"):
            return any(
                reader.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=CALL_SECONDS)[1]
                for partition in range(topic.partitions)
            )
    finally:
        reader.close()


def _text(value: object) -> str:
    return (",".join(value) or "none") if isinstance(value, tuple) else str(value)
