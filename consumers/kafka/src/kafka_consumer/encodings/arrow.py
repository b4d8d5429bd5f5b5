"""The rows of a ledger as one message: a whole Arrow IPC stream, which needs nothing else to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from kafka_consumer.encodings.base import Encoding, Messages, RowTooLargeError


class ArrowEncoding(Encoding):
    """One message a ledger, or several where one would be larger than allowed; none for a ledger without rows.

    Args:
        schema: of the batches, whose first column is the ledger.
        max_bytes: the most bytes of a message.
    """

    def __init__(self, schema: pa.Schema, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # What columns mean would otherwise be said in every message; the schema file says it.
        self._schema = pa.schema([field.remove_metadata() for field in schema], schema.metadata)
        self._described = schema

    def encode(self, batch: pa.RecordBatch) -> Messages:
        """One message a ledger."""
        batch = pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
        ledgers = batch.column(0).to_numpy()
        starts = np.concatenate(([0], np.flatnonzero(np.diff(ledgers)) + 1, [batch.num_rows])).astype(np.int64)
        values, rows = [], []
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            for value, row in self._parts(batch, start, end):
                values.append(value)
                rows.append(row)
        return Messages(values, np.array(rows, np.int64))

    def _parts(self, batch: pa.RecordBatch, start: int, end: int) -> Iterator[tuple[bytes, int]]:
        if start == end:
            return
        value = self._message(batch.slice(start, end - start))
        if len(value) <= self._max_bytes:
            yield value, start
        elif end - start == 1:
            raise RowTooLargeError(batch.column(0)[start].as_py(), len(value))
        else:
            middle = (start + end) // 2
            yield from self._parts(batch, start, middle)
            yield from self._parts(batch, middle, end)

    def _message(self, rows: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as writer:
            writer.write_batch(rows)
        return bytes(sink.getvalue().to_pybytes())

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        return {"arrow": bytes(self._described.serialize().to_pybytes())}
