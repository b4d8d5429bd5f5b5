"""The sink of one table: batches in, one transaction for rows and checkpoint out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import psycopg
import pyarrow as pa
from psycopg import sql

from postgres_consumer.checkpoints import Checkpoints
from postgres_consumer.columns import Encoder
from postgres_consumer.errors import TableIntegrityError
from postgres_consumer.locks import WriterLock
from postgres_consumer.session import Connection, Database, Session
from postgres_consumer.tables import Partitions, Table
from stellar_arrow_client.contents import check_unchanged
from stellar_arrow_client.request import Cursor, StreamRequest

COMMIT_BYTES: Final = 32 * 2**20
"""Arrow bytes after which a transaction ends at the latest: they are held until then, to be sent again if need be."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """A table that is ready to be written; shared by all writers of it.

    Attributes:
        schema: of the stream.
        commit_rows: after how many rows a transaction ends at the latest.
    """

    database: Database
    table: Table
    checkpoints: Checkpoints
    partitions: Partitions
    lock: WriterLock
    schema: pa.Schema
    commit_rows: int


class PostgresSink:
    """Writes a range of ledgers of one stream into its table; implements :class:`stellar_arrow_client.sink.Sink`.

    Rows are sent as they come, in a transaction that ends with the checkpoint. Until it is committed they are held, so
    that they can be sent again when the connection breaks.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._encoder = Encoder(target.schema)
        self._session = Session(target.database, partial(target.lock.join, target.table))
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._first: int | None = None  # of the ledgers that are pending
        self._next: int | None = None
        self._copy: _Copy | None = None
        self._durable: int | None = None

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """See that the stream still is what the table was prepared for.

        Returns:
            None: a run asks only for ledgers that the table lacks.

        Raises:
            IntegrityError: the stream has changed in the meantime.
        """
        check_unchanged(schema, self._target.schema, request.stream)
        return None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Take the rows of whole ledgers, and send them.

        Raises:
            StellarArrowError: the database refuses them, or stays away.
        """
        lacking = self._target.partitions.lacking(batch)
        if lacking:
            self.checkpoint()  # a COPY that runs would not see them
            self._target.partitions.create(self._session, lacking)
        if self._first is None:
            self._first = cursor.first
        self._next = cursor.cursor
        if batch.num_rows:
            self._pending.append(batch)
            self._rows += batch.num_rows
            self._bytes += batch.nbytes
            self._until_done(self._send)
        if self._rows >= self._target.commit_rows or self._bytes >= COMMIT_BYTES:
            self.checkpoint()

    def checkpoint(self) -> int | None:
        """Commit what was written together with the checkpoint.

        Returns:
            The next ledger wanted; None when nothing was written yet.

        Raises:
            StellarArrowError: it cannot be committed.
        """
        if self._first is not None:
            self._until_done(self._commit)
            self._session.succeeded()
            self._durable, self._first = self._next, None
            self._pending.clear()
            self._rows = self._bytes = 0
        return self._durable

    def close(self, *, complete: bool = True) -> None:
        """Close the connection; what was not committed is rolled back."""
        self._drop_copy()
        self._session.close()

    @property
    def _doing(self) -> str:
        return f"write into the table {self._target.table}"

    def _send(self) -> None:
        """Send what is pending and not sent yet."""
        if self._copy is None:
            connection = self._session.connection
            connection.execute("BEGIN")
            self._copy = _Copy(connection, self._target.table, self._encoder)
        self._copy.send(self._pending)

    def _commit(self) -> None:
        target, connection = self._target, self._session.connection
        assert self._first is not None
        assert self._next is not None
        first, last = self._first, self._next - 1
        # A commit whose answer was lost may have come to pass.
        if self._copy is None and target.checkpoints.holds(connection, target.table, first, last):
            return
        if self._pending:
            self._send()
            assert self._copy is not None
            self._copy.finish()
        else:
            connection.execute("BEGIN")
        if not target.checkpoints.add(connection, target.table, first, last):
            raise TableIntegrityError(
                f"ledgers {first} to {last} were added to the checkpoint of {target.table} by somebody else, or it was "
                "deleted; let only one writer at a time have the table, and run the same command again"
            )
        connection.execute("COMMIT")
        self._copy = None

    def _until_done(self, work: Callable[[], T]) -> T:
        """Do work, and all that is pending again on another connection when one breaks."""
        while True:
            try:
                return work()
            except psycopg.Error as error:
                self._drop_copy()
                self._session.recover(error, self._doing)

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.abandon()
            self._copy = None


class _Copy:
    """A COPY under way."""

    def __init__(self, connection: Connection, table: Table, encoder: Encoder) -> None:
        self._encoder = encoder
        self._encoding = encoder.start()
        self._sent = 0
        self._stack = ExitStack()
        names = sql.SQL(", ").join(map(sql.Identifier, encoder.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT binary)").format(table.identifier, names)
        self._copy = self._stack.enter_context(connection.cursor().copy(statement))
        self._copy.write(self._encoding.write_header())

    def send(self, batches: list[pa.RecordBatch]) -> None:
        """Send those of the batches that were not sent yet."""
        for batch in batches[self._sent :]:
            for rows in self._encoder.slices(batch):
                self._copy.write(self._encoding.write_batch(rows))
            self._sent += 1

    def finish(self) -> None:
        """Send the end, and wait until the server has taken all rows."""
        self._copy.write(self._encoding.finish())
        self._stack.close()

    def abandon(self) -> None:
        """Break it off."""
        with suppress(psycopg.Error):
            self._stack.__exit__(psycopg.OperationalError, psycopg.OperationalError("abandoned"), None)
