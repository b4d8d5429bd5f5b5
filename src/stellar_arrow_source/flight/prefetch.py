"""Reads ledgers ahead of the decoder, bounded by bytes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger


class Prefetch:
    """A thread that pulls one range from a source into a queue that holds at most ``budget()`` bytes.

    One ledger is always let in, however large, so that a small budget slows a stream but never stops it.
    """

    def __init__(self, source: LedgerSource, start: int, end: int | None, budget: Callable[[], int]) -> None:
        self._budget = budget
        self._queue: deque[RawLedger] = deque()
        self._queued_bytes = 0
        self._blocked = False
        self._ended = False
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._pull, args=(source, start, end), name=f"prefetch-{start}", daemon=True
        )
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    @property
    def ended(self) -> bool:
        """The source gave its last ledger and all were taken."""
        return self._ended and not self._queue

    def take(self, max_ledgers: int, max_bytes: int, *, wait: float, linger: float) -> list[RawLedger]:
        """The next ledgers, at least one unless none comes within ``wait`` seconds.

        A group that is not full waits up to ``linger`` seconds for further ledgers.

        Raises:
            StellarArrowError: what the source raised, after all ledgers before it were taken.
        """
        group: list[RawLedger] = []
        room = max_bytes
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended, timeout=wait)
            deadline = time.monotonic() + linger
            while len(group) < max_ledgers:
                if not self._queue:
                    patience = deadline - time.monotonic()
                    if not group or self._ended or patience <= 0:
                        break
                    self._changed.wait(patience)
                    continue
                size = len(self._queue[0].xdr)
                if group and size > room:
                    break
                group.append(self._queue.popleft())
                room -= size
                self._queued_bytes -= size
                if self._blocked:
                    self._changed.notify_all()
            if not group and self._failure is not None:
                raise self._failure
        return group

    def close(self) -> None:
        """Tell the thread to end; it does within the 0.2 s in which a source polls its stop event."""
        self._stop.set()
        with self._changed:
            self._queue.clear()
            self._changed.notify_all()

    def _pull(self, source: LedgerSource, start: int, end: int | None) -> None:
        try:
            for ledger in source.ledgers(start, end, self._stop):
                if not self._put(ledger):
                    break
        except Exception as error:
            self._failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, ledger: RawLedger) -> bool:
        size = len(ledger.xdr)
        with self._changed:
            while self._queue and self._queued_bytes + size > self._budget() and not self._stop.is_set():
                self._blocked = True
                # The budget shrinks and grows with the number of streams, which notifies nobody here.
                self._changed.wait(timeout=0.2)
            self._blocked = False
            if self._stop.is_set():
                return False
            self._queue.append(ledger)
            self._queued_bytes += size
            self._changed.notify_all()
        return True
