"""What a server bears: 1, 10 and 100 clients on a range and at the tip, and one that does not read among them.

    python benchmarks/server.py [--ledger 60659332] [--clients 1 --clients 10 --clients 100] [--stream payments]

All clients are threads of one process, on the cores that the server needs too. In the range, each reads the same
ledgers from a store; at the tip, each follows a source in the server's process that gives a ledger at a steady rate,
and the latency is from there until a client has the rows. Memory is the server's most so far; it may have 400 MB and
two batches, of the largest size that is sent, for each client.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import click
import pyarrow.flight as flight
from latency import HISTORY, MAX_CONNECTIONS, serve_flight, spawned
from processes import Cost, arrow_source, cost_of
from rich.console import Console
from rich.table import Table
from stores import make_store

from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.flight.cutting import MAX_BATCH_BYTES


class Read(NamedTuple):
    """What one client had: rows, bytes of Arrow buffers, and when each ledger came."""

    rows: int
    nbytes: int
    came: dict[int, float]


def read(port: int, request: StreamRequest, ledgers: int) -> Read:
    """Read a stream until that many ledgers have come."""
    rows = nbytes = 0
    came: dict[int, float] = {}
    with flight.connect(f"grpc://localhost:{port}") as client:
        reader = client.do_get(flight.Ticket(request.to_ticket()))
        for chunk in reader:
            now = time.monotonic()
            cursor = Cursor.from_metadata(chunk.app_metadata.to_pybytes())
            rows += chunk.data.num_rows
            nbytes += chunk.data.nbytes
            came.update(dict.fromkeys(range(cursor.first, cursor.last + 1), now))
            if len(came) >= ledgers:
                break
        reader.cancel()
    return Read(rows, nbytes, came)


@contextmanager
def stalled(port: int, request: StreamRequest) -> Iterator[None]:
    """A client that opens a stream and does not read it."""
    with flight.connect(f"grpc://localhost:{port}") as client:
        reader = client.do_get(flight.Ticket(request.to_ticket()))
        yield
        reader.cancel()


def read_by_all(clients: int, read_one: Callable[[], Read]) -> tuple[list[Read], float]:
    """What each of so many clients read, and the seconds until the last had all."""
    done: list[Read] = []
    threads = [threading.Thread(target=lambda: done.append(read_one())) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(done) != clients:
        raise click.ClickException(f"{clients - len(done)} of {clients} clients failed")
    return done, time.perf_counter() - began


def cost_between(before: Cost, after: Cost, seconds: float, clients: int) -> tuple[str, str, str]:
    """Cores used, the most memory, and what it may be; one client more does not read."""
    allowed = 400e6 + 2 * MAX_BATCH_BYTES * (clients + 1)
    return f"{(after.cpu - before.cpu) / seconds:.2f}", f"{after.peak / 1e6:.0f}", f"{allowed / 1e6:.0f}"


def measure_range(table: Table, sequence: int, stream: str, ledgers: int, numbers: tuple[int, ...]) -> None:
    """One row a number of clients that read the same ledgers of a store."""
    with tempfile.TemporaryDirectory() as folder:
        sequences = make_store(Path(folder), sequence, ledgers)
        request = StreamRequest(stream, sequences[0], sequences[-1])
        with arrow_source(f"file://{folder}") as server:
            read(server.port, request, ledgers)
            for clients in numbers:
                before = server.cost()
                with stalled(server.port, StreamRequest("operations", sequences[0], sequences[-1])):
                    done, seconds = read_by_all(clients, lambda: read(server.port, request, ledgers))
                rows, nbytes = sum(one.rows for one in done), sum(one.nbytes for one in done)
                table.add_row(
                    "range", str(clients), f"{clients * ledgers / seconds:,.0f}", f"{rows / seconds:,.0f}",
                    f"{nbytes / seconds / 1e6:,.0f}", *cost_between(before, server.cost(), seconds, clients), "", "",
                )  # fmt: skip


def measure_tip(table: Table, sequence: int, stream: str, ledgers: int, rate: float, numbers: tuple[int, ...]) -> None:
    """One row a number of clients that follow the tip."""
    with spawned(serve_flight, sequence, rate) as (port, pipe, pid):
        read(port, StreamRequest(stream), 2 * HISTORY)
        for clients in numbers:
            before = cost_of(pid)
            with stalled(port, StreamRequest("operations")):
                done, seconds = read_by_all(clients, lambda: read(port, StreamRequest(stream), ledgers + 2 * HISTORY))
            after = cost_of(pid)
            latencies = _latencies(pipe, done)
            cuts = statistics.quantiles(latencies, n=100)
            rows, nbytes = sum(one.rows for one in done), sum(one.nbytes for one in done)
            table.add_row(
                f"tip, {rate:g}/s", str(clients), f"{sum(len(one.came) for one in done) / seconds:,.0f}",
                f"{rows / seconds:,.0f}", f"{nbytes / seconds / 1e6:,.1f}",
                *cost_between(before, after, seconds, clients), f"{cuts[49]:.1f}", f"{cuts[98]:.1f}",
            )  # fmt: skip


def _latencies(pipe: Connection, done: list[Read]) -> list[float]:
    """Milliseconds of every ledger to every client, but for those that were there when it began."""
    pipe.send(True)
    given = pipe.recv()
    return [(at - given[sequence]) * 1e3 for one in done for sequence, at in sorted(one.came.items())[2 * HISTORY :]]


@click.command(context_settings={"show_default": True})
@click.option("--ledger", type=int, default=60659332, help="Sequence of the pubnet ledger that is copied.")
@click.option("--clients", "numbers", type=click.IntRange(1, 250), multiple=True, default=(1, 10, 100), help="Clients.")
@click.option("--stream", default="payments", help="Stream that they read.")
@click.option("--ledgers", type=click.IntRange(50), default=200, help="Ledgers that each reads.")
@click.option("--rate", type=click.FloatRange(0.1, 200), default=20.0, help="Ledgers a second at the tip.")
def main(ledger: int, numbers: tuple[int, ...], stream: str, ledgers: int, rate: float) -> None:
    """Measure a server under many clients."""
    os.environ["MAX_CONNECTIONS"] = str(MAX_CONNECTIONS)
    title = f"{stream} of pubnet {ledger}, to all clients together; one more does not read"
    table = Table(
        "ledgers from", "clients", "ledgers/s", "rows/s", "MB/s", "server's cores", "server's peak MB", "of",
        "latency p50 ms", "p99 ms", title=title,
    )  # fmt: skip
    measure_range(table, ledger, stream, ledgers, numbers)
    measure_tip(table, ledger, stream, ledgers, rate, numbers)
    Console(width=130).print(table)


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
