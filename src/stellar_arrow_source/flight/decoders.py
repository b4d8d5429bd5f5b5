"""The decoders of a server, and the threads that use them for all of its streams."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from stellar_arrow_source.flight.shared import Requests

if TYPE_CHECKING:
    from stellar_arrow_source.tables import LedgerDecoder

_MOST: Final = 8

_Key = tuple[tuple[tuple[str, tuple[str, ...]], ...], str | None]
_Result = TypeVar("_Result")


class Brief(Future[_Result]):
    """Work that the first who waits for it does: another thread would take longer to wake than it takes."""

    def __init__(self, work: Callable[[], _Result]) -> None:
        super().__init__()
        self._work = work
        self._begun = threading.Lock()

    def do(self) -> None:
        """Do it in this thread, unless another has begun to; what it raises, :meth:`result` raises."""
        if self._begun.acquire(blocking=False) and self.set_running_or_notify_cancel():
            try:
                self.set_result(self._work())
            except BaseException as error:  # as an executor does: it is told to all who wait
                self.set_exception(error)


class Decoders:
    """Decodes on as many threads as there are cores to decode on.

    A decoder keeps tens of megabytes to work in. So it is not each stream's own: however many streams there are, few
    decode at the same moment. Nor do their own threads decode, but for single ledgers with a decoder that is at hand:
    they have clients to keep company meanwhile.

    Args:
        make: a decoder of (stream name → columns) and ``passphrase``.
        at_once: threads, and decoders that are kept besides those that they use.
    """

    def __init__(self, make: Callable[..., LedgerDecoder], at_once: int | None = None) -> None:
        self._make = make
        self._most = at_once or max(2, min(os.cpu_count() or 1, _MOST))
        self._threads = ThreadPoolExecutor(self._most, "decode")
        self._idle: list[tuple[_Key, LedgerDecoder]] = []
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def submit(
        self, work: Callable[[], _Result], requests: Requests, passphrase: str | None, ledgers: int
    ) -> Future[_Result]:
        """Have work done that uses a decoder of these columns for so many ledgers.

        As soon as one of the threads is free; of a single ledger with a decoder at hand it is :class:`Brief`, for at
        the tip every hop between threads is felt (0.1 ms and more of the 5 until a client has its rows).
        """
        key = _key(requests, passphrase)
        if ledgers == 1 and any(kept == key for kept, _ in tuple(self._idle)):
            return Brief(work)
        return self._threads.submit(work)

    @contextmanager
    def lend(self, requests: Requests, passphrase: str | None) -> Iterator[LedgerDecoder]:
        """A decoder of these columns, for the thread that asks alone."""
        key = _key(requests, passphrase)
        decoder = self._take(key) or self._make(requests, passphrase=passphrase)
        yield decoder
        with self._lock:
            self._idle.append((key, decoder))
            del self._idle[: -self._most]
            if not self._loaded.issuperset(requests):
                self._loaded.update(requests)
                # Compiled code is some 100,000 objects a stream, for ever. To look for cycles among them stops all
                # threads, for 0.2 s on a busy machine. A collection before would do so too, and find little.
                gc.freeze()

    def _take(self, key: _Key) -> LedgerDecoder | None:
        """The one of these columns that was used last."""
        with self._lock:
            at = next((at for at in reversed(range(len(self._idle))) if self._idle[at][0] == key), None)
            return None if at is None else self._idle.pop(at)[1]


def _key(requests: Requests, passphrase: str | None) -> _Key:
    return tuple(requests.items()), passphrase
