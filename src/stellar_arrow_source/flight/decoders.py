"""The decoders of a server, which all of its streams use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stellar_arrow_source.tables import LedgerDecoder

POLL_SECONDS: Final = 0.05
_MOST: Final = 8

_Key = tuple[str, tuple[str, ...], str | None]


class Decoders:
    """Lends decoders, as many at a time as there are cores to decode on.

    A decoder keeps tens of megabytes to work in. So it is not each stream's own: however many streams there are, few
    decode at the same moment.

    Args:
        make: a decoder of (stream name → columns) and ``passphrase``.
        at_once: decoders that are lent at a time, and those that are kept besides.
    """

    def __init__(self, make: Callable[..., LedgerDecoder], at_once: int | None = None) -> None:
        self._make = make
        self._most = at_once or max(2, min(os.cpu_count() or 1, _MOST))
        self._places = threading.Semaphore(self._most)
        self._idle: list[tuple[_Key, LedgerDecoder]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(
        self, stream: str, columns: tuple[str, ...], passphrase: str | None, poll: Callable[[], None]
    ) -> Iterator[LedgerDecoder]:
        """A decoder of these columns, for the thread that asks alone.

        Who waits for one calls ``poll`` at least every :data:`POLL_SECONDS`, which may end the waiting by raising.
        """
        while not self._places.acquire(timeout=POLL_SECONDS):
            poll()
        try:
            key = (stream, columns, passphrase)
            decoder = self._take(key) or self._make({stream: columns}, passphrase=passphrase)
            yield decoder
            with self._lock:
                self._idle.append((key, decoder))
                del self._idle[: -self._most]
        finally:
            self._places.release()

    def _take(self, key: _Key) -> LedgerDecoder | None:
        """The one of these columns that was used last."""
        with self._lock:
            at = next((at for at in reversed(range(len(self._idle))) if self._idle[at][0] == key), None)
            return None if at is None else self._idle.pop(at)[1]
