"""Cuts the rows of decoded ledgers into record batches of a size that suits the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stellar_arrow_client.request import Cursor

MAX_BATCH_BYTES = 4 << 20
"""Halving what is larger leaves batches of 1-4 MB wherever the ledgers are of similar size."""

MAX_BATCH_ROWS = 1 << 17


class Part(NamedTuple):
    """A record batch, the ledgers it accounts for, and its bytes as an uncompressed message of Arrow IPC."""

    batch: pa.RecordBatch
    cursor: Cursor
    nbytes: int


def cut(
    batch: pa.RecordBatch,
    first: int,
    row_ends: npt.NDArray[np.int64],
    max_bytes: int = MAX_BATCH_BYTES,
    max_rows: int = MAX_BATCH_ROWS,
) -> Iterator[Part]:
    """Cut the rows of the consecutive ledgers ``first``, ``first + 1``, … into parts within the limits.

    ``row_ends[i]`` is the end of the rows of ledger ``first + i``. A ledger is split only when it alone
    exceeds a limit: all its parts but the final one then leave the cursor on that ledger.
    """
    yield from _cut_ledgers(batch, first, np.concatenate(([0], row_ends)), _Limits(max_bytes, max_rows))


def size_of(rows: pa.RecordBatch) -> int:
    """Bytes of a batch on the wire, uncompressed."""
    return int(pa.ipc.get_record_batch_size(rows))  # 12 µs of 92 columns; `nbytes`, without the message, takes 171


class _Limits(NamedTuple):
    max_bytes: int
    max_rows: int

    def admit(self, rows: pa.RecordBatch, nbytes: int) -> bool:
        return nbytes <= self.max_bytes and rows.num_rows <= self.max_rows


def _cut_ledgers(batch: pa.RecordBatch, first: int, edges: npt.NDArray[np.int64], limits: _Limits) -> Iterator[Part]:
    """``edges`` are the row boundaries of the ledgers within ``batch``, one more than ledgers."""
    ledgers = len(edges) - 1
    rows = batch.slice(int(edges[0]), int(edges[-1] - edges[0]))
    nbytes = size_of(rows)
    if limits.admit(rows, nbytes):
        yield Part(rows, Cursor(first, first + ledgers - 1), nbytes)
    elif ledgers == 1:
        *others, final = _cut_rows(rows, limits)
        for piece in others:
            yield Part(piece, Cursor(first, first - 1), size_of(piece))
        yield Part(final, Cursor(first, first), size_of(final))
    else:
        middle = int(np.clip(np.searchsorted(edges, (edges[0] + edges[-1]) // 2), 1, ledgers - 1))
        yield from _cut_ledgers(batch, first, edges[: middle + 1], limits)
        yield from _cut_ledgers(batch, first + middle, edges[middle:], limits)


def _cut_rows(rows: pa.RecordBatch, limits: _Limits) -> Iterator[pa.RecordBatch]:
    """Halve until the limits hold; a single row is never cut."""
    if rows.num_rows == 1 or limits.admit(rows, size_of(rows)):
        yield rows
    else:
        middle = rows.num_rows // 2
        yield from _cut_rows(rows.slice(0, middle), limits)
        yield from _cut_rows(rows.slice(middle), limits)
