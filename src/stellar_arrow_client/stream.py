"""One stream, whole: whatever breaks on the way, every ledger arrives once and in order."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client.errors import (
    GapError,
    IntegrityError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import LEDGER, Cursor, StreamRequest

POLL_SECONDS: Final = 0.1
PREFETCHED_BATCHES: Final = 4
MAX_LEDGER_BYTES: Final = 1 << 30

log = logging.getLogger(__name__)

Opener = Callable[[StreamRequest], flight.FlightStreamReader]
Translator = Callable[[Exception], StellarArrowError]
_End = StellarArrowError | None


class Assembler:
    """Checks that batches follow each other exactly, and joins the parts of a ledger that was split.

    Nothing of a ledger leaves before it is complete, so that a break in the middle of one loses nothing (the
    parts are asked for again) and doubles nothing (the parts that came were not given out).
    """

    def __init__(self, request: StreamRequest) -> None:
        self.next_ledger = request.start
        self._request = request
        self._schema: pa.Schema | None = None
        self._parts: list[pa.RecordBatch] = []
        self._held_bytes = 0

    def drop_parts(self) -> None:
        """Forget the parts of an incomplete ledger: they will come again."""
        self._parts.clear()
        self._held_bytes = 0

    def check_schema(self, schema: pa.Schema) -> None:
        """A server may be replaced while we stream; its batches may not change their form."""
        if self._schema is not None and not schema.equals(self._schema):
            raise IntegrityError(f"the columns of {self._request.stream} changed while it was being read; start again")
        self._schema = schema

    def add(self, batch: pa.RecordBatch, cursor: Cursor) -> tuple[pa.RecordBatch, Cursor] | None:
        """Take the next batch.

        Returns:
            The rows of complete ledgers, or a heartbeat (no rows, and a cursor that does not advance);
            None while a split ledger is incomplete.

        Raises:
            GapError: ledgers are missing.
            IntegrityError: ledgers are repeated, are out of the range asked for, or contradict their rows.
        """
        self._check(batch, cursor)
        if not cursor.advances:
            if batch.num_rows:
                self._hold(batch, cursor.first)
                return None
            return None if self._parts else (batch, cursor)
        self.next_ledger = cursor.cursor
        if not self._parts:
            return batch, cursor
        self._hold(batch, cursor.first)
        whole = pa.Table.from_batches(self._parts).combine_chunks().to_batches()
        self.drop_parts()
        return whole[0], cursor

    def _hold(self, batch: pa.RecordBatch, ledger: int) -> None:
        self._held_bytes += batch.nbytes
        if self._held_bytes > MAX_LEDGER_BYTES:
            raise IntegrityError(f"the rows of ledger {ledger} alone exceed {MAX_LEDGER_BYTES} bytes")
        self._parts.append(batch)

    def _check(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        stream, end = self._request.stream, self._request.end
        if self.next_ledger is None:
            self.next_ledger = cursor.first
        if cursor.first > self.next_ledger:
            raise GapError(
                f"{stream}: ledgers {self.next_ledger} to {cursor.first - 1} are missing, "
                f"the server went on with {cursor.first}"
            )
        if cursor.first < self.next_ledger:
            raise IntegrityError(f"{stream}: the server sent ledger {cursor.first} where {self.next_ledger} was next")
        if end is not None and cursor.last > end:
            raise IntegrityError(f"{stream}: the server sent ledger {cursor.last}, {end} was to be the last")
        if batch.num_rows and LEDGER in batch.schema.names:
            column = batch.column(LEDGER)
            low, high = column[0].as_py(), column[-1].as_py()
            if not cursor.first <= low <= high <= max(cursor.last, cursor.first):
                raise IntegrityError(
                    f"{stream}: a batch of ledgers {cursor.first} to {cursor.last} has rows of {low} to {high}"
                )


class _Feed:
    """One Flight call, read by a thread of its own a few batches ahead.

    The caller never blocks in Flight: it can be interrupted, and it sees a connection that has gone silent.
    """

    def __init__(self, request: StreamRequest, open_reader: Opener, translate: Translator) -> None:
        self._items: queue.Queue[flight.FlightStreamChunk | pa.Schema | _End] = queue.Queue(PREFETCHED_BATCHES)
        self._closed = threading.Event()
        self._reader: flight.FlightStreamReader | None = None
        self._translate = translate
        self._thread = threading.Thread(
            target=self._read, args=(request, open_reader), name=f"read {request.stream}", daemon=True
        )
        self._thread.start()

    def get(self, timeout: float) -> flight.FlightStreamChunk | pa.Schema | _End:
        """The schema, then chunks, then the error that ended the call or None at its end.

        Raises:
            queue.Empty: nothing came in time.
        """
        return self._items.get(timeout=timeout)

    def close(self) -> None:
        """Cancel the call and leave nothing behind."""
        self._closed.set()
        if self._reader is not None:
            self._reader.cancel()
        self._thread.join(timeout=1)

    def _read(self, request: StreamRequest, open_reader: Opener) -> None:
        end: _End = None
        try:
            self._reader = open_reader(request)
            self._put(self._reader.schema)
            while not self._closed.is_set():
                self._put(self._reader.read_chunk())
        except StopIteration:
            pass
        except Exception as error:  # raised by whoever reads the stream
            end = self._translate(error)
            if end is not error:
                end.__cause__ = error
        if self._closed.is_set() and self._reader is not None:
            self._reader.cancel()
        self._put(end)

    def _put(self, item: flight.FlightStreamChunk | pa.Schema | _End) -> None:
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue


def read_stream(
    request: StreamRequest,
    open_reader: Opener,
    translate: Translator,
    *,
    stop: threading.Event,
    retry: RetryPolicy,
    heartbeats: bool = False,
    on_reconnect: Callable[[StellarArrowError], None] | None = None,
) -> Generator[tuple[pa.RecordBatch, Cursor], None, None]:
    """Batches of whole ledgers until the range is complete or ``stop`` is set.

    Args:
        open_reader: makes the Flight call.
        translate: gives the typed error for what the call raised.
        heartbeats: give out the batches without news too (see :class:`~stellar_arrow_client.request.Cursor`).
        on_reconnect: told why a stream broke that will be resumed.

    Raises:
        StellarArrowError: an error that no retry can heal, or the last one when the retries are used up.
    """
    assembler = Assembler(request)
    failures, waits, last_news = 0, retry.waits(), None
    while True:
        feed = _Feed(
            request if assembler.next_ledger is None else request.resumed_at(assembler.next_ledger),
            open_reader,
            translate,
        )
        error: StellarArrowError | None = None
        try:
            for item in _items(feed, stop, retry):
                if isinstance(item, pa.Schema):
                    assembler.check_schema(item)
                    continue
                failures, waits, last_news = 0, retry.waits(), time.monotonic()
                metadata = item.app_metadata.to_pybytes() if item.app_metadata else b""
                out = assembler.add(item.data, Cursor.from_metadata(metadata))
                if out is not None and (heartbeats or out[1].advances):
                    yield out
                if request.end is not None and assembler.next_ledger == request.end + 1:
                    return
            if stop.is_set():
                return
            error = UnavailableError(f"the server ended {request.stream} before it was complete")
        except UnavailableError as unavailable:
            error = unavailable
        finally:
            feed.close()
            assembler.drop_parts()
        failures += 1
        if last_news is None:
            exhausted = failures >= retry.first_tries
        else:
            exhausted = time.monotonic() - last_news >= retry.retry_for
        wait = max(next(waits), error.retry_after or 0.0)
        if exhausted or (error.retry_after or 0.0) > retry.retry_for:
            raise error
        log.warning("reading %s broke, trying again: %s", request.stream, error)
        if on_reconnect is not None:
            on_reconnect(error)
        if stop.wait(wait):
            return


def _items(feed: _Feed, stop: threading.Event, retry: RetryPolicy) -> Iterator[flight.FlightStreamChunk | pa.Schema]:
    """What the feed gives until it ends or ``stop`` is set; raises the error that ended it."""
    patience = retry.connect_timeout
    deadline = time.monotonic() + patience
    while not stop.is_set():
        try:
            item = feed.get(POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() < deadline:
                continue
            raise UnavailableError(f"the server has sent nothing for {patience:g} seconds") from None
        if item is None:
            return
        if isinstance(item, StellarArrowError):
            raise item
        yield item
        patience = retry.idle_timeout
        deadline = time.monotonic() + patience
