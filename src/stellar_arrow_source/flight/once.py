"""Work that several streams want done at about the same time is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Once(Generic[Key, Result]):
    """Results by key; the oldest go when all together exceed a number of bytes.

    Args:
        budget: bytes that may be kept now.
        size: bytes of a result.
    """

    def __init__(self, budget: Callable[[], int], size: Callable[[Result], int]) -> None:
        self._budget, self._size = budget, size
        self._works: dict[Key, Future[Result]] = {}
        self._sizes: dict[Key, int] = {}  # of those that are done, the oldest first
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of all results that are kept."""
        with self._lock:
            return sum(self._sizes.values())

    def get(self, key: Key, begin: Callable[[], Future[Result]]) -> Future[Result]:
        """The work that ``begin`` began for the first who asked: the others share it.

        A failure is told to all who share it, but not kept. Who cancels it does so for all: they are to ask again.
        """
        with self._lock:
            if (work := self._found(key)) is not None:
                return work
            work = self._works[key] = begin()
        work.add_done_callback(partial(self._keep, key))
        return work

    def find(self, key: Key) -> Future[Result] | None:
        """The work that has been begun and has not been let go of, nor failed."""
        with self._lock:
            return self._found(key)

    def forget(self, is_past: Callable[[Key], bool]) -> None:
        """Let go of what nobody will ask for again."""
        with self._lock:
            for key in [key for key in self._works if is_past(key)]:
                self._drop(key)

    def _found(self, key: Key) -> Future[Result] | None:
        work = self._works.get(key)
        # What failed is seen as done a moment before it is dropped.
        if work is None or work.cancelled() or (work.done() and work.exception() is not None):
            return None
        return work

    def _keep(self, key: Key, work: Future[Result]) -> None:
        with self._lock:
            if self._works.get(key) is not work:  # it has been forgotten, or begun anew
                return
            if work.cancelled() or work.exception() is not None:
                self._drop(key)
                return
            self._sizes[key] = self._size(work.result())
            while sum(self._sizes.values()) > self._budget():
                self._drop(next(iter(self._sizes)))

    def _drop(self, key: Key) -> None:
        del self._works[key]
        self._sizes.pop(key, None)
