"""What a server and its workers say to each other, over stdin and stdout of the workers."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, Final, NamedTuple

from stellar_arrow_client.logs import LogSettings
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.auth import Access, News

NEWS_SECONDS: Final = 0.1
"""How often processes tell each other what their callers used."""


class Start(NamedTuple):
    """What a worker is told first.

    Attributes:
        config: its settings.
        logs: how it is to log.
    """

    config: ServerConfig
    logs: LogSettings


class Listening(NamedTuple):
    """Where a worker listens: ports of Flight and of monitoring."""

    port: int
    health_port: int


class Heard(NamedTuple):
    """News of a process, or that it has ended."""

    process: str
    news: News | None

    def tell(self, access: Access) -> None:
        if self.news is None:
            access.forget(self.process)
        else:
            access.hear(self.process, self.news)


class Drain(NamedTuple):
    """Let open streams finish their batch, and end."""


class Channel:
    """One end of the pipes between a server and a worker.

    Both ends are processes of one program that trust each other; nothing from outside gets here unread.

    Args:
        reads, writes: the pipes.
        hear: called with each message, by a thread that does nothing else.
        ended: called by that thread when the other side is gone.
    """

    def __init__(
        self, reads: IO[bytes], writes: IO[bytes], hear: Callable[[Any], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        self._reads, self._writes = reads, writes
        self._hear, self._ended = hear, ended
        self._messages: SimpleQueue[object] = SimpleQueue()
        for work in (self._read, self._write):
            threading.Thread(target=work, name="worker-channel", daemon=True).start()

    def say(self, message: object) -> None:
        """Send a message; never waits, and does nothing when the other side is gone."""
        self._messages.put(message)

    def close(self) -> None:
        """Say nothing more."""
        self._messages.put(None)

    def _read(self) -> None:
        try:
            while True:
                self._hear(pickle.load(self._reads))
        except (EOFError, OSError, pickle.UnpicklingError):  # also in the middle of a message
            self._ended()

    def _write(self) -> None:
        with suppress(OSError), self._writes:  # when the other side is gone: who reads sees it
            while (message := self._messages.get()) is not None:
                self._writes.write(pickle.dumps(message))
                self._writes.flush()


def tell_news(access: Access, process: str, say: Callable[[Heard], None], stop: threading.Event) -> None:
    """Tell others what happens in this process until ``stop`` is set."""
    while not stop.wait(NEWS_SECONDS):
        if (news := access.news()) is not None:
            say(Heard(process, news))
