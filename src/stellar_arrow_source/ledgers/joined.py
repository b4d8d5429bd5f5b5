"""A store followed by a live source, as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stellar_arrow_client.errors import GapError
from stellar_arrow_source.ledgers.header import require_successor
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger, common_passphrase


class HistoryAndLive:
    """A source that begins in ``history`` and goes over to ``live`` where that ends, without a gap or a double.

    Attributes:
        endpoint: both.
        network_passphrase: what either of them declares.

    Raises:
        NetworkMismatchError: they declare different networks.
    """

    def __init__(self, history: LedgerSource, live: LedgerSource) -> None:
        self.endpoint = f"{history.endpoint}, then {live.endpoint}"
        self.network_passphrase = common_passphrase([history, live])
        self._history, self._live = history, live

    def bounds(self) -> Bounds:
        """From the oldest ledger of history to the newest one of either.

        Raises:
            SourceUnavailableError: either does not answer.
        """
        history, live = self._history.bounds(), self._live.bounds()
        latest = max((bounds.latest for bounds in (history, live) if bounds.latest is not None), default=None)
        return Bounds(live.oldest if history.latest is None else history.oldest, latest)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`.

        Raises:
            IntegrityError: the first ledger of ``live`` does not follow the last one of ``history``.
        """
        before: RawLedger | None = None
        while not stop.is_set() and (end is None or start <= end):
            newest = self._history.bounds().latest
            if newest is None or newest < start:
                yield from self._from_live(start, end, newest, before, stop)
                return
            last = newest if end is None else min(newest, end)
            for ledger in self._history.ledgers(start, last, stop):
                yield ledger
                start, before = ledger.sequence + 1, ledger

    def close(self) -> None:
        """Close both."""
        self._history.close()
        self._live.close()

    def _from_live(
        self, start: int, end: int | None, newest: int | None, before: RawLedger | None, stop: threading.Event
    ) -> Iterator[RawLedger]:
        began = False
        try:
            for ledger in self._live.ledgers(start, end, stop):
                if before is not None and not began:
                    require_successor(before.xdr, ledger.xdr, self._live.endpoint)
                began = True
                yield ledger
        except GapError as error:
            if began or newest is None:
                raise
            raise GapError(
                f"ledger {start} is nowhere: {self._history.endpoint} ends with ledger {newest}, and {error}"
            ) from error
