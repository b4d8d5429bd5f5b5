"""Publishes batches in transactions, and survives whatever becomes of the brokers meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from kafka_consumer.brokers import CALL_SECONDS, Brokers, is_permanent
from kafka_consumer.errors import FencedError
from kafka_consumer.messages import Outlet, produce_when_there_is_room
from kafka_consumer.position import KEY, Position, read_position
from stellar_arrow_client.policy import RetryPolicy

MAX_ROWS: Final = 200_000
"""Rows in a transaction, at about which it is committed."""
ORPHAN_SECONDS: Final = 60.0
"""Time after which the brokers end a transaction of a publisher that is gone."""
_MOST_PATIENCE: Final = 60.0

_FENCED: Final = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to publish.

    Attributes:
        compression: of batches of messages.
        transaction_seconds: how long a transaction stays open at most.
        memory: bytes of messages that wait for the brokers, unless one alone has more, and again of rows in an open
            transaction.
        retry: how long to go on trying when the brokers do not answer.
    """

    compression: str = "zstd"
    transaction_seconds: float = 1.0
    memory: int = 64 * 1024 * 1024
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class _Pending:
    batch: pa.RecordBatch
    next_ledger: int


class Publisher:
    """The one publisher of a topic: a second one, wherever it runs, ends this one at its next transaction.

    What is published since the last commit becomes visible to ``read_committed`` readers at the next one, together
    with the position that tells of it, or not at all. Until then the rows are kept here too: when a transaction is
    lost, the position tells what was committed, and the rest is published again.

    All methods are called by one thread. A transaction that nobody goes on with, because the stream stands still, is
    committed by a thread of the publisher's own.

    Args:
        name: that the brokers know the publisher by, the same for all runs on a topic.
        cursor_topic: where positions are kept.
    """

    def __init__(self, brokers: Brokers, name: str, cursor_topic: str, settings: Settings) -> None:
        self._brokers = brokers
        self._name = name
        self._cursor_topic = cursor_topic
        self._settings = settings
        # Of one attempt: with little patience it would never end where much has to be sent over a slow network.
        self._patience = min(_MOST_PATIENCE, max(CALL_SECONDS, settings.retry.retry_for))
        self._producer: Producer | None = None
        self._outlet: Outlet | None = None
        self._position: Position | None = None  # after what is in the transaction
        self._durable: int | None = None
        self._before: str | None = None  # the instance that published before
        self._claimed = False
        self._pending: list[_Pending] = []
        self._began: float | None = None  # when the transaction was, None while there is none
        self._undelivered: KafkaError | None = None
        self._failure: BaseException | None = None  # after which nothing is committed
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._committing = threading.Thread(target=self._commit_in_time, name=f"commit {name}", daemon=True)

    def take_over(self, message_bytes: int) -> Position | None:
        """End the publisher that there may be.

        Args:
            message_bytes: the most bytes of a message.

        Returns:
            What the topic holds; nothing can change that any more but this publisher.
        """
        with self._brokers.errors(f"begin to publish to {self._name}"):
            self._renew(message_bytes)
            held = read_position(self._brokers, self._cursor_topic)
        self._before = held.instance if held is not None else None
        return held

    def claim(self, outlet: Outlet, position: Position) -> None:
        """Say durably that this run, ``position.instance``, publishes into ``outlet`` from now on.

        Raises:
            FencedError: yet another publisher was faster.
        """
        self._outlet, self._position, self._durable = outlet, position, position.next_ledger
        self._surviving(self._begin)
        self.commit()
        self._claimed = True
        self._committing.start()

    def publish(self, batch: pa.RecordBatch, position: Position) -> None:
        """Put rows of whole ledgers into the transaction, and the position after them.

        Raises:
            FencedError: another publisher has taken over.
            BrokersUnavailableError: they did not come back in time.
            StellarArrowError: a row cannot be published; see :meth:`Outlet.send`.
        """
        with self._lock:
            self._check()
            assert position.next_ledger is not None
            self._position = position
            self._pending.append(_Pending(batch, position.next_ledger))
            try:
                self._surviving(lambda: self._send(batch))
            except BaseException as error:
                self._failure = error  # a part of the batch is in the transaction: nobody may commit it
                raise
            rows = sum(pending.batch.num_rows for pending in self._pending)
            size = sum(pending.batch.nbytes for pending in self._pending)
            if self._is_due() or rows >= MAX_ROWS or size >= self._settings.memory:
                self.commit()

    def commit(self) -> int | None:
        """Commit what was published.

        Returns:
            The first ledger that is not committed; None when none ever was.
        """
        with self._lock:
            self._check()
            if self._began is not None:
                self._surviving(self._commit)
            return self._durable

    def close(self) -> None:
        """End; what was published after the last commit never becomes visible."""
        self._ended.set()
        if self._committing.is_alive():
            self._committing.join()
        producer = self._producer
        if producer is not None and self._began is not None:
            with suppress(KafkaException):  # else the brokers do it when the next publisher comes, or after a while
                producer.abort_transaction(CALL_SECONDS / 2)
        self._drop()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_due(self) -> bool:
        return self._began is not None and time.monotonic() - self._began >= self._settings.transaction_seconds

    def _commit_in_time(self) -> None:
        while not self._ended.wait(min(1.0, self._settings.transaction_seconds / 2 + 0.01)):
            with self._lock:
                if self._failure is None and self._is_due():
                    try:
                        self.commit()
                    except Exception as error:  # raised for the one who publishes next
                        self._failure = error

    # What may fail and is then done anew.

    def _begin(self) -> None:
        if self._began is None:
            assert self._producer is not None
            self._producer.begin_transaction()
            self._began = time.monotonic()

    def _send(self, batch: pa.RecordBatch) -> None:
        self._begin()
        assert self._outlet is not None
        assert self._producer is not None
        self._outlet.send(self._producer, batch)

    def _commit(self) -> None:
        producer, position = self._producer, self._position
        assert producer is not None
        assert position is not None
        produce_when_there_is_room(producer, self._cursor_topic, position.to_json(), KEY, partition=0)
        producer.commit_transaction(self._patience)
        self._pending.clear()
        self._began = None
        self._durable = position.next_ledger

    def _surviving(self, action: Callable[[], None]) -> None:
        """Do something; when the transaction is lost over it, do the whole transaction anew."""
        try:
            action()
        except KafkaException as error:
            self._recover(error)

    def _recover(self, error: KafkaException) -> None:
        deadline = time.monotonic() + self._settings.retry.retry_for
        for wait in self._settings.retry.waits():
            self._judge(error, time.monotonic() >= deadline)
            log.warning("Kafka lost a transaction, trying again: %s", error.args[0].str(), extra={"topic": self._name})
            if self._ended.wait(wait):
                raise self._brokers.typed(f"publish to {self._name}", error)
            try:
                self._drop()
                self._check_instance()
                assert self._outlet is not None
                self._renew(self._outlet.topic.message_bytes)
                self._repeat()
            except KafkaException as another:
                error = another
            else:
                log.info("Kafka is back", extra={"topic": self._name})
                return

    def _judge(self, error: KafkaException, late: bool) -> None:
        """Raise what trying again does not help against."""
        if self._undelivered is not None and is_permanent(self._undelivered):
            error = KafkaException(self._undelivered)
        if not self._claimed and error.args[0].code() in _FENCED:
            raise self._fenced()
        if late or is_permanent(error.args[0]):
            raise self._brokers.typed(f"publish to {self._name}", error)

    def _repeat(self) -> None:
        """Publish what the lost transaction held, unless it was committed after all."""
        held = self._check_instance()
        committed = held.next_ledger if held is not None else None
        if committed is not None:
            self._pending = [pending for pending in self._pending if pending.next_ledger > committed]
        self._begin()
        for pending in self._pending:
            self._send(pending.batch)
        self._commit()

    def _check_instance(self) -> Position | None:
        """What the topic holds, by now.

        Raises:
            FencedError: another publisher has taken over.
        """
        held = read_position(self._brokers, self._cursor_topic)
        assert self._position is not None
        # The brokers report a transaction that took too long in the same way as one that another publisher ended.
        # Until the claim is committed, the position must still be the one that it was made of.
        found = held.instance if held is not None else None
        if found != self._position.instance and (self._claimed or found != self._before):
            raise self._fenced()
        return held

    def _fenced(self) -> FencedError:
        return FencedError(
            f"another kafka-consumer has taken over {self._name}; this one ends, and what it published last never "
            "became visible"
        )

    def _renew(self, message_bytes: int) -> None:
        """A new producer, to which the brokers listen instead of any before it."""
        self._drop()
        settings: dict[str, Any] = {
            "transactional.id": self._name,
            "transaction.timeout.ms": int((ORPHAN_SECONDS + 2 * self._settings.transaction_seconds) * 1000),
            "compression.type": self._settings.compression,
            "linger.ms": 100,  # commits do not wait for it
            "partitioner": "murmur2_random",  # that of Java clients
            "queue.buffering.max.kbytes": max(self._settings.memory, 2 * message_bytes) // 1024,
            "queue.buffering.max.messages": MAX_ROWS,
            "delivery.report.only.error": True,
            "on_delivery": self._note,
            "message.max.bytes": message_bytes,
            "batch.size": min(1_000_000, message_bytes),
        }
        if self._settings.compression == "zstd":
            settings["compression.level"] = 1  # as small as with the default of 3, for half the time
        self._undelivered = None
        self._producer = self._brokers.producer(settings)
        self._producer.init_transactions(self._patience)

    def _note(self, error: KafkaError | None, _message: object) -> None:
        if error is not None and self._undelivered is None:
            self._undelivered = error

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        self._began = None
        if producer is not None:
            with suppress(KafkaException):
                producer.purge()
