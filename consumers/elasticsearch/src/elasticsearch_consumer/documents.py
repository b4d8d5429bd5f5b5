"""Rows as the bodies of bulk requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_client.cells import at_zero, decimal_text, join, offsets_of
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.json_rows import json_rows
from stellar_arrow_client.request import LEDGER

CHUNK_BYTES: Final = 16 * 1024 * 1024
"""Batches of more Arrow data are encoded in parts."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """One bulk request.

    Attributes:
        period: number of the index that the documents belong to, see :func:`bulks`.
        first, last: ledgers.
        rows: how many documents.
        body: newline-delimited JSON.
    """

    period: int
    first: int
    last: int
    rows: int
    body: bytes


def bulks(batch: pa.RecordBatch, index_ledgers: int, most_bytes: int) -> Iterator[Bulk]:
    """The bulk requests that write the rows of whole ledgers.

    The id of a row is its ledger and its place among the rows of it, from 0, so that a row that is written again
    replaces itself. The index follows from the ledger: ``period`` is the ledger divided by ``index_ledgers``.

    Args:
        most_bytes: of a body; a single row that is larger makes a body of its own.

    Raises:
        IntegrityError: the batch contradicts itself.
    """
    try:
        batch.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise IntegrityError(f"the server sent a batch that is not valid: {error}") from None
    if not batch.num_rows:
        return
    ledgers = batch.column(LEDGER).to_numpy(zero_copy_only=False).astype(np.int64)
    if (np.diff(ledgers) < 0).any():
        raise IntegrityError("the server sent rows that are not in the order of their ledgers")
    begins = np.flatnonzero(np.concatenate(([True], ledgers[1:] != ledgers[:-1])))
    places = np.arange(len(ledgers)) - np.repeat(begins, np.diff(np.append(begins, len(ledgers))))
    periods = ledgers // index_ledgers
    step = max(1, batch.num_rows * CHUNK_BYTES // max(batch.nbytes, CHUNK_BYTES))
    cuts = sorted({*range(0, batch.num_rows, step), *np.flatnonzero(np.diff(periods)) + 1, batch.num_rows})
    for start, end in pairwise(cuts):
        lines = _lines(batch.slice(start, end - start), places[start:end])
        offsets = offsets_of(lines).astype(np.int64)
        data = memoryview(lines.buffers()[2])
        at = 0
        while at < end - start:
            to = max(int(np.searchsorted(offsets, offsets[at] + most_bytes, side="right")) - 1, at + 1)
            yield Bulk(
                period=int(periods[start]),
                first=int(ledgers[start + at]),
                last=int(ledgers[start + to - 1]),
                rows=to - at,
                body=bytes(data[offsets[at] : offsets[to]]),
            )
            at = to


def _lines(rows: pa.RecordBatch, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Array:
    """Action and document of each row: binary (rows,)."""
    ledger = decimal_text(rows.column(LEDGER))
    parts = [
        b'{"index":{"_id":"',
        ledger,
        b"-",
        decimal_text(pa.array(places)),
        b'"}}\n',
        json_rows(rows.schema, list(map(at_zero, rows.columns)), rows.num_rows),
        b"\n",
    ]
    return join(parts, rows.num_rows)
