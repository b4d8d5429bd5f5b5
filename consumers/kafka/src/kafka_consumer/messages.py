"""What messages are made of beside their values, and how batches become messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from kafka_consumer.encodings import Encoding
from kafka_consumer.encodings.base import RowTooLargeError, kind_of
from kafka_consumer.errors import EncodingError, MessageTooLargeError
from kafka_consumer.topics import Topic
from stellar_arrow_client.cells import at_zero, binary, decimal_text, hexadecimal, join, time_text
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError
from stellar_arrow_client.json_rows import Kind, json_cells
from stellar_arrow_client.request import LEDGER

CHUNK_BYTES: Final = 16 * 1024 * 1024
"""Batches of more Arrow data are encoded in parts."""
HEADERS_BYTES: Final = 512
"""Room in a message for its headers."""
_WAIT: Final = 0.05

Headers: TypeAlias = list[tuple[str, str | bytes | None]]

_KEYS: Final = {
    Kind.BOOL: lambda column: binary(column.cast(pa.string())),
    **dict.fromkeys((Kind.INT, Kind.LONG, Kind.ULONG, Kind.DECIMAL), decimal_text),
    Kind.TIME: time_text,
    Kind.TEXT: binary,
    **dict.fromkeys((Kind.BYTES, Kind.FIXED), hexadecimal),
}


class Outlet:
    """Turns batches into the messages of one topic.

    Args:
        headers: of every message, beside ``ledger``.
    """

    def __init__(self, topic: Topic, encoding: Encoding, key: Sequence[str], headers: Mapping[str, str]) -> None:
        self.topic = topic
        self._encoding = encoding
        self._key = tuple(key)
        self._headers: Headers = [(name, value.encode()) for name, value in headers.items()]

    def send(self, producer: Producer, batch: pa.RecordBatch) -> None:
        """Hand the messages of a batch to the producer; waits while it has as many as it may.

        Raises:
            KafkaException: the transaction has failed.
            IntegrityError: the batch contradicts itself.
            EncodingError: a value has no form in the encoding, or a key is null where it must not be.
            MessageTooLargeError: a message is larger than the topic takes.
        """
        try:
            batch.validate(full=True)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise IntegrityError(f"the server sent a batch that is not valid: {error}") from None
        for rows in _chunks(batch):
            self._send(producer, rows)

    def _send(self, producer: Producer, rows: pa.RecordBatch) -> None:
        try:
            values, begins = self._encoding.encode(rows)
        except RowTooLargeError as error:
            raise self._too_large(error.size, error.ledger) from None
        except (pa.ArrowException, OverflowError) as error:
            raise EncodingError(f"rows of ledger {rows.column(LEDGER)[0]} cannot be encoded: {error}") from None
        ledgers = rows.column(LEDGER).take(pa.array(begins)).to_pylist()
        keys = self._keys(rows, ledgers)
        name, produce = self.topic.name, producer.produce
        last, headers = None, self._headers
        for value, key, ledger in zip(values, keys, ledgers, strict=True):
            if ledger != last:
                last, headers = ledger, [("ledger", b"%d" % ledger), *self._headers]
            try:
                produce(name, value, key, headers=headers)
            except BufferError:
                produce_when_there_is_room(producer, name, value, key, headers=headers)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise self._too_large(len(value), ledger) from None
                raise
        producer.poll(0)

    def _keys(self, rows: pa.RecordBatch, ledgers: list[int]) -> list[bytes | None]:
        if not self._key:
            return [None] * len(ledgers)
        keys = key_cells(rows, self._key)
        if keys.null_count and self.topic.compacted:
            ledger = ledgers[keys.is_null().index(True).as_py()]
            raise EncodingError(
                f"a row of ledger {ledger} has no {self._key[0]}, but topic {self.topic.name} is compacted, so that "
                "every message needs a key; choose another --key, or leave such rows out with --filter"
            )
        return keys.to_pylist()  # type: ignore[no-any-return]

    def _too_large(self, size: int, ledger: int) -> MessageTooLargeError:
        return MessageTooLargeError(
            f"a message of ledger {ledger} has {size} bytes, but topic {self.topic.name} takes {self.topic.max_bytes}; "
            f"raise its max.message.bytes (--topic-config max.message.bytes={2 * size} for a topic that is not there "
            "yet), or leave large columns out with --columns"
        )


def key_cells(rows: pa.RecordBatch, key: Sequence[str]) -> pa.Array:
    """The keys of rows: binary (rows,).

    Of one column it is its text, and null where it is null; of several a JSON array.
    """
    columns = [at_zero(rows.column(name)) for name in key]
    if len(columns) == 1:
        return _KEYS[kind_of(columns[0].type, key[0])](columns[0])
    parts: list[pa.Array | bytes] = []
    for index, column in enumerate(columns):
        parts += [b"," if index else b"[", json_cells(column)]
    return join([*parts, b"]"], rows.num_rows)


def check_key(schema: pa.Schema, key: Sequence[str]) -> None:
    """See that the columns of a key are there, and that they have a text.

    Raises:
        InvalidRequestError: they have not.
    """
    for name in key:
        if name not in schema.names:
            raise InvalidRequestError(f"--key {name} is not a column of what is published: {', '.join(schema.names)}")
        if kind_of(schema.field(name).type, name) not in _KEYS:
            raise InvalidRequestError(f"--key {name} is a column of type {schema.field(name).type}, which is no key")


def _chunks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if not batch.num_rows:
        return
    step = max(1, batch.num_rows * CHUNK_BYTES // max(batch.nbytes, CHUNK_BYTES))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def produce_when_there_is_room(producer: Producer, *message: Any, **further: Any) -> None:
    """Produce a message, after some of those that wait were sent or given up if there are too many.

    Raises:
        KafkaException: the transaction has failed.
    """
    while True:
        try:
            producer.produce(*message, **further)
        except BufferError:
            producer.poll(_WAIT)
        else:
            return
