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
    """A record batch, the ledgers it accounts for, and its size in Arrow buffers in bytes."""

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
    yield from _cut_ledgers(batch, first, np.concatenate(([0], row_ends)), max_bytes, max_rows)


def _cut_ledgers(
    batch: pa.RecordBatch, first: int, edges: npt.NDArray[np.int64], max_bytes: int, max_rows: int
) -> Iterator[Part]:
    """``edges`` are the row boundaries of the ledgers within ``batch``, one more than ledgers."""
    ledgers = len(edges) - 1
    rows = batch.slice(int(edges[0]), int(edges[-1] - edges[0]))
    nbytes = rows.nbytes
    if rows.num_rows <= max_rows and nbytes <= max_bytes:
        yield Part(rows, Cursor(first, first + ledgers - 1), nbytes)
    elif ledgers == 1:
        yield from _cut_rows(rows, first, nbytes, max_bytes, max_rows)
    else:
        middle = int(np.clip(np.searchsorted(edges, (edges[0] + edges[-1]) // 2), 1, ledgers - 1))
        yield from _cut_ledgers(batch, first, edges[: middle + 1], max_bytes, max_rows)
        yield from _cut_ledgers(batch, first + middle, edges[middle:], max_bytes, max_rows)


def _cut_rows(
    rows: pa.RecordBatch, ledger: int, nbytes: int, max_bytes: int, max_rows: int
) -> Iterator[Part]:
    pieces = max(-(-nbytes // max_bytes), -(-rows.num_rows // max_rows))
    step = max(1, rows.num_rows // pieces)
    for start in range(0, rows.num_rows, step):
        piece = rows.slice(start, step)
        complete = start + step >= rows.num_rows
        yield Part(piece, Cursor(ledger, ledger if complete else ledger - 1), piece.nbytes)
