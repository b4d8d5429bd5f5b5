"""A Flight server that answers each ``do_get`` with a given script, sound or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client import RetryPolicy
from stellar_arrow_client.request import Cursor, StreamRequest

QUICK = RetryPolicy(retry_for=5.0, initial=0.01, maximum=0.05, connect_timeout=5.0, idle_timeout=5.0)
SCHEMA = pa.schema([pa.field("ledger_sequence", pa.uint32(), False), ("value", pa.string())])

Step = tuple[pa.RecordBatch, bytes] | Exception | float
Scripts = Sequence[Sequence[Step]]


def step(first: int, last: int, *ledgers: int, value: str = "x") -> tuple[pa.RecordBatch, bytes]:
    """A batch of ledgers ``first`` to ``last`` with a row for each of ``ledgers``."""
    rows = [{"ledger_sequence": ledger, "value": value} for ledger in ledgers]
    return pa.RecordBatch.from_pylist(rows, SCHEMA), Cursor(first, last).to_metadata()


class ScriptedServer(flight.FlightServerBase):  # type: ignore[misc]
    """The script of call n is ``scripts[n]``, the last one for all later calls; a number is a pause."""

    def __init__(self, scripts: Scripts, **settings: Any) -> None:
        self.scripts, self.requests = list(scripts), []
        self.cancelled, self.stopping = threading.Event(), threading.Event()
        self.headers: list[dict[str, list[str]]] = []
        super().__init__("grpc://127.0.0.1:0", **settings)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.GeneratorStream:
        self.requests.append(StreamRequest.parse(ticket.ticket))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if script and isinstance(script[0], Exception):
            raise script[0]
        schema = next((s[0].schema for s in script if isinstance(s, tuple)), SCHEMA)
        return flight.GeneratorStream(schema, self._play(context, script))

    def _play(self, context: flight.ServerCallContext, script: Sequence[Step]) -> Iterator[Any]:
        for item in script:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, tuple):
                yield item
                continue
            until = time.monotonic() + item
            while time.monotonic() < until and not self.stopping.is_set():
                if context.is_cancelled():
                    self.cancelled.set()
                    return
                time.sleep(0.01)
