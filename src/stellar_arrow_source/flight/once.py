"""Work that several streams want done at about the same time is done once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

POLL_SECONDS = 0.05

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

    def get(self, key: Hashable, make: Callable[[], Result], poll: Callable[[], None]) -> Result:
        """The result of ``make``, called by the first who asks; the others wait for it.

        Who waits calls ``poll`` at least every :data:`POLL_SECONDS`, which may end the waiting by raising.

        Raises:
            Exception: what ``make`` raised, to all who waited; it is not kept.
        """
        with self._lock:
            future = self._results.get(key)
            mine = future is None
            if future is None:
                future = self._results[key] = Future()
        if mine:
            self._make(key, future, make)
        while not future.done():
            wait([future], POLL_SECONDS)
            if not future.done():
                poll()
        return future.result()

    def _make(self, key: Hashable, future: Future[Result], make: Callable[[], Result]) -> None:
        try:
            result = make()
        except BaseException as error:
            with self._lock:
                self._results.pop(key, None)
            future.set_exception(error)
            return
        future.set_result(result)
        with self._lock:
            self.held_bytes += self._size(result)
            while self.held_bytes > self._budget():
                oldest = next((key for key, kept in self._results.items() if kept.done()), None)
                if oldest is None:
                    break
                self.held_bytes -= self._size(self._results.pop(oldest).result())
