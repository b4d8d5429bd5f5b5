"""Keeps an eye on the ledger source: whether it answers, how far it reaches, which network it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_source.errors import NetworkMismatchError, SourceUnavailableError
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource
from stellar_arrow_source.networks import network_name

LOOK_SECONDS = 2.0
"""How often the source is looked at."""

BOUNDS_MAX_AGE_SECONDS = 0.25
"""Requests within this time share one question to the source."""

NOT_LOOKED_YET = "the ledger source has not answered yet"
PREPARING = "the decoder is being compiled, as once on every machine"

_TRANSACTIONS = "transactions"

_log = structlog.get_logger(__name__)


class SourceWatch:
    """Opens the source and looks at it again and again from a thread.

    A source that cannot be reached is no reason to stop: the server says that it is not ready, and why, until
    the source answers. An endpoint that makes no sense and ledgers of another network than the one configured
    are one: ``on_fatal`` is called with the error, once.

    Attributes:
        passphrase: of the network, as configured, as the source declares it, or as found by the hashes of
            the newest ledger; None while it is not known.
        problem: why the source cannot be used now, or None.
    """

    def __init__(
        self,
        open_source: Callable[[], LedgerSource],
        tables: Tables,
        preparation: Preparation,
        *,
        passphrase: str | None,
        on_fatal: Callable[[StellarArrowError], None],
    ) -> None:
        self.passphrase = passphrase
        self.problem: str | None = NOT_LOOKED_YET
        self._open_source = open_source
        self._tables = tables
        self._preparation = preparation
        self._on_fatal = on_fatal
        self._source: LedgerSource | None = None
        self._network_checked = False
        self._bounds = Bounds(None, None)
        self._bounds_at = float("-inf")
        self._asking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source-watch", daemon=True)

    @property
    def source(self) -> LedgerSource:
        """The opened source.

        Raises:
            SourceUnavailableError: it could not be opened yet.
        """
        if self._source is None:
            raise SourceUnavailableError(self.problem or NOT_LOOKED_YET)
        return self._source

    @property
    def newest(self) -> int | None:
        """The newest ledger seen so far, without asking the source."""
        return self._bounds.latest

    def bounds(self) -> Bounds:
        """What the source holds now.

        Raises:
            SourceUnavailableError: the source does not answer.
        """
        source = self.source
        with self._asking:
            if time.monotonic() - self._bounds_at > BOUNDS_MAX_AGE_SECONDS:
                self._bounds = source.bounds()
                self._bounds_at = time.monotonic()
            return self._bounds

    def latest(self) -> int:
        """The newest ledger.

        Raises:
            SourceUnavailableError: the source does not answer, or has no ledger.
        """
        latest = self.bounds().latest
        if latest is None:
            raise SourceUnavailableError(f"{self.source.endpoint} has no ledger yet; try again later")
        return latest

    def look(self) -> None:
        """Open the source unless done, ask how far it reaches, and decode a ledger until the network is settled.

        Raises:
            InvalidRequestError: the endpoint makes no sense.
            SourceUnavailableError: the source does not answer.
            DecodeError: its newest ledger is damaged, or of a later protocol.
            NetworkMismatchError: the source holds another network than the one configured.
        """
        if self._source is None:
            self._source = self._open_source()
            self.passphrase = self.passphrase or self._source.network_passphrase
        latest = self.bounds().latest
        if latest is not None and not self._network_checked:
            self._learn_from(self._source, latest)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        if self._source is not None:
            self._source.close()

    def _learn_from(self, source: LedgerSource, latest: int) -> None:
        """Find the network by the hashes of the newest ledger's transactions; without one, the next ledger is tried."""
        ledger = next(source.ledgers(latest, latest, self._stop), None)
        if ledger is None:
            return
        self._preparation.start(ledger.xdr, self.passphrase)
        while not self._preparation.wait(_TRANSACTIONS, LOOK_SECONDS / 10):
            self.problem = PREPARING
            if self._stop.is_set():
                return
        decoded = self._tables.decoder({_TRANSACTIONS: None}, passphrase=self.passphrase).decode([ledger.xdr])
        if decoded.passphrase and decoded.batches[_TRANSACTIONS].num_rows:
            self._network_checked = True
            self.passphrase = decoded.passphrase
            _log.info("network found", network=network_name(decoded.passphrase), ledger=latest)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look_and_tell()
            self._stop.wait(LOOK_SECONDS)

    def _look_and_tell(self) -> None:
        before = self.problem
        try:
            self.look()
            self.problem = None
        except (InvalidRequestError, NetworkMismatchError) as error:
            self.problem = str(error)
            self._stop.set()
            self._on_fatal(error)
        except StellarArrowError as error:
            self.problem = str(error)
        except Exception:
            self.problem = "looking at the ledger source failed; see the server's log"
            _log.exception("looking at the ledger source failed")
        if self.problem is None and before is not None:
            _log.info("source answers", latest=self.newest)
        elif self.problem is not None and self.problem != before and not self._stop.is_set():
            _log.warning("source is not usable", reason=self.problem)
