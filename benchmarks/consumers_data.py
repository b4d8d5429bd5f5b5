"""What the benchmark of the consumers is made of: rows to write, and ways to write them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client import Cursor
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import LedgerDecoder, find_stream

LEDGERS: Final = 1500
"""Made ledgers; more rows are copies of these with the ledgers after them."""
BATCH_LEDGERS: Final = 100


class Part(NamedTuple):
    """Rows of whole ledgers, as a sink is handed them."""

    batch: pa.RecordBatch
    cursor: Cursor


@dataclass(frozen=True)
class Data:
    """At least ``rows`` rows of one stream, in memory, from made ledgers.

    Attributes:
        stream: its name.
        rows: how many at least.
        raw: with the columns of raw XDR.
    """

    stream: str
    rows: int
    raw: bool = False

    @cached_property
    def parts(self) -> list[Part]:
        """The rows in batches of :data:`BATCH_LEDGERS` ledgers, which follow each other without a gap."""
        made = list(_decoded(self.stream, self.raw))
        parts: list[Part] = []
        copy = have = 0
        while have < self.rows:
            for batch, cursor in made:
                shift = copy * LEDGERS
                parts.append(Part(_shifted(batch, shift), Cursor(cursor.first + shift, cursor.last + shift)))
                have += batch.num_rows
            copy += 1
        return parts

    @cached_property
    def table(self) -> pa.Table:
        """The same rows as one table."""
        return pa.Table.from_batches([part.batch for part in self.parts])


@dataclass(frozen=True)
class Way:
    """One way to write all rows.

    Attributes:
        name: the consumer's, or that of a bulk loader.
        write: writes all of them durably; called for every round, after ``clear``.
        clear: makes room, outside of what is measured.
        server_seconds: processor time that the server has used so far, if that can be told.
    """

    name: str
    write: Callable[[], None]
    clear: Callable[[], None] = lambda: None
    server_seconds: Callable[[], float] | None = None


def _decoded(stream: str, raw_columns: bool) -> Iterator[Part]:
    columns = [column.name for column in find_stream(stream).columns] if raw_columns else None
    with_source = open_source(f"synthetic://?ledgers={LEDGERS}")
    first = with_source.bounds().oldest
    assert first is not None
    raw = [ledger.xdr for ledger in with_source.ledgers(first, first + LEDGERS - 1, threading.Event())]
    decoder = LedgerDecoder({stream: columns}, passphrase=with_source.network_passphrase)
    for at in range(0, LEDGERS, BATCH_LEDGERS):
        batch = decoder.decode(raw[at : at + BATCH_LEDGERS]).batches[stream]
        owned = pa.ipc.read_record_batch(batch.serialize(), batch.schema)  # the decoder uses its buffers again
        yield Part(owned, Cursor(first + at, first + at + BATCH_LEDGERS - 1))


def _shifted(batch: pa.RecordBatch, ledgers: int) -> pa.RecordBatch:
    """The same rows in later ledgers; ids hold the ledger in their upper half (SEP-35)."""
    steps = {"ledger_sequence": ledgers, "transaction_id": ledgers << 32, "operation_id": ledgers << 32}
    arrays = [
        pc.add(column, pa.scalar(steps[field.name], field.type)) if ledgers and field.name in steps else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
