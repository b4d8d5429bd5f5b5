"""From a request, as it comes over the wire, to what is to be sent; everything wrong with it is said here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import flight

from stellar_arrow_client.errors import GapError, InvalidRequestError
from stellar_arrow_client.request import MAX_TICKET_BYTES, StreamRequest
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.conditions import RowFilter, Span
from stellar_arrow_source.flight.source_watch import SourceWatch

if TYPE_CHECKING:
    from stellar_arrow_source.tables import Stream

MIN_ENDPOINT_LEDGERS = 1024
"""A sub-range for one server is not smaller: opening a stream must cost little against serving it."""

MAX_ENDPOINTS = 64

_ENDPOINT_ALIGNMENT = 64
"""Sub-ranges begin at multiples of the ledgers that one file of a SEP-54 store holds at most, by convention."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A request whose every part exists.

    Attributes:
        request: as asked, with the stream's own name instead of an alias.
        stream: its declaration.
        schema: Arrow schema of the batches.
        row_filter: the condition on rows, None for all rows.
    """

    request: StreamRequest
    stream: Stream
    schema: pa.Schema
    row_filter: RowFilter | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to decode: those to send, and those that the condition reads."""
        return tuple(dict.fromkeys((*self.schema.names, *(self.row_filter.columns if self.row_filter else ()))))

    @property
    def alone(self) -> bool:
        """Whether it is decoded by itself: the program for several streams marks nothing for opt-in columns, and what a
        condition on close times passes over, other streams read."""
        skips = self.row_filter is not None and self.row_filter.close_times != Span()
        return skips or any(column.opt_in for column in self.stream.select(self.columns))

    def reach(self, start: int, newest: int | None) -> tuple[int, int | None]:
        """First and last ledger from ``start`` on that can have rows, at least one; an endless request has no last one.

        What the source does not have yet is not passed over.
        """
        end = self.request.end
        low, high = self.row_filter.sequences if self.row_filter else Span()
        first = start if low is None or newest is None else max(start, min(low, newest + 1))
        if end is None:
            return first, None
        last = end if high is None or newest is None or end > newest else min(end, high)
        return (first, last) if first <= last else (end, end)


def plan(text: bytes | str, tables: Tables, passphrase: str | None) -> StreamPlan:
    """Read and check a ticket or descriptor.

    Raises:
        InvalidRequestError: malformed, or with a filter that is no condition on the stream.
        UnknownStreamError, UnknownColumnError: naming the nearest.
    """
    request = StreamRequest.parse(text)
    stream = tables.find(request.stream)
    row_filter = None
    if request.filter is not None:
        # Imported when asked for: the parser of SQL takes 8 MB.
        from stellar_arrow_source.flight.filters import parse_filter

        types = {column.name: column.type for column in stream.columns}
        row_filter = parse_filter(request.filter, types, stream.name)
    schema = stream.schema(request.columns, passphrase)
    return StreamPlan(dataclasses.replace(request, stream=stream.name), stream, schema, row_filter)


def descriptor_text(descriptor: flight.FlightDescriptor) -> bytes:
    """The request in a descriptor: its command, or the only element of its path.

    Raises:
        InvalidRequestError: it has neither.
    """
    if descriptor.descriptor_type == flight.DescriptorType.CMD:
        return bytes(descriptor.command)
    if descriptor.descriptor_type == flight.DescriptorType.PATH and len(descriptor.path) == 1:
        return bytes(descriptor.path[0])
    raise InvalidRequestError("a descriptor must hold one request, as its command or as the only element of its path")


def first_ledger(request: StreamRequest, watch: SourceWatch) -> int:
    """The ledger that a stream begins with: the one asked for, else the newest.

    Raises:
        GapError: the source begins later.
        SourceUnavailableError: the source does not answer, or has no ledger to begin with.
    """
    if request.start is None:
        return watch.latest()
    oldest = watch.bounds().oldest
    if oldest is not None and request.start < oldest:
        raise GapError(f"ledger {request.start} is not there: the source begins with ledger {oldest}; start from there")
    return request.start


def sub_requests(request: StreamRequest, servers: int = 1) -> Iterator[StreamRequest]:
    """The requests that together, in order, are ``request``: one each for the sub-ranges of a bounded range.

    Args:
        servers: how many share the work; several are given smaller parts, so that all have some.
    """
    if request.start is None or request.end is None:
        yield request
        return
    ledgers = request.end - request.start + 1
    least = MIN_ENDPOINT_LEDGERS if servers == 1 else _ENDPOINT_ALIGNMENT
    step = max(least, -(-ledgers // MAX_ENDPOINTS))
    step = -(-step // _ENDPOINT_ALIGNMENT) * _ENDPOINT_ALIGNMENT
    start = request.start
    while start <= request.end:
        end = min(request.end, start - start % step + step - 1)
        yield dataclasses.replace(request, start=start, end=end)
        start = end + 1


def criteria_text(criteria: bytes) -> str | None:
    """The stream that a listing is restricted to, or None.

    Raises:
        InvalidRequestError: not the name of a stream.
    """
    if not criteria:
        return None
    if len(criteria) > MAX_TICKET_BYTES:
        raise InvalidRequestError(f"the criteria have {len(criteria)} bytes; give the name of a stream")
    return StreamRequest.parse(criteria).stream
