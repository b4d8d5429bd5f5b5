"""A range read from several servers at the same time; its rows leave in the order of the ledgers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client.errors import IntegrityError, LimitError, StellarArrowError, UnavailableError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.stream import POLL_SECONDS, Opener, Translator, read_stream
from stellar_arrow_client.transport import Address

LEAST_LEDGERS: Final = 128
"""A range that is smaller is not worth the questions that sharing it begins with."""
MARGIN_LEDGERS: Final = 64
"""How far from the tip sharing ends: the servers need not know of the newest ledgers at the same moment."""

FIRST_PART, LARGEST_PART = 64, 16_384
"""Ledgers of a part. Parts begin at multiples of their size, as the files of stores do."""
SHORT_SECONDS: Final = 0.5
"""A part that takes less is followed by larger ones: each costs a call."""
PART_BYTES: Final = 16 << 20
"""A part that has more is followed by smaller ones: all but the first wait in memory."""

SERVER_BYTES, MOST_BYTES = 32 << 20, 256 << 20
"""Rows that wait for their turn: of one reading for each server, and of all readings of a client."""

ANSWER_SECONDS: Final = 5.0
"""How long a server may take to answer before another one is asked."""
FIRST_REST, LONGEST_REST = 5.0, 60.0
"""Seconds that a server is left alone that could not be read from: twice as long each time in a row."""
HEARTBEAT_SECONDS: Final = 1.0

log = logging.getLogger(__name__)

Batches = Generator[tuple[pa.RecordBatch, Cursor], None, None]


class Server:
    """One of the servers that share the work.

    Attributes:
        is_asked: whether it is the one that the client was given, whose word counts.
    """

    def __init__(self, address: Address, opener: Opener, translate: Translator, *, is_asked: bool = False) -> None:
        self.address, self.is_asked = address, is_asked
        self.translate = translate
        self._opener = opener
        self._rest, self._rests_until = FIRST_REST, float("-inf")
        self._told = False

    @property
    def usable(self) -> bool:
        return self.is_asked or time.monotonic() >= self._rests_until

    def avoid(self, error: StellarArrowError) -> None:
        """Leave it alone for a while, and say so, the first time loudly."""
        self._rests_until = time.monotonic() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)
        log.log(
            logging.DEBUG if self._told else logging.WARNING,
            "cannot read from %s, reading from other servers instead: %s", self.address, error,
        )  # fmt: skip
        self._told = True

    def trust(self) -> None:
        """It has done what it was to do."""
        self._rest = FIRST_REST

    def open(self, request: StreamRequest, schema: pa.Schema) -> flight.FlightStreamReader:
        """Begin to read.

        Raises:
            UnavailableError: it serves another schema, and is not the server that was asked.
            IntegrityError: it is.
        """
        reader = self._opener(request)
        if not reader.schema.equals(schema, check_metadata=True):
            reader.cancel()
            if self.is_asked:
                raise IntegrityError(f"the columns of {request.stream} changed while it was being read; start again")
            raise UnavailableError(
                f"its {request.stream} has other columns, or is of another network; all servers must be of one version"
            )
        return reader


class Room:
    """What all readings of a client may hold, in equal shares."""

    def __init__(self) -> None:
        self._readings = 0
        self._lock = threading.Lock()

    def share(self, servers: int) -> int:
        """Bytes for one reading from so many servers."""
        return min(SERVER_BYTES * servers, MOST_BYTES // max(1, self._readings))

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the place of a reading."""
        with self._lock:
            self._readings += 1
        try:
            yield
        finally:
            with self._lock:
                self._readings -= 1


class Sharing(NamedTuple):
    """How a range can be shared.

    Attributes:
        last: the last ledger that can be.
        schema: of the batches.
        servers: that share it, at least two.
        asked: the server that was asked, which serves what the others cannot.
        room: of the client.
    """

    last: int
    schema: pa.Schema
    servers: Sequence[Server]
    asked: Server
    room: Room


def read_shared(
    request: StreamRequest,
    share: Callable[[StreamRequest], Sharing | None],
    alone: Callable[[StreamRequest], Batches],
    *,
    most: int,
    idle_timeout: float,
    stop: threading.Event,
    heartbeats: bool,
    on_reconnect: Callable[[StellarArrowError], None] | None,
) -> Batches:
    """Batches of whole ledgers, as :func:`~stellar_arrow_client.stream.read_stream` gives them.

    What no server can serve at the moment is read by ``alone``, which has the patience to wait for one.

    Args:
        share: finds out how a range can be shared; None when it cannot.
        alone: reads a range from one server.
        most: streams to read at a time.
    """
    while (sharing := share(request)) is not None:
        reading = _Reading(replace(request, end=sharing.last), sharing, most, idle_timeout)
        done, patiently = sharing.last, False
        try:
            with sharing.room.taken():
                yield from reading.batches(stop, heartbeats, on_reconnect)
        except LimitError as error:
            log.warning("reading %s from one server only: %s", request.stream, error)
            request = request.resumed_at(reading.position)
            break
        except UnavailableError as error:
            if on_reconnect is not None:
                on_reconnect(error)
            done, patiently = reading.end_of_part, True
        if patiently:
            yield from alone(replace(request, start=reading.position, end=done))
        if stop.is_set() or done == request.end:
            return
        request = request.resumed_at(done + 1)
    yield from alone(request)


@dataclass(eq=False)
class _Part:
    number: int
    first: int
    last: int
    batches: deque[tuple[pa.RecordBatch, Cursor]] = field(default_factory=deque)
    complete: bool = False
    failure: StellarArrowError | None = None


class _Reading:
    """Reads the parts of one range, each from one server after the other until one has given it whole.

    Attributes:
        position: the next ledger to be given out.
        end_of_part: the last ledger of the part that it belongs to.
    """

    def __init__(self, request: StreamRequest, sharing: Sharing, most: int, idle_timeout: float) -> None:
        assert request.start is not None
        self.position = self.end_of_part = request.start
        self._request = request
        self._sharing = sharing
        self._lanes = min(most, len(sharing.servers))
        self._once = RetryPolicy(retry_for=0, first_tries=1, connect_timeout=ANSWER_SECONDS, idle_timeout=idle_timeout)
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._parts: deque[_Part] = deque()
        self._begun, self._next, self._size = 0, request.start, FIRST_PART
        self._held_bytes = 0
        self._breaks: deque[StellarArrowError] = deque()

    def batches(
        self, stop: threading.Event, heartbeats: bool, on_reconnect: Callable[[StellarArrowError], None] | None
    ) -> Batches:
        """The batches in order; ends early when ``stop`` is set.

        Raises:
            UnavailableError: no server can serve the part that is next now.
            StellarArrowError: what the server that was asked says.
        """
        threads = [
            threading.Thread(target=self._lane, name=f"read {self._request.stream} {number}", daemon=True)
            for number in range(self._lanes)
        ]
        for thread in threads:
            thread.start()
        empty = pa.RecordBatch.from_arrays(
            [pa.array([], field.type) for field in self._sharing.schema], schema=self._sharing.schema
        )
        said = time.monotonic()
        try:
            while self.position <= self._sharing.last and not stop.is_set():
                item = self._take()
                while self._breaks and on_reconnect is not None:
                    on_reconnect(self._breaks.popleft())
                if item is not None:
                    self.position = item[1].cursor
                elif heartbeats and time.monotonic() - said >= HEARTBEAT_SECONDS:
                    item = empty, Cursor(self.position, self.position - 1)
                if item is not None:
                    yield item
                    said = time.monotonic()
        finally:
            with self._changed:
                self._ended.set()
                self._changed.notify_all()
            for thread in threads:
                thread.join()

    def _take(self) -> tuple[pa.RecordBatch, Cursor] | None:
        """The next batch, None when it does not come soon."""
        with self._changed:
            self._changed.wait_for(lambda: self._parts and self._can_take(self._parts[0]), POLL_SECONDS)
            if not self._parts:
                return None
            head = self._parts[0]
            self.end_of_part = head.last
            if head.batches:
                item = head.batches.popleft()
                self._held_bytes -= item[0].nbytes
                self._changed.notify_all()
                return item
            if head.failure is not None:
                raise head.failure
            if head.complete:
                self._parts.popleft()
                self._changed.notify_all()
            return None

    @staticmethod
    def _can_take(part: _Part) -> bool:
        return bool(part.batches) or part.complete or part.failure is not None

    def _lane(self) -> None:
        while (part := self._begin()) is not None:
            began, failure, nbytes = time.monotonic(), None, 0
            try:
                nbytes = self._read(part)
            except StellarArrowError as error:
                failure = error
            except Exception as error:  # raised by whoever waits for the part
                failure = self._sharing.asked.translate(error)
                failure.__cause__ = error
            with self._changed:
                part.failure, part.complete = failure, failure is None
                self._adapt(part, nbytes, time.monotonic() - began)
                self._changed.notify_all()
            if failure is not None:
                return

    def _begin(self) -> _Part | None:
        """The next part to read, once there is room for it; None when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended.is_set() or len(self._parts) < 2 * self._lanes)
            if self._ended.is_set() or self._next > self._sharing.last:
                return None
            last = min(self._next - self._next % self._size + self._size - 1, self._sharing.last)
            part = _Part(self._begun, self._next, last)
            self._parts.append(part)
            self._begun, self._next = self._begun + 1, last + 1
            return part

    def _read(self, part: _Part) -> int:
        """Read a part; returns its bytes."""
        position, nbytes = part.first, 0
        for server in self._order(part):
            request = replace(self._request, start=position, end=part.last)
            try:
                with closing(self._stream(server, request)) as batches:
                    for batch, cursor in batches:
                        self._put(part, batch, cursor)
                        position, nbytes = cursor.cursor, nbytes + batch.nbytes
                server.trust()
                return nbytes
            except LimitError:
                raise
            except StellarArrowError as error:
                if server.is_asked:
                    raise
                server.avoid(error)
                if position > part.first:
                    self._breaks.append(error)
        return nbytes

    def _order(self, part: _Part) -> list[Server]:
        """Where to read a part: by its number, so that streams of the same range meet, and share what is decoded."""
        usable = [server for server in self._sharing.servers if server.usable]
        first = part.number % len(usable) if usable else 0
        return [*(usable[first:] + usable[:first])[:2], self._sharing.asked]

    def _stream(self, server: Server, request: StreamRequest) -> Batches:
        return read_stream(
            request,
            lambda asked: server.open(asked, self._sharing.schema),
            server.translate,
            stop=self._ended,
            retry=self._once,
        )

    def _put(self, part: _Part, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Add a batch when there is room for it; one of the part that is next always has some."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._ended.is_set()
                    or self._held_bytes + batch.nbytes <= self._sharing.room.share(self._lanes)
                    or (part is self._parts[0] and not part.batches)
                )
            )
            part.batches.append((batch, cursor))
            self._held_bytes += batch.nbytes
            self._changed.notify_all()

    def _adapt(self, part: _Part, nbytes: int, seconds: float) -> None:
        size = part.last - part.first + 1
        if nbytes > PART_BYTES and size == self._size:
            self._size = max(1, self._size // 2)
        elif seconds < SHORT_SECONDS and 2 * nbytes <= PART_BYTES and size == self._size:
            self._size = min(2 * self._size, LARGEST_PART)
