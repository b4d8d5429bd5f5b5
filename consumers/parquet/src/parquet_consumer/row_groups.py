"""The row groups of all files in the making: the memory that they take, and the threads that write them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

ROW_GROUP_BYTES: Final = 64 * 1024 * 1024
"""Most Arrow bytes that a file holds before they are written as a row group, however few rows they are."""

HELD_BYTES: Final = 256 * 1024 * 1024
"""The same for all streams of a run together."""


class RowGroups:
    """Shared by the streams of a run: many take not much more memory than one.

    Row groups are written while their streams are read on. Else a server that serves many waits for each of them in
    turn, or parts with the slow ones and decodes twice: all 22 streams come at 0.7 of the speed. What is on its way
    comes on top of ``limit``, but never more than one, or than :data:`ROW_GROUP_BYTES` of smaller ones.
    """

    def __init__(self, limit: int = HELD_BYTES) -> None:
        self._limit = limit
        self._held: dict[object, int] = {}
        self._on_their_way = 0
        self._changed = threading.Condition()
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "row-group")

    def hold(self, file: object, size: int) -> bool:
        """Note how many bytes a file holds; whether it is for this one to write them, for all hold too much."""
        with self._changed:
            self._held[file] = size
            if size == 0:
                del self._held[file]
            return sum(self._held.values()) > self._limit and size * len(self._held) >= self._limit

    def write(self, size: int, write: Callable[[], None]) -> Future[None]:
        """Have a row group of so many bytes written by another thread, once there is room on the way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._on_their_way or self._on_their_way + size <= ROW_GROUP_BYTES)
            self._on_their_way += size

        def arrived(_: Future[None]) -> None:
            with self._changed:
                self._on_their_way -= size
                self._changed.notify_all()

        writing = self._threads.submit(write)
        writing.add_done_callback(arrived)
        return writing
