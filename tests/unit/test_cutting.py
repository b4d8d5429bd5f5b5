"""Cutting rows into batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from stellar_arrow_source.flight.cutting import cut


@given(
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    max_bytes=st.integers(200, 900),
    max_rows=st.integers(1, 50),
)
def test_parts_hold_every_row_once_and_cover_every_ledger_once(rows: list[int], max_bytes: int, max_rows: int) -> None:
    first = 1000
    sequences = np.repeat(np.arange(first, first + len(rows), dtype=np.uint64), rows)
    batch = pa.RecordBatch.from_arrays([pa.array(sequences)], ["ledger_sequence"])
    parts = list(cut(batch, first, np.cumsum(rows), max_bytes, max_rows))
    assert np.array_equal(np.concatenate([part.batch["ledger_sequence"] for part in parts]), sequences)
    next_ledger = first
    for part in parts:
        assert part.cursor.first == next_ledger
        next_ledger = part.cursor.cursor
        assert part.nbytes == len(part.batch.serialize())
        assert part.batch.num_rows <= max_rows
        assert part.nbytes <= max_bytes or part.batch.num_rows == 1  # a row is never cut
        held = set(part.batch["ledger_sequence"].to_pylist())
        if part.cursor.advances:
            assert held <= set(range(part.cursor.first, part.cursor.last + 1))
        else:
            # A part of one large ledger, which the limits do not admit as a whole.
            assert held == {part.cursor.first}
            size = rows[part.cursor.first - first]
            assert size > max_rows or len(batch.slice(0, size).serialize()) > max_bytes
    assert next_ledger == first + len(rows)
