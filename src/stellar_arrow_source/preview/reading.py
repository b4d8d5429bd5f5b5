"""Finds the first rows of a stream: reads on, a few ledgers at a time, until there are enough."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from stellar_arrow_client.errors import GapError, InvalidRequestError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.planning import StreamPlan
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource
from stellar_arrow_source.progress import Show

_log = logging.getLogger(__name__)

MAX_GROUP = 16
"""Most ledgers decoded at a time; the first group is one ledger, each group twice the one before."""


@dataclass(slots=True)
class Preview:
    """What was found.

    Attributes:
        rows: in the order of the stream, the columns asked for.
        first, last: the ledgers looked through; None before the first.
        passphrase: of the network, None while it is not known.
        skipped: "stream: reason" → number of what gave no row although its kind should.
    """

    rows: pa.Table
    first: int | None = None
    last: int | None = None
    passphrase: str | None = None
    skipped: Counter[str] = field(default_factory=Counter)


def read_rows(
    source: LedgerSource,
    tables: Tables,
    plan: StreamPlan,
    *,
    rows: int,
    ledgers: int,
    passphrase: str | None,
    stop: threading.Event,
    show: Show,
) -> Preview:
    """Read until there are ``rows`` rows or ``ledgers`` ledgers have been looked through, or ``stop`` is set.

    From ``plan.request.start`` on; without a start the newest ledgers that together hold enough.

    Raises:
        InvalidRequestError: the source does not have the start, or does not tell what it has.
        SourceUnavailableError: it does not answer, or has no ledger.
        GapError: a ledger is missing from ``start`` on, or the newest one is.
        IntegrityError, DecodeError, NetworkMismatchError: of the source and the decoder.
    """
    decoder = tables.decoder({plan.stream.name: plan.columns}, passphrase=passphrase)
    found = Preview(pa.table([]), passphrase=passphrase)
    parts = [plan.schema.empty_table()]
    bounds, start = source.bounds(), plan.request.start
    groups = _newest(source, bounds, ledgers) if start is None else _from(source, bounds, start, ledgers)
    for first, last in groups:
        try:
            raw = list(source.ledgers(first, last, stop))
        except GapError as error:
            if start is not None or found.first is None:
                raise
            _log.warning("%s", error)  # what is newer has been read
            break
        if stop.is_set():
            break
        decoded = decoder.decode([ledger.xdr for ledger in raw])
        batch = decoded.batches[plan.stream.name]
        if plan.row_filter is not None:
            batch, _ = plan.row_filter.apply(batch, decoded.row_ends[plan.stream.name])
        parts.insert(0 if start is None else len(parts), pa.Table.from_batches([batch.select(plan.schema.names)]))
        found.first, found.last = min(first, found.first or first), max(last, found.last or last)
        found.passphrase = decoded.passphrase
        found.skipped.update(decoded.skipped)
        show(len(raw), last)
        if sum(part.num_rows for part in parts) >= rows:
            break
    found.rows = pa.concat_tables(part.replace_schema_metadata() for part in parts).slice(0, rows)
    return found


def _newest(source: LedgerSource, bounds: Bounds, ledgers: int) -> Iterator[tuple[int, int]]:
    """Groups from the newest ledger back."""
    if bounds.latest is None:
        if bounds.oldest is None:
            raise InvalidRequestError(f"{source.endpoint} has no ledger, or does not tell which: give --start")
        raise SourceUnavailableError(f"{source.endpoint} has no ledger yet; try again later")
    end, size = bounds.latest, 1
    oldest = max(bounds.oldest or 1, end - ledgers + 1)
    while end >= oldest:
        first = max(oldest, end - size + 1)
        yield first, end
        end, size = first - 1, min(2 * size, MAX_GROUP)


def _from(source: LedgerSource, bounds: Bounds, start: int, ledgers: int) -> Iterator[tuple[int, int]]:
    """Groups from ``start`` on."""
    end = start + ledgers - 1
    if bounds.latest is not None:
        if start > bounds.latest:
            raise InvalidRequestError(
                f"ledger {start} is not there yet: {source.endpoint} ends with ledger {bounds.latest}; start before it"
            )
        end = min(end, bounds.latest)
    size = 1
    while start <= end:
        last = min(end, start + size - 1)
        yield start, last
        start, size = last + 1, min(2 * size, MAX_GROUP)
