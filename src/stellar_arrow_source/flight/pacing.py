"""Sends a stream no faster than its client may receive it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from stellar_arrow_client.request import Cursor
from stellar_arrow_source.flight.auth import Caller
from stellar_arrow_source.flight.cutting import Part
from stellar_arrow_source.flight.pipeline import HEARTBEAT_SECONDS, POLL_SECONDS


def paced(parts: Iterator[Part], caller: Caller, poll: Callable[[], None]) -> Iterator[Part]:
    """The parts, each held back, with heartbeats, while the caller has had its bytes of the second.

    ``poll`` is called at least every :data:`POLL_SECONDS` meanwhile, and ends the wait by raising.

    Raises:
        LimitError: the caller has had its bytes of the day.
    """
    for part in parts:
        said = time.monotonic()
        while (delay := caller.account.delay(caller.limits)) > 0:
            time.sleep(min(delay, POLL_SECONDS))
            poll()
            if time.monotonic() - said >= HEARTBEAT_SECONDS:
                yield Part(part.batch.slice(0, 0), Cursor(part.cursor.first, part.cursor.first - 1), 0)
                said = time.monotonic()
        # Counted before it is sent: whoever cancels after a batch has had it.
        caller.account.spend(caller.limits, part.nbytes)
        yield part
