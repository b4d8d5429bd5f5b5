"""The sink of one stream: batches in; messages, and the position after them, out in transactions."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pyarrow as pa

from kafka_consumer.brokers import Brokers
from kafka_consumer.encodings import ENCODINGS
from kafka_consumer.errors import BrokersUnavailableError, FencedError
from kafka_consumer.messages import HEADERS_BYTES, Outlet
from kafka_consumer.planning import Publication, check_topic, decide, inspect, network_of, version_of
from kafka_consumer.publisher import Publisher, Settings
from kafka_consumer.topics import Topics
from stellar_arrow_client.checkpoint import Checkpoint
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import Cursor, StreamRequest

log = logging.getLogger(__name__)


class KafkaSink:
    """Publishes one stream; implements :class:`stellar_arrow_client.sink.Sink`."""

    def __init__(self, brokers: Brokers, publication: Publication, settings: Settings) -> None:
        self._brokers = brokers
        self._publication = publication
        self._settings = settings
        self._publisher: Publisher | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Find out what the topic holds, make what is not there, and end the publisher that there may be.

        Raises:
            OutputMismatchError: the topic holds something else.
            BrokersUnavailableError: they did not come back in time.
            BrokerAuthenticationError: they refuse the credentials.
        """
        self._schema, self._request = schema, request
        deadline = time.monotonic() + self._settings.retry.retry_for
        for wait in self._settings.retry.waits():
            try:
                self._begin(schema, request)
                break
            except BrokersUnavailableError as error:
                self.close(complete=False)
                if time.monotonic() >= deadline:
                    raise
                log.warning("trying again: %s", error)
                time.sleep(wait)
        return self._position.next_ledger

    def _begin(self, schema: pa.Schema, request: StreamRequest) -> None:
        topics = Topics(self._brokers)
        # Looked at first, so that no other publisher is ended for nothing.
        planned = inspect(self._brokers, topics, self._publication, schema, request)
        topic = topics.ensure(planned.topic, self._publication.topics)
        base = self._publication.base(schema, request.stream)
        cursor_topic = topics.ensure_cursor(base, self._publication.topics)
        self._publisher = Publisher(self._brokers, base, cursor_topic, self._settings)
        held = self._publisher.take_over(topic.message_bytes)
        position = decide(self._publication, base, schema, request, held)
        if position.topic != topic.name:
            raise FencedError(f"another kafka-consumer began to publish to {base} just now; let only one of them run")
        check_topic(self._brokers, position, topic)
        self._position = replace(position, topic_id=topic.identity)
        encoding = ENCODINGS[self._publication.encoding](schema, topic.message_bytes - HEADERS_BYTES)
        headers = {
            "schema-version": version_of(schema),
            "network": network_of(schema),
            "stream": request.stream,
        }
        self._publisher.claim(Outlet(topic, encoding, self._publication.key, headers), self._position)

    @property
    def topic(self) -> str:
        """Where the messages go, once it is open."""
        return self._position.topic

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Publish the rows of ledgers ``cursor.first`` to ``cursor.last``.

        Raises:
            IntegrityError: the batch is not what the stream promised.
            StellarArrowError: see :meth:`Publisher.publish`.
        """
        assert self._publisher is not None
        if not batch.schema.equals(self._schema):
            raise IntegrityError(f"a batch of ledger {cursor.first} has another schema than the stream")
        held = self._position.checkpoint
        checkpoint = Checkpoint.of(self._request, held.first if held else cursor.first, cursor.cursor)
        self._position = self._position.at(checkpoint)
        self._publisher.publish(batch, self._position)

    def checkpoint(self) -> int | None:
        """Commit the transaction.

        Returns:
            The first ledger that the topic does not hold; None when it holds none.
        """
        assert self._publisher is not None
        return self._publisher.commit()

    def close(self, *, complete: bool = True) -> None:
        """End the publisher; what was not committed never becomes visible."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
