"""What a server and its workers say to each other, over stdin and stdout of the workers."""

from __future__ import annotations

import pickle
from typing import IO, Final, NamedTuple

from stellar_arrow_client.logs import LogSettings
from stellar_arrow_source.config import ServerConfig

DRAIN: Final = b"drain\n"
"""The line that tells a worker to let open streams finish their batch, and to end."""


class Start(NamedTuple):
    """What a worker is told first.

    Attributes:
        config: its settings.
        logs: how it is to log.
    """

    config: ServerConfig
    logs: LogSettings

    def send(self, stream: IO[bytes]) -> None:
        pickle.dump(tuple(self), stream)
        stream.flush()

    @classmethod
    def receive(cls, stream: IO[bytes]) -> Start:
        # It comes from the process that started this one, not from outside.
        return cls(*pickle.load(stream))


class Listening(NamedTuple):
    """Where a worker listens: ports of Flight and of monitoring."""

    port: int
    health_port: int
