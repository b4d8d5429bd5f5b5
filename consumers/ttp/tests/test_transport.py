"""Connections are bounded: what a client does not read may not pile up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ttp_processor.transport import MAX_UNSENT_BYTES, BoundedServer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"


class Unread(asyncio.Transport):
    """A connection whose other side reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.aborted = False

    def write(self, data: Any) -> None:
        self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.abort()


@pytest.mark.parametrize(
    ("size", "aborted"), [(0, False), (MAX_UNSENT_BYTES - 10_000, False), (MAX_UNSENT_BYTES, True)]
)
def test_answers_that_are_never_read_end_the_connection(size: int, aborted: bool) -> None:
    async def converse() -> Unread:
        protocol = BoundedServer([])._protocol_factory()
        transport = Unread()
        protocol.connection_made(transport)
        protocol.data_received(PREFACE)
        transport.held = size
        for _ in range(10):
            if not transport.aborted:
                protocol.data_received(PING * 10)
        return transport

    transport = asyncio.run(converse())
    assert transport.aborted is aborted
    assert transport.held <= MAX_UNSENT_BYTES + 10 * len(PING) + 1000
