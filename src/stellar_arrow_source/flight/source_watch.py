"""Keeps an eye on the ledger source: whether it answers, moves on, how far it reaches, which network it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import structlog

from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError
from stellar_arrow_source.errors import NetworkMismatchError, SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.hub import Wait
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.ledgers.header import ledger_close_time
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from stellar_arrow_source.monitoring.tip import Tip
from stellar_arrow_source.networks import network_name
from stellar_arrow_source.sparing import Sparing

LOOK_SECONDS = 2.0
"""How often the source is looked at."""

ANSWER_SECONDS = 15.0
"""A source that has not answered a question within this time does not answer."""

BOUNDS_MAX_AGE_SECONDS = 0.25
"""Requests within this time share one question to the source."""

GLANCE_SECONDS = 15.0
"""How often a ledger is read for its close time alone, while no stream reads the newest ones."""

NOT_LOOKED_YET = "the ledger source has not answered yet"
PREPARING = "the decoder is being compiled, as once on every machine"

_TRANSACTIONS = "transactions"

_log = structlog.get_logger(__name__)


class SourceState(StrEnum):
    """What can be said of a source."""

    OK = "ok"
    STARTING = "starting"
    UNREACHABLE = "unreachable"
    HUNG = "hung"
    """It is connected, but gives no answer, or no ledger that is due."""
    UNUSABLE = "unusable"
    """It answers, but with what cannot be served."""


class Condition(NamedTuple):
    """State of the source, and in a sentence why it cannot be used now; None when it can."""

    state: SourceState
    problem: str | None


class SourceWatch:
    """Opens the source and looks at it again and again from a thread.

    A source that cannot be reached is no reason to stop: the server says that it is not ready, and why, until
    the source answers. An endpoint that makes no sense and ledgers of another network than the one configured
    are one: ``on_fatal`` is called with the error, once.

    Args:
        stall_seconds: how long a source may give no ledger that is due before it counts as hung; 0 = for ever.
        waits: what streams wait for from the source now.

    Attributes:
        passphrase: of the network, as configured, as the source declares it, or as found by the hashes of
            the newest ledger; None while it is not known.
        tip: the newest ledger.
    """

    def __init__(
        self,
        open_source: Callable[[], LedgerSource],
        tables: Tables,
        preparation: Preparation,
        *,
        passphrase: str | None,
        on_fatal: Callable[[StellarArrowError], None],
        stall_seconds: float = 0.0,
        waits: Callable[[], Iterable[Wait]] = tuple,
    ) -> None:
        self.passphrase = passphrase
        self.tip = Tip()
        self._found = Condition(SourceState.STARTING, NOT_LOOKED_YET)
        self._open_source = open_source
        self._tables = tables
        self._preparation = preparation
        self._on_fatal = on_fatal
        self._stall_seconds = stall_seconds
        self._answer_seconds = min(ANSWER_SECONDS, stall_seconds or ANSWER_SECONDS)
        self._waits = waits
        self._source: LedgerSource | None = None
        self._network_checked = False
        self._glanced_at = float("-inf")
        self._bounds = Bounds(None, None)
        self._bounds_at = float("-inf")
        self._question: Future[Bounds] | None = None
        self._failure: str | None = None
        self._failing = Sparing()
        self._asking = threading.Lock()
        self._opening_since: float | None = None
        self._reading_since: float | None = None
        self._due: dict[int, float] = {}
        """Ledgers that streams wait for although the source has them → since when that is known."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source-watch", daemon=True)

    @property
    def source(self) -> LedgerSource:
        """The opened source.

        Raises:
            SourceUnavailableError: it could not be opened yet.
        """
        if self._source is None:
            raise SourceUnavailableError(self._found.problem or NOT_LOOKED_YET)
        return self._source

    @property
    def newest(self) -> int | None:
        """The newest ledger heard of so far, without asking the source."""
        return self.tip.newest

    @property
    def condition(self) -> Condition:
        """What is wrong with the source now; waits for nothing."""
        found = self._found
        if (since := self._opening_since) is not None and (seconds := time.monotonic() - since) > self._answer_seconds:
            return Condition(SourceState.HUNG, f"the ledger source has not answered for {seconds:.0f} s, to be opened")
        if found.problem is not None or not self._stall_seconds or self._source is None:
            return found
        return next((Condition(SourceState.HUNG, problem) for problem in self._stalls(self._source)), found)

    def bounds(self) -> Bounds:
        """What the source holds now.

        Raises:
            SourceUnavailableError: the source cannot be reached, or does not answer.
        """
        try:
            return self._answer()
        except TimeoutError:
            raise SourceUnavailableError(self._silence()) from None

    def latest(self) -> int:
        """The newest ledger.

        Raises:
            SourceUnavailableError: the source does not answer, or has no ledger.
        """
        latest = self.bounds().latest
        if latest is None:
            raise SourceUnavailableError(f"{self.source.endpoint} has no ledger yet; try again later")
        return latest

    def see(self, ledger: RawLedger) -> None:
        """A ledger has come from the source."""
        if ledger.sequence > self.tip.seen:
            self.tip.reach(ledger.sequence)
            with suppress(IntegrityError):  # the decoder will say what is wrong with it
                self.tip.see(ledger.sequence, ledger_close_time(ledger.xdr))

    def look(self) -> None:
        """Open the source unless done, ask how far it reaches, and read a ledger now and then.

        Raises:
            InvalidRequestError: the endpoint makes no sense.
            SourceUnavailableError: the source cannot be reached.
            TimeoutError: it does not answer.
            DecodeError: its newest ledger is damaged, or of a later protocol.
            NetworkMismatchError: the source holds another network than the one configured.
        """
        if self._source is None:
            self._opening_since = time.monotonic()
            try:
                self._source = self._open_source()
            finally:
                self._opening_since = None
            self.passphrase = self.passphrase or self._source.network_passphrase
        latest = self._answer().latest
        if latest is None:
            return
        now = time.monotonic()
        self._due = {wait.ledger: self._due.get(wait.ledger, now) for wait in self._waits() if wait.ledger <= latest}
        if not self._network_checked:
            self._learn_from(self._source, latest)
        elif latest > self.tip.seen and time.monotonic() - self._glanced_at > GLANCE_SECONDS:
            self._read(self._source, latest)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        if self._source is not None:
            self._source.close()

    def _answer(self) -> Bounds:
        """What the source holds now; all who ask at about the same time share one question.

        Raises:
            StellarArrowError: what the source raised.
            TimeoutError: it has not answered in time.
        """
        source = self.source
        with self._asking:
            if time.monotonic() - self._bounds_at <= BOUNDS_MAX_AGE_SECONDS:
                return self._bounds
            question = self._question
            if question is None:
                question = self._question = Future()
                # In a thread of its own, for a source may take minutes to find out that nobody answers.
                threading.Thread(target=self._ask, args=(source, question), name="bounds", daemon=True).start()
        return question.result(timeout=self._answer_seconds)

    def _ask(self, source: LedgerSource, question: Future[Bounds]) -> None:
        began = time.monotonic()
        try:
            bounds = source.bounds()
        except Exception as error:  # raised for those who ask
            late = time.monotonic() - began > self._answer_seconds
            with self._asking:
                self._question, self._failure = None, str(error)
            question.set_exception(TimeoutError() if late else error)
            return
        if bounds.latest is not None:
            self.tip.reach(bounds.latest)
        with self._asking:
            self._bounds, self._bounds_at = bounds, time.monotonic()
            self._question = self._failure = None
        question.set_result(bounds)

    def _silence(self) -> str:
        before = f"; before, it failed: {self._failure}" if self._failure else ""
        return f"{self.source.endpoint} has not answered for {self._answer_seconds:g} s or more{before}"

    def _stalls(self, source: LedgerSource) -> Iterator[str]:
        """Why the source must be taken to hang although it could be reached."""
        now, newest = time.monotonic(), self.tip.newest
        if (since := self._reading_since) is not None and now - since > self._answer_seconds:
            yield f"{source.endpoint} has not given its newest ledger, {newest}, for {now - since:.0f} s"
        if (still := self.tip.still_seconds()) > self._stall_seconds:
            latest = self._bounds.latest
            if latest is not None and newest is not None and latest < newest:
                yield (
                    f"{source.endpoint} answers that its newest ledger is {latest}, but it had {newest}:"
                    " it has lost ledgers, or its network has begun anew; start the server again if that is meant"
                )
            yield f"{source.endpoint} answers, but has had no ledger after {newest} for {still:.0f} s"
        for wait in self._waits():
            # A stream at the tip has waited before the ledger was there, too.
            seconds = min(wait.seconds, now - self._due.get(wait.ledger, now))
            if seconds > self._stall_seconds:
                yield (
                    f"{source.endpoint} answers that it has ledgers up to {newest}, but has not given "
                    f"ledger {wait.ledger} for {seconds:.0f} s"
                )

    def _read(self, source: LedgerSource, latest: int) -> RawLedger | None:
        self._reading_since = time.monotonic()
        try:
            ledger = next(source.ledgers(latest, latest, self._stop), None)
        finally:
            self._reading_since = None
        if ledger is not None:
            self.see(ledger)
        self._glanced_at = time.monotonic()
        return ledger

    def _learn_from(self, source: LedgerSource, latest: int) -> None:
        """Find the network by the hashes of the newest ledger's transactions; without one, the next ledger is tried."""
        ledger = self._read(source, latest)
        if ledger is None:
            return
        self._preparation.start(ledger.xdr, self.passphrase)
        while not self._preparation.wait(_TRANSACTIONS, LOOK_SECONDS / 10):
            self._found = Condition(SourceState.STARTING, PREPARING)
            if self._stop.is_set():
                return
        decoded = self._tables.decoder({_TRANSACTIONS: None}, passphrase=self.passphrase).decode([ledger.xdr])
        if decoded.passphrase and decoded.batches[_TRANSACTIONS].num_rows:
            self._network_checked = True
            self.passphrase = decoded.passphrase
            _log.info("network found", network=network_name(decoded.passphrase), ledger=latest)

    def _run(self) -> None:
        told: Condition = self._found
        while not self._stop.is_set():
            self._found = self._look_and_say()
            now = self.condition
            if now.problem is None and told.problem is not None:
                _log.info("source answers", latest=self.newest)
            elif now.problem is not None and now.state is not told.state and not self._stop.is_set():
                _log.warning("source is not usable", state=now.state, reason=now.problem)
            told = now
            self._stop.wait(LOOK_SECONDS)

    def _look_and_say(self) -> Condition:
        try:
            self.look()
        except TimeoutError:
            return Condition(SourceState.HUNG, self._silence())
        except SourceRefusedError as error:
            return Condition(SourceState.UNUSABLE, str(error))
        except SourceUnavailableError as error:
            return Condition(SourceState.UNREACHABLE, str(error))
        except StellarArrowError as error:
            # Once it is open its endpoint made sense: what it calls a wrong request then is its own trouble.
            senseless = isinstance(error, InvalidRequestError) and self._source is None
            if senseless or isinstance(error, NetworkMismatchError):
                self._stop.set()
                self._on_fatal(error)
            return Condition(SourceState.UNUSABLE, str(error))
        except Exception:  # the watch goes on: the source may come to its senses
            if (also := self._failing.tell()) is not None:
                _log.exception(f"looking at the ledger source failed{also}")
            return Condition(SourceState.UNUSABLE, "looking at the ledger source failed; see the server's log")
        return Condition(SourceState.OK, None)
