"""Several sources as one: a store followed by a live source, and equal sources that stand in for each other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from stellar_arrow_client.errors import GapError
from stellar_arrow_source.errors import NetworkMismatchError, SourceUnavailableError
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from stellar_arrow_source.ledgers.tally import FAILOVERS

_log = logging.getLogger(__name__)


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
        self.network_passphrase = _common_passphrase([history, live])
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
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        while not stop.is_set() and (end is None or start <= end):
            newest = self._history.bounds().latest
            if newest is None or newest < start:
                yield from self._from_live(start, end, newest, stop)
                return
            last = newest if end is None else min(newest, end)
            for ledger in self._history.ledgers(start, last, stop):
                yield ledger
                start = ledger.sequence + 1

    def close(self) -> None:
        """Close both."""
        self._history.close()
        self._live.close()

    def _from_live(self, start: int, end: int | None, newest: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        began = False
        try:
            for ledger in self._live.ledgers(start, end, stop):
                began = True
                yield ledger
        except GapError as error:
            if began or newest is None:
                raise
            raise GapError(
                f"ledger {start} is nowhere: {self._history.endpoint} ends with ledger {newest}, and {error}"
            ) from error


class Failover:
    """Equal sources: where one cannot be reached any more, the next goes on at the same ledger.

    Each has tried again by itself before it counts as away. Once all of them, one after the other, were away
    without giving a ledger, so is this one.

    Args:
        openers: endpoint → what opens it; one that cannot be reached is opened when its turn comes.

    Attributes:
        endpoint: all of them.
        network_passphrase: what those that are open declare.

    Raises:
        NetworkMismatchError: they declare different networks.
        SourceUnavailableError: none can be reached.
    """

    def __init__(self, openers: Mapping[str, Callable[[], LedgerSource]]) -> None:
        self.endpoint = ", ".join(openers)
        self._openers = list(openers.values())
        self._names = list(openers)
        self._sources: list[LedgerSource | None] = [None] * len(openers)
        self._opening = threading.Lock()
        self._at = 0
        away = 0
        for at in range(len(openers)):
            try:
                self._source(at)
            except SourceUnavailableError as error:
                away += 1
                self._move_on(at, error)
        if away == len(openers):
            raise self._none_left()

    @property
    def network_passphrase(self) -> str | None:
        return _common_passphrase([source for source in self._sources if source is not None])

    def bounds(self) -> Bounds:
        """What the source in use holds; what the next one does, if that cannot be reached.

        Raises:
            SourceUnavailableError: none can be reached.
        """
        for _ in self._sources:
            at = self._at
            try:
                return self._source(at).bounds()
            except SourceUnavailableError as error:
                self._move_on(at, error)
        raise self._none_left()

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        away = 0
        while not stop.is_set() and (end is None or start <= end):
            at = self._at
            try:
                for ledger in self._source(at).ledgers(start, end, stop):
                    yield ledger
                    start, away = ledger.sequence + 1, 0
            except SourceUnavailableError as error:
                away += 1
                self._move_on(at, error)
                if away == len(self._sources):
                    raise self._none_left() from error

    def close(self) -> None:
        """Close all."""
        for source in self._sources:
            if source is not None:
                source.close()

    def _source(self, at: int) -> LedgerSource:
        with self._opening:
            source = self._sources[at]
            if source is None:
                source = self._sources[at] = self._openers[at]()
                _common_passphrase([source for source in self._sources if source is not None])
            return source

    def _move_on(self, at: int, error: SourceUnavailableError) -> None:
        """Use the next source from now on, unless another thread has moved on already."""
        if self._at == at:
            self._at = (at + 1) % len(self._sources)
            FAILOVERS.add("failover")
            _log.warning("going on with %s: %s", self._names[self._at], error)

    def _none_left(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"none of the ledger sources can be reached: {self.endpoint}")


def _common_passphrase(sources: Sequence[LedgerSource]) -> str | None:
    declared = {source.network_passphrase: source for source in sources if source.network_passphrase is not None}
    if len(declared) > 1:
        named = " and ".join(f"{source.endpoint} ({passphrase!r})" for passphrase, source in declared.items())
        raise NetworkMismatchError(f"these sources are of different networks: {named}")
    return next(iter(declared), None)
