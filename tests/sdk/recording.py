"""What a client asked for, and how much came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from stellar_arrow_client import Client, StreamRequest

FIRST, LAST = 2, 91
"""The ledgers of the server."""

WholeTables = Callable[[str], pa.Table]


@dataclass(slots=True)
class Traffic:
    """The requests of streams, and the bytes of the batches that came."""

    requests: list[StreamRequest] = field(default_factory=list)
    bytes: int = 0
    rows: int = 0


@contextmanager
def recorded(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """What ``client`` asks for and gets within the ``with`` block."""
    traffic = Traffic()
    original = Client.stream

    def stream(self: Client, request: StreamRequest, **options: Any) -> Any:
        batches = original(self, request, **options)
        if self is not client:
            return batches
        traffic.requests.append(request)

        def counted() -> Iterator[Any]:
            with_rows = batches
            try:
                for batch, cursor in with_rows:
                    traffic.bytes += batch.nbytes
                    traffic.rows += batch.num_rows
                    yield batch, cursor
            finally:
                with_rows.close()

        return counted()

    with monkeypatch.context() as patched:
        patched.setattr(Client, "stream", stream)
        yield traffic
