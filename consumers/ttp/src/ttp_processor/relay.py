"""A generator that blocks, run in a thread of its own, and awaited item by item in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Final, Generic, TypeVar

AHEAD: Final = 2
"""Items made before they are asked for: while one is sent, the next one is made."""

POLL_SECONDS: Final = 0.1

T = TypeVar("T")
Generate = Callable[[threading.Event], Generator[T, None, None]]


class Relay(Generic[T]):
    """Gives the items of a generator to an event loop; what the generator raises is raised there.

    The generator waits while :data:`AHEAD` items have not been taken. It is made, run and closed in its thread. Who
    has a relay must :meth:`leave` it.

    Args:
        generate: makes the generator, which must end soon after the event is set that it is given.
        name: of the thread.
        on_end: called in the loop when the thread has ended.
    """

    def __init__(self, generate: Generate[T], *, name: str, on_end: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[T | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._stop = threading.Event()
        self._left = False
        self._on_end = on_end
        threading.Thread(target=self._run, args=(generate,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Let the generator end; the items that it has made can still be taken."""
        self._stop.set()

    def leave(self) -> None:
        """Let the generator end, and take no more of its items."""
        self._left = True
        self._stop.set()

    async def items(self) -> AsyncGenerator[T, None]:
        """All items, until the generator ends."""
        while (item := await self._items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            self._room.release()

    def _run(self, generate: Generate[T]) -> None:
        end: BaseException | None = None
        made = generate(self._stop)
        try:
            for item in made:
                while not self._room.acquire(timeout=POLL_SECONDS):
                    if self._left:
                        return
                self._call(self._items.put_nowait, item)
        except Exception as error:  # raised for whoever takes the items
            end = error
        finally:
            made.close()
            self._call(self._items.put_nowait, end)
            self._call(self._on_end)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(function, *arguments)
