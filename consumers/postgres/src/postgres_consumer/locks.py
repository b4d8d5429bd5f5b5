"""One writer of a table at a time, by advisory locks.

A run holds the lock ``(table, RUN)`` alone, from a connection that does nothing else. Each of its writers holds the
lock ``(table, WRITER)`` together with the others. Locks end with their connections; that of a run that was killed ends
at once, those of its writers when what they did last is decided. Hence a run begins when nobody has either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from postgres_consumer.errors import DatabaseError
from postgres_consumer.session import Connection, Database, Session
from postgres_consumer.tables import Table

RUN: Final = 0
WRITER: Final = 1
PATIENCE_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1


class WriterLock:
    """Held by one run, on all of its tables.

    Raises:
        DatabaseError: another process writes into one of them.
    """

    def __init__(self, database: Database, tables: Sequence[Table]) -> None:
        self._names = [str(table) for table in tables]
        self._session = Session(database, self._take)
        self._mutex = threading.Lock()
        self._begun = False

    def hold(self) -> None:
        """Take it, or see that it is still there; take it again after the connection broke."""
        with self._mutex:
            self._session.repeat(lambda connection: connection.execute("SELECT 1"), "lock the tables")

    def join(self, table: Table, connection: Connection) -> None:
        """Make a new connection one of the run's writers of a table."""
        self.hold()
        _wait_for(connection, "pg_try_advisory_lock_shared", str(table), WRITER)

    def close(self) -> None:
        """Let others write."""
        self._session.close()

    def _take(self, connection: Connection) -> None:
        for name in self._names:
            _wait_for(connection, "pg_try_advisory_lock", name, RUN)
            if not self._begun:  # later these are the run's own
                _wait_for(connection, "pg_try_advisory_lock", name, WRITER)
                connection.execute("SELECT pg_advisory_unlock(hashtext(%s), %s)", (name, WRITER))
        self._begun = True


def _wait_for(connection: Connection, function: str, name: str, kind: int) -> None:
    """Take a lock; one that its holder is about to lose is waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        taken = connection.execute(f"SELECT {function}(hashtext(%s), %s)", (name, kind)).fetchone()
        if taken == (True,):
            return
        if time.monotonic() >= deadline:
            raise DatabaseError(
                f"another process is writing into the table {name}; wait for it or choose another --table or --schema"
            )
        time.sleep(POLL_SECONDS)
