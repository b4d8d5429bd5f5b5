"""The sink of one stream: documents first, then the checkpoint that says that they are there."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from elasticsearch_consumer.checkpoints import Checkpoint, Checkpoints
from elasticsearch_consumer.documents import bulks
from elasticsearch_consumer.indices import Series
from elasticsearch_consumer.writer import BulkWriter
from stellar_arrow_client.contents import check_unchanged
from stellar_arrow_client.request import Cursor, StreamRequest


@dataclass(frozen=True, slots=True)
class Target:
    """Indices that are ready to be written.

    Attributes:
        schema: of the stream.
        bulk_bytes: of a bulk request at most.
    """

    series: Series
    checkpoints: Checkpoints
    checkpoint: Checkpoint
    schema: pa.Schema
    bulk_bytes: int


class ElasticsearchSink:
    """Writes a range of ledgers of one stream; implements :class:`stellar_arrow_client.sink.Sink`.

    A server acknowledges documents when they are on its disk. What a crash leaves of ledgers that the checkpoint lacks
    is replaced by the next run, as the same row always has the same id.
    """

    def __init__(self, target: Target, writer: BulkWriter) -> None:
        self._target, self._writer = target, writer
        self._first: int | None = None  # of the ledgers that the checkpoint lacks
        self._next: int | None = None
        self._durable: int | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """See that the stream still is what the indices were prepared for.

        Returns:
            None: a run asks only for ledgers that are not there.

        Raises:
            IntegrityError: the stream has changed in the meantime.
        """
        check_unchanged(schema, self._target.schema, request.stream)
        return None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Take the rows of whole ledgers.

        Raises:
            StellarArrowError: the server refuses one, or stays away.
        """
        if self._first is None:
            self._first = cursor.first
        for bulk in bulks(batch, self._target.series.index_ledgers, self._target.bulk_bytes):
            self._writer.send(bulk)
        self._next = cursor.cursor

    def checkpoint(self) -> int | None:
        """Wait until the server has all documents on its disk, then write the checkpoint.

        Returns:
            The next ledger wanted; None when nothing was written yet.

        Raises:
            StellarArrowError: the server refuses one, stays away, or another run has taken over.
        """
        if self._first is not None and self._next is not None:
            self._writer.finish()
            target = self._target
            target.checkpoints.add(target.series.alias, target.checkpoint, self._first, self._next - 1)
            self._durable, self._first = self._next, None
        return self._durable

    def close(self, *, complete: bool = True) -> None:
        """Send no more."""
        self._writer.cancel()
