"""Servers that play scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from stellar_arrow_client import Client, RetryPolicy
from tests.client.scripted import QUICK, ScriptedServer, Step


@pytest.fixture
def play() -> Iterator[Callable[..., tuple[Client, ScriptedServer]]]:
    """Start a server with the given scripts; gives a client of it and the server."""
    servers: list[ScriptedServer] = []
    clients: list[Client] = []

    def start(*scripts: Sequence[Step], retry: RetryPolicy = QUICK) -> tuple[Client, ScriptedServer]:
        servers.append(ScriptedServer(scripts))
        clients.append(Client(servers[-1].address, retry=retry))
        return clients[-1], servers[-1]

    yield start
    for client in clients:
        client.close()
    for server in servers:
        server.stopping.set()
        server.shutdown()
