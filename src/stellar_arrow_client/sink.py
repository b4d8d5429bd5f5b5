"""What a consumer implements: where batches go."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pyarrow as pa

from stellar_arrow_client.request import Cursor, StreamRequest


@runtime_checkable
class Sink(Protocol):
    """A destination of one stream.

    The runner calls all methods of one sink from one thread, in the order open, write…, checkpoint…, close.
    Batches hold whole ledgers, ascending and without a gap or a repetition, whatever breaks in between; after
    a restart they begin at the ledger that :meth:`open` returns. A sink that makes rows and the next ledger
    durable together therefore loses and doubles nothing.
    """

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Prepare for batches of ``schema``.

        Returns:
            The next ledger wanted, when the destination holds earlier ones of this request (rows written
            after its last checkpoint must be dropped here); None to begin at ``request.start``.
        """

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Take the rows of ledgers ``cursor.first`` to ``cursor.last``; a batch may have no rows."""

    def checkpoint(self) -> int | None:
        """Make everything written so far durable.

        Returns:
            The next ledger wanted after a restart from what is durable now, or None when nothing is.
        """

    def close(self, *, complete: bool = True) -> None:
        """Release all resources; called once after a successful :meth:`open`, and after a failed one.

        Args:
            complete: False when the run failed: what was written after the last checkpoint is to be dropped.
        """
