"""Topics: what they are called, how they are made, and what they allow."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from kafka_consumer.brokers import CALL_SECONDS, Brokers
from kafka_consumer.errors import PublishError
from stellar_arrow_client.errors import InvalidRequestError, OutputMismatchError

DEFAULT_TEMPLATE: Final = "stellar.{network}.{stream}"
CURSOR_SUFFIX: Final = ".cursor"
BATCH_OVERHEAD: Final = 512
"""What Kafka adds to a message in a batch of its own; more than it ever is."""
LEAST_MESSAGE_BYTES: Final = 1_000
MOST_MESSAGE_BYTES: Final = 1_000_000_000
"""The limits that librdkafka takes."""
MAX_NAME: Final = 249 - len(CURSOR_SUFFIX)
REACH_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.5
DEFAULT_MAX_BYTES: Final = 1_048_588

_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_CURSOR_CONFIG: Final = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """How topics are made that are not there.

    Attributes:
        create: whether they are made at all.
        partitions, replication: of each; replication -1 is what the brokers are set to.
        config: of each, such as ``retention.ms``.
    """

    create: bool = True
    partitions: int = 1
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is there.

    Attributes:
        identity: what tells it from another of the same name; None when the brokers do not say.
        partitions: how many.
        max_bytes: of a batch of messages, its ``max.message.bytes``.
        compacted: whether messages need keys.
    """

    name: str
    identity: str | None
    partitions: int
    max_bytes: int
    compacted: bool

    @property
    def message_bytes(self) -> int:
        """Of key, value and headers of one message, in a batch of its own."""
        return min(max(self.max_bytes - BATCH_OVERHEAD, LEAST_MESSAGE_BYTES), MOST_MESSAGE_BYTES)


def topic_name(template: str, network: str, stream: str, schema_version: str) -> str:
    """The topic of a stream.

    Raises:
        InvalidRequestError: the template has another placeholder, or gives what Kafka does not accept as a name.
    """
    values = {"network": re.sub(r"[^a-z0-9]+", "-", network.lower()).strip("-"), "stream": stream}
    try:
        name = template.format_map(values | {"schema_version": schema_version})
    except (LookupError, ValueError, AttributeError):
        raise InvalidRequestError(
            f"--topic-template {template!r} is not one: it may have {{network}}, {{stream}} and {{schema_version}}"
        ) from None
    if not _NAME.fullmatch(name) or name in (".", "..") or len(name) > MAX_NAME:
        raise InvalidRequestError(
            f"--topic-template {template!r} gives {name[:300]!r}, which is not a name of a topic: at most {MAX_NAME} "
            "letters, digits, dots, underscores and hyphens"
        )
    return name


class Topics:
    """The topics of some brokers."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._admin: AdminClient = brokers.admin()

    def find(self, name: str) -> Topic | None:
        """The topic of that name, if there is one.

        Raises:
            BrokersUnavailableError, BrokerAuthenticationError: see there.
        """
        with self._errors(f"look up topic {name}"):
            try:
                asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=CALL_SECONDS)
                found = asked[name].result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise
            config = self._config(name)
        return Topic(
            name,
            str(found.topic_id) if found.topic_id is not None else None,
            len(found.partitions),
            int(config.get("max.message.bytes", DEFAULT_MAX_BYTES)),
            "compact" in config.get("cleanup.policy", ""),
        )

    def reach(self) -> None:
        """Wait until a broker answers, but not for long: it is most likely not running.

        Raises:
            BrokersUnavailableError, BrokerAuthenticationError: none does, or they refuse the credentials.
        """
        deadline = time.monotonic() + REACH_SECONDS
        with self._brokers.errors("begin"):
            while True:
                try:
                    self._admin.list_topics(timeout=_LOOK_SECONDS)
                    return
                except KafkaException:
                    self._admin.poll(0)
                    if self._brokers.refusal() or time.monotonic() > deadline:
                        raise

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with self._brokers.errors(doing):
            try:
                yield
            except KafkaException:
                self._admin.poll(0)  # lets it say why calls time out
                raise

    def _config(self, name: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = self._admin.describe_configs([resource], request_timeout=CALL_SECONDS)[resource].result()
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def ensure(self, name: str, options: TopicOptions) -> Topic:
        """The topic of that name, made if there is none.

        Raises:
            PublishError: it is not there and may not be made.
        """
        topic = self.find(name)
        if topic is None:
            if not options.create:
                raise PublishError(f"there is no topic {name}; make it, or leave out --no-create-topics")
            self._create(NewTopic(name, options.partitions, options.replication, config=dict(options.config)))
            topic = self._wait_for(name)
        return topic

    def ensure_cursor(self, topic: str, options: TopicOptions) -> str:
        """The name of the topic that says what ``topic`` holds, which is made if it is not there."""
        name = topic + CURSOR_SUFFIX
        made = TopicOptions(options.create, 1, options.replication, _CURSOR_CONFIG)
        found = self.ensure(name, made)
        if not found.compacted:
            raise OutputMismatchError(
                f"topic {name} is not compacted, so that what it says can expire; set its cleanup.policy to compact"
            )
        return name

    def _create(self, topic: NewTopic) -> None:
        with self._errors(f"create topic {topic.topic}"):
            try:
                made = self._admin.create_topics([topic], request_timeout=CALL_SECONDS, operation_timeout=CALL_SECONDS)
                made[topic.topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def _wait_for(self, name: str) -> Topic:
        """A topic is not known to all brokers at once."""
        deadline = time.monotonic() + CALL_SECONDS
        while (topic := self.find(name)) is None:
            if time.monotonic() > deadline:
                raise PublishError(f"topic {name} was made but does not come to be; look at the brokers' logs")
            time.sleep(0.05)
        return topic
