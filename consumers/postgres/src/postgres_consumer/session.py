"""Connections that are made again when they break."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from postgres_consumer.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    is_passing,
    sentence,
    typed_error,
)
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.policy import RetryPolicy

OLDEST_SERVER: Final = 14
"""Major version; the first with multiranges."""
TERMINATION_MILLISECONDS: Final = 10_000

# So that neither side waits for a peer that is gone; what DATABASE says goes first.
_DEFAULTS: Final = {
    "fallback_application_name": "postgres-consumer",
    "connect_timeout": os.environ.get("PGCONNECT_TIMEOUT", "10"),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# What the consumer relies on, whatever is usual for the user or the database.
_SETTINGS: Final = {
    "client_encoding": "UTF8",  # of text in COPY
    "client_min_messages": "warning",
    "DateStyle": "ISO",
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",  # writers change one checkpoint in turn
    "idle_in_transaction_session_timeout": "0",  # a COPY waits for rows
    "statement_timeout": "0",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

log = logging.getLogger(__name__)

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]


class Database:
    """Where to connect, and how long to try.

    Args:
        conninfo: URI or ``key=value`` text of libpq; what it does not say comes from the environment.

    Attributes:
        stop: ends waiting for a server that is away when it is set.

    Raises:
        InvalidRequestError: it is neither; the message does not repeat it, as it may hold a password.
    """

    def __init__(self, conninfo: str, retry: RetryPolicy) -> None:
        try:
            given = conninfo_to_dict(conninfo)
            mistaken = "@" in str(given.get("host", ""))
        except psycopg.Error:
            mistaken = True
        if mistaken:
            raise InvalidRequestError(
                "DATABASE is not a connection string of libpq; write postgresql://user@host:port/database (with "
                "%40 for an @ in a password) or 'service=name', or postgresql:// to take all from PG… variables"
            )
        self.conninfo = make_conninfo(conninfo, **{key: text for key, text in _DEFAULTS.items() if key not in given})
        self.retry = retry
        self.stop = threading.Event()
        self.reached = False  # once it was, it is waited for longer


class Session:
    """One connection in autocommit mode, used by one thread at a time.

    Args:
        prepare: called with every new connection.
    """

    def __init__(self, database: Database, prepare: Callable[[Connection], None] | None = None) -> None:
        self._database = database
        self._prepare = prepare
        self._connection: Connection | None = None
        self._identity: tuple[int, datetime] | None = None  # of the server's process
        self._failing_since: float | None = None
        self._attempts = 0
        self._waits = database.retry.waits()

    @property
    def connection(self) -> Connection:
        """The connection, made when there is none.

        Raises:
            psycopg.Error: it cannot be made.
        """
        return self._connection or self._connect()

    def repeat(self, work: Callable[[Connection], T], doing: str, *, keep: bool = True) -> T:
        """Do work in a transaction, and again when the connection breaks: it must be idempotent.

        Args:
            keep: whether to commit it; otherwise all is as it was before.

        Raises:
            StellarArrowError: it cannot be done, or the server stays away.
        """
        while True:
            try:
                connection = self.connection
                with connection.transaction(force_rollback=not keep):
                    done = work(connection)
            except psycopg.Error as error:
                self.recover(error, doing)
            else:
                self.succeeded()
                return done

    def recover(self, error: psycopg.Error, doing: str) -> None:
        """Drop the connection after an error and wait a little, if trying again makes sense.

        Raises:
            StellarArrowError: it does not, or it was tried for long enough.
        """
        self.close()
        if not is_passing(error):
            raise typed_error(error, doing) from error
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self._attempts += 1
        retry = self._database.retry
        if self._database.reached:
            exhausted = now - self._failing_since >= retry.retry_for
        else:
            exhausted = self._attempts >= retry.first_tries
        if exhausted or self._database.stop.wait(next(self._waits)):
            failure = typed_error(error, doing)
            raise failure if isinstance(failure, DatabaseUnavailableError) else DatabaseUnavailableError(str(failure))
        what = "the database broke off" if self._database.reached else "the database cannot be reached"
        log.warning("%s, trying again: %s", what, sentence(error))

    def succeeded(self) -> None:
        """Count failures anew."""
        if self._failing_since is not None:
            self._failing_since, self._attempts, self._waits = None, 0, self._database.retry.waits()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        connection: Connection = psycopg.connect(self._database.conninfo, autocommit=True)
        try:
            major = connection.info.server_version // 10_000
            if major < OLDEST_SERVER:
                raise DatabaseError(f"the server is PostgreSQL {major}; {OLDEST_SERVER} or newer is needed")
            connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in _SETTINGS.items()))
            self._end_predecessor(connection)
            identity = connection.execute(
                "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            ).fetchone()
            assert identity is not None
            if self._prepare is not None:
                self._prepare(connection)
        except BaseException:  # whatever it is, the connection does not stay open
            connection.close()
            raise
        self._connection, self._identity = connection, (identity[0], identity[1])
        self._database.reached = True
        return connection

    def _end_predecessor(self, connection: Connection) -> None:
        """See that the server's process of the broken connection is gone, so that what it did last is decided."""
        if self._identity is None:
            return
        alive = connection.execute(
            "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
            (TERMINATION_MILLISECONDS, *self._identity),
        ).fetchone()
        if alive is not None and not alive[0]:
            raise psycopg.OperationalError("the server's process of the broken connection does not end")
