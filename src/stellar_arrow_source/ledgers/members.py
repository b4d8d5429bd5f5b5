"""Sources that may hang, asked and read from without waiting for them: threads of their own wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final, TypeVar

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, LedgerSource, RawLedger

_AHEAD_BYTES: Final = 1 << 20
"""Ledgers that wait for whoever reads them, one at least: handing many over at once costs less."""

NEVER: Final = float("-inf")

T = TypeVar("T")


class Member:
    """One of several sources.

    Args:
        name: the endpoint, without credentials.
        open_source: called again until it succeeds.
        check: given member and source before that is used; what it raises, whoever asked for the source meets.

    Attributes:
        source: None until it is open.
        newest: the newest ledger that it told of or gave; 0 = none.
        gave_at: when it last gave a ledger, by the monotonic clock.
        asked_at: when it was last asked what it holds.
        said, said_at: its last answer, and when.
        failed: its last question failed, since which it has not answered.
    """

    def __init__(
        self, name: str, open_source: Callable[[], LedgerSource], check: Callable[[Member, LedgerSource], None]
    ) -> None:
        self.name = name
        self.source: LedgerSource | None = None
        self.newest = 0
        self.gave_at = NEVER
        self.asked_at = NEVER
        self.said, self.said_at = Bounds(None, None), NEVER
        self.failed = False
        self._open_source, self._check = open_source, check
        self._question: Future[Bounds] | None = None
        self._opening, self._asking = threading.Lock(), threading.Lock()
        self._closed = False

    @property
    def unanswered_seconds(self) -> float:
        """For how long it has not answered what it was asked; 0 when nothing was."""
        return 0.0 if self._question is None else time.monotonic() - self.asked_at

    def open(self) -> LedgerSource:
        """The source; may wait for as long as opening it takes.

        Raises:
            StellarArrowError: it cannot be opened, or is not what it should be.
        """
        with self._opening:
            if self.source is None:
                source = self._open_source()
                if self._closed:
                    source.close()
                    raise SourceUnavailableError(f"{self.name} has been closed")
                try:
                    self._check(self, source)
                except StellarArrowError:
                    source.close()
                    raise
                self.source = source
            return self.source

    def ask(self) -> Future[Bounds]:
        """What it holds; all who ask before it answers share one question."""
        with self._asking:
            if self._question is None:
                self.asked_at = time.monotonic()
                self._question = begin(self._answer, f"bounds of {self.name}")
            return self._question

    def covers(self, ledger: int) -> bool:
        """Whether its answer does not say that it begins later."""
        return self.said.oldest is None or self.said.oldest <= ledger

    def gave(self, ledger: RawLedger) -> None:
        self.gave_at = time.monotonic()
        self.newest = max(self.newest, ledger.sequence)

    def close(self) -> None:
        self._closed = True
        if self.source is not None:
            self.source.close()

    def _answer(self) -> Bounds:
        failed = True
        try:
            said = self.open().bounds()
            self.said, self.said_at = said, time.monotonic()
            self.newest = max(self.newest, said.latest or 0)
            failed = False
            return said
        finally:
            with self._asking:
                self.failed = failed
                self._question = None


class Pull:
    """The ledgers of a range, read by a thread.

    Args:
        ledgers: what gives them until its stop event is set.
    """

    def __init__(self, ledgers: Callable[[threading.Event], Iterator[RawLedger]]) -> None:
        self._ledgers = ledgers
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._ready: deque[RawLedger] = deque()
        self._bytes = 0
        self._over = False
        self._failure: Exception | None = None
        threading.Thread(target=self._run, name="ledgers", daemon=True).start()

    def take(self, seconds: float) -> RawLedger | None:
        """The next ledger; None when none comes within so many seconds, or when there is none any more.

        Raises:
            StellarArrowError: what the source raised, after all ledgers before it.
        """
        with self._changed:
            if not self._ready and not self._over:
                self._changed.wait(seconds)
            if self._ready:
                ledger = self._ready.popleft()
                self._bytes -= len(ledger.xdr)
                self._changed.notify_all()
                return ledger
            if self._failure is not None:
                raise self._failure
            return None

    @property
    def ended(self) -> bool:
        """There will be no more ledgers."""
        return self._over and not self._ready

    def close(self) -> None:
        """Want no more; the thread ends when the source does, or looks at its stop event."""
        self._stop.set()
        with self._changed:
            self._ready.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # raised again for whoever takes
            self._failure = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _read(self) -> None:
        for ledger in self._ledgers(self._stop):
            with self._changed:
                while self._ready and self._bytes + len(ledger.xdr) > _AHEAD_BYTES and not self._stop.is_set():
                    self._changed.wait(POLL_SECONDS)
                if self._stop.is_set():
                    return
                self._ready.append(ledger)
                self._bytes += len(ledger.xdr)
                self._changed.notify_all()


def begin(call: Callable[[], T], name: str) -> Future[T]:
    """What ``call`` gives or raises, made by a thread of its own: it may take for ever."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # told to whoever looks at the future
            future.set_exception(error)

    threading.Thread(target=run, name=name[:60], daemon=True).start()
    return future
