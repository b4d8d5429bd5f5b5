"""Work that several streams want done at about the same time is done once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Once(Generic[Result]):
    """Results by key; the oldest go when all together exceed a number of bytes.

    Args:
        budget: bytes that may be kept now.
        size: bytes of a result.
    """

    def __init__(self, budget: Callable[[], int], size: Callable[[Result], int]) -> None:
        self._budget, self._size = budget, size
        self._results: OrderedDict[Hashable, Future[Result]] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get(self, key: Hashable, begin: Callable[[], Future[Result]]) -> Future[Result]:
        """The work that ``begin`` began for the first who asked: the others share it.

        A failure is told to all who share it, but not kept. Who cancels it does so for all: they are to ask again.
        """
        with self._lock:
            future = self._results.get(key)
            if future is not None and not future.cancelled():
                return future
            future = self._results[key] = begin()
        future.add_done_callback(partial(self._keep, key))
        return future

    def _keep(self, key: Hashable, future: Future[Result]) -> None:
        with self._lock:
            if future.cancelled() or future.exception() is not None:
                if self._results.get(key) is future:
                    del self._results[key]
                return
            self.held_bytes += self._size(future.result())
            while self.held_bytes > self._budget():
                oldest = next((key for key, kept in self._results.items() if kept.done()), None)
                if oldest is None:
                    break
                self.held_bytes -= self._size(self._results.pop(oldest).result())
