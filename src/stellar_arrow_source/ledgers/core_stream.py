"""Ledgers as stellar-core writes them: its ``METADATA_OUTPUT_STREAM``, a file that grows or a named pipe."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from stellar_arrow_client.errors import GapError, IntegrityError, StellarArrowError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, RawLedger

KEPT_BYTES = 256 << 20
"""XDR of a pipe's newest ledgers that is kept for readers: what a pipe has given, it does not give again."""

MAX_RECORD: Final = 1 << 30
"""Longest record that is read, in bytes."""

_LAST_FRAGMENT: Final = 1 << 31  # RFC 5531, section 11: the high bit marks the last fragment of a record
_GROWTH_SECONDS: Final = 0.02  # between two looks at the end of a file
_CHUNK: Final = 1 << 20
_MARK: Final = 4


class _Place(NamedTuple):
    """Where a ledger is: at ``offset`` in the file, or its XDR itself."""

    offset: int
    length: int
    digest: bytes
    xdr: bytes | None


class CoreStream:
    """Records that stellar-core writes one after the other, taken in by a thread as they come: each a 4-byte big-endian
    length with the high bit set, then one LedgerCloseMeta.

    Of a file all ledgers can be read, of a pipe the newest :data:`KEPT_BYTES`: nothing slows stellar-core down. What
    is damaged is an error at its place; the ledgers before it are sound.

    Args:
        path: of a file or a named pipe.
        endpoint: how the user named it.

    Raises:
        SourceUnavailableError: there is no such file, or it cannot be read.
    """

    network_passphrase: str | None = None

    def __init__(self, path: Path, *, endpoint: str) -> None:
        self.endpoint = endpoint
        self._path = path
        try:
            self._is_pipe = stat.S_ISFIFO(path.stat().st_mode)
            # Not to wait for a writer of the pipe.
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise SourceUnavailableError(f"cannot read {path}: {error.strerror}") from error
        self._readable = select.poll()  # select() knows no descriptor from 1024 on
        self._readable.register(self._file, select.POLLIN)
        self._oldest = 0
        self._places: deque[_Place] = deque()
        self._kept = 0
        self._failure: StellarArrowError | None = None
        self._grown = threading.Condition()
        self._closed = threading.Event()
        self._whole = threading.Event()
        """All that was there at first has been taken in."""
        threading.Thread(target=self._run, name="core-stream", daemon=True).start()

    def bounds(self) -> Bounds:
        """The ledgers that can be read; waits until what is there at first has been taken in.

        Raises:
            IntegrityError: the stream is damaged.
        """
        self._whole.wait()
        with self._grown:
            if not self._places:
                if self._failure is not None:
                    raise self._failure
                return Bounds(None, None)
            return Bounds(self._oldest, self._oldest + len(self._places) - 1)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        self._whole.wait()
        while not stop.is_set() and (end is None or start <= end):
            place = self._place(start)
            if place is None:
                continue
            yield RawLedger(start, place.xdr if place.xdr is not None else self._read(place))
            start += 1

    def close(self) -> None:
        """End the thread, which closes the file."""
        self._closed.set()
        self._whole.set()

    def _place(self, sequence: int) -> _Place | None:
        """Where a ledger is; None when it has not come within :data:`POLL_SECONDS`."""
        with self._grown:
            if not self._places or sequence >= self._oldest + len(self._places):
                if self._failure is not None:
                    raise self._failure
                if self._closed.is_set():
                    raise SourceUnavailableError(f"{self._path} has been closed")
                self._grown.wait(POLL_SECONDS)
                return None
            if sequence < self._oldest:
                raise GapError(
                    f"{self._path} gives ledger {self._oldest} and later ones, not ledger {sequence}: "
                    "read older ledgers from a store"
                )
            return self._places[sequence - self._oldest]

    def _read(self, place: _Place) -> bytes:
        xdr = os.pread(self._file, place.length, place.offset) if not self._closed.is_set() else b""
        if hashlib.sha256(xdr).digest() != place.digest:
            raise IntegrityError(f"{self._path} was changed at byte {place.offset} after it had been read")
        return xdr

    def _run(self) -> None:
        try:
            self._take_in()
        except (StellarArrowError, OSError) as error:
            failure = error if isinstance(error, StellarArrowError) else None
            self._failure = failure or SourceUnavailableError(f"cannot read {self._path}: {error}")
        finally:
            self._whole.set()
            with self._grown:
                self._grown.notify_all()

    def _take_in(self) -> None:
        buffer, at = bytearray(), 0
        while not self._closed.is_set():
            if not (data := self._more()):
                if self._is_pipe and buffer and not self._has_writer:
                    raise IntegrityError(f"{self._path} ended within a record: its writer has stopped")
                self._whole.set()
                self._closed.wait(_GROWTH_SECONDS)
                continue
            buffer += data
            while len(buffer) >= _MARK:
                length = int.from_bytes(buffer[:_MARK], "big") - _LAST_FRAGMENT
                if not 0 < length <= MAX_RECORD:
                    raise IntegrityError(
                        f"{self._path} has no valid record mark at byte {at}: it is no stream of metadata"
                    )
                if len(buffer) < _MARK + length:
                    break
                self._add(bytes(buffer[_MARK : _MARK + length]), at + _MARK)
                del buffer[: _MARK + length]
                at += _MARK + length
            if self._is_pipe and not self._readable.poll(0):
                self._whole.set()

    def _more(self) -> bytes:
        """What has been written since; empty when there is nothing yet."""
        self._has_writer = True
        if not self._is_pipe:
            return os.read(self._file, _CHUNK)
        if not self._readable.poll(1000 * POLL_SECONDS):
            return b""
        try:
            data = os.read(self._file, _CHUNK)
        except BlockingIOError:
            return b""
        self._has_writer = bool(data)
        return data

    def _add(self, xdr: bytes, offset: int) -> None:
        sequence, digest = ledger_sequence(xdr), hashlib.sha256(xdr).digest()
        with self._grown:
            due = self._oldest + len(self._places)
            if self._places and sequence < due:
                # stellar-core that was started again may write its last ledgers once more.
                known = self._places[sequence - self._oldest].digest if sequence >= self._oldest else digest
                if known != digest:
                    raise IntegrityError(f"{self._path} has two different ledgers {sequence}")
                return
            if self._places and sequence > due:
                raise GapError(f"{self._path} goes from ledger {due - 1} to ledger {sequence} at byte {offset}")
            if not self._places:
                self._oldest = sequence
            self._places.append(_Place(offset, len(xdr), digest, xdr if self._is_pipe else None))
            if self._is_pipe:
                self._kept += len(xdr)
                while self._kept > KEPT_BYTES and len(self._places) > 1:
                    self._kept -= self._places.popleft().length
                    self._oldest += 1
            self._grown.notify_all()
