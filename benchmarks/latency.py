"""How long a ledger takes at the tip: from being there at its source until a following Flight client has its rows.

    python benchmarks/latency.py [--ledger 60659332] [--count 200] [--rate 20] [--stream payments --stream operations]

A live source gives copies of a pubnet ledger at a steady rate and notes when. Either it is in the server's process,
or it is behind stellar-ledger-source's service, with stellar-arrow-source in between as people run it. The client is
the SDK's, in a process of its own. Goal: 5 ms.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import click
from processes import Server, arrow_source
from rich.console import Console
from rich.table import Table
from stores import Renumbered, find_ledger

from stellar_arrow_client.client import Client
from stellar_arrow_client.logs import configure_logging
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.allocator import keep_freed_memory
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.service import RawLedgerServer
from stellar_arrow_source.ledgers.source import Bounds, RawLedger
from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tables import STREAMS, LedgerDecoder, find_stream

MAX_CONNECTIONS = 256
HISTORY = 4
"""Ledgers that are there from the beginning."""


class LiveSource:
    """A source whose tip moves at a steady rate; notes when each ledger was first given."""

    endpoint = "live"

    def __init__(self, sequence: int, rate: float) -> None:
        self.network_passphrase: str | None = KNOWN_NETWORKS["pubnet"]
        self.given: dict[int, float] = {}
        self._copy, self._rate = Renumbered(sequence), rate
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def bounds(self) -> Bounds:
        """As far as it has come."""
        come = int((time.monotonic() - self._began) * self._rate)
        return Bounds(self._copy.first, self._copy.first + HISTORY - 1 + come)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """As every source gives them."""
        sequence = start
        while not stop.is_set() and (end is None or sequence <= end):
            with self._lock:
                xdr = self._copy.ledger(sequence)
            due = self._began + (sequence - self._copy.first - HISTORY + 1) / self._rate
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            self.given.setdefault(sequence, time.monotonic())
            yield RawLedger(sequence, xdr)
            sequence += 1

    def close(self) -> None:
        """Nothing to release."""


def serve_flight(pipe: Connection, sequence: int, rate: float) -> None:
    """A whole server over a live source."""
    configure_logging("error")
    keep_freed_memory()
    source = LiveSource(sequence, rate)
    config = ServerConfig(port=0, health_port=0, max_connections=MAX_CONNECTIONS)
    service = Service(config, Tables(STREAMS, find_stream, LedgerDecoder), lambda: source)
    service.start()
    while service.not_ready():
        time.sleep(0.1)
    _tell(pipe, service.port, source)


def serve_raw(pipe: Connection, sequence: int, rate: float) -> None:
    """RawLedgerService over a live source."""
    keep_freed_memory()
    source = LiveSource(sequence, rate)
    with RawLedgerServer(source, "127.0.0.1", 0) as server:
        _tell(pipe, server.port, source)


def _tell(pipe: Connection, port: int, source: LiveSource) -> None:
    """Say the port, then whenever asked, when ledgers were given; until the other side has gone."""
    pipe.send(port)
    try:
        while pipe.recv():
            pipe.send(dict(source.given))
    except EOFError:
        pass


@contextmanager
def spawned(target: Callable[..., None], *args: Any) -> Iterator[tuple[int, Connection, int]]:
    """A process that runs ``target``: its port, the pipe to ask it, and its process id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    try:
        assert process.pid is not None
        yield ours.recv(), ours, process.pid
    finally:
        process.terminate()
        process.join()


def follow(port: int, stream: str, count: int) -> dict[int, float]:
    """When each of the next ``count`` ledgers had come, but for the ones to catch up with."""
    came: dict[int, float] = {}
    with Client(f"localhost:{port}") as client:
        for _, cursor in client.stream(StreamRequest(stream)):
            now = time.monotonic()
            came.update(dict.fromkeys(range(cursor.first, cursor.last + 1), now))
            if len(came) >= count + 2 * HISTORY:
                break
    return dict(list(came.items())[2 * HISTORY :])


def measure(port: int, pipe: Connection, stream: str, count: int) -> list[float]:
    """Latencies in milliseconds, ascending."""
    came = follow(port, stream, count)
    pipe.send(True)
    given = pipe.recv()
    return sorted((at - given[sequence]) * 1e3 for sequence, at in came.items())


@click.command(context_settings={"show_default": True})
@click.option("--ledger", type=int, default=60659332, help="Sequence of the pubnet ledger that is copied.")
@click.option("--count", type=click.IntRange(10), default=200, help="Ledgers to measure for each row.")
@click.option("--rate", type=click.FloatRange(0.1, 200), default=20.0, help="Ledgers a second.")
@click.option("--stream", "streams", multiple=True, default=("payments", "operations"), help="Stream; repeatable.")
def main(ledger: int, count: int, rate: float, streams: tuple[str, ...]) -> None:
    """Measure the latency of a ledger at the tip."""
    title = f"pubnet {ledger} ({len(find_ledger(ledger)):,} bytes), {rate:g} a second; ms until a client has its rows"
    table = Table("source", "stream", "ledgers", "p50 (goal 5)", "p90", "p99", "most", title=title)
    with ExitStack() as stack:
        port, pipe, _ = stack.enter_context(spawned(serve_flight, ledger, rate))
        raw_port, raw_pipe, _ = stack.enter_context(spawned(serve_raw, ledger, rate))
        server: Server = stack.enter_context(arrow_source(f"localhost:{raw_port}"))
        for name, flight_port, asked in (("in the server", port, pipe), ("through gRPC", server.port, raw_pipe)):
            for stream in streams:
                found = measure(flight_port, asked, stream, count)
                cuts = statistics.quantiles(found, n=100)
                figures = [f"{ms:.2f}" for ms in (cuts[49], cuts[89], cuts[98], found[-1])]
                table.add_row(name, stream, str(len(found)), *figures)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
