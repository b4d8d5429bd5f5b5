"""What worker processes bring: a range of a store read through a server without and with them.

    python benchmarks/workers.py [--ledger 60659332] [--copies 600] [--workers 2 …] [--streams …] [--rounds 3]

One client reads the range of each stream, one after the other, and drops the rows. Rates are medians over the rounds;
the servers take turns, so that a machine that is busy otherwise is so for all. Time on a core says what the work costs
whoever else uses the machine; the speed-up is bounded by the cores that there are for servers and client together.
It prints the table and the sentence of docs/scaling.md; as it stands here it takes about a minute and a half.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import click
from processes import READY_SECONDS, Server, arrow_source, cost_of
from stores import make_store

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import Compression, StreamRequest


@dataclass
class Measured:
    """One stream through one server."""

    rows: int = 0
    nbytes: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)


@contextmanager
def serving(store: Path, workers: int) -> Iterator[tuple[Server, list[int]]]:
    """A server with its processes, itself first, once all serve."""
    with arrow_source(str(store), "--workers", str(workers)) as server:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with urlopen(f"http://127.0.0.1:{server.health}/health", timeout=5) as page:
                found = json.load(page)["workers"]
            if all(worker["ready"] for worker in found):
                break
            if time.monotonic() > deadline:
                raise click.ClickException("the workers did not come up")
            time.sleep(0.2)
        yield server, [server.process.pid, *(worker["pid"] for worker in found)]


def measure(server: Server, pids: Sequence[int], request: StreamRequest, into: Measured) -> None:
    """Read a range once."""
    before = sum(cost_of(pid).cpu for pid in pids)
    cpu, start, rows, nbytes = time.process_time(), time.perf_counter(), 0, 0
    with Client(f"localhost:{server.port}") as client:
        for batch, _ in client.stream(request):
            rows, nbytes = rows + batch.num_rows, nbytes + batch.nbytes
    into.seconds.append(time.perf_counter() - start)
    into.client_cpu.append(time.process_time() - cpu)
    into.cpu.append(sum(cost_of(pid).cpu for pid in pids) - before)
    if into.rows not in (0, rows):
        raise click.ClickException(f"{request}: {rows} rows, {into.rows} before")
    into.rows, into.nbytes = rows, nbytes


@click.command()
@click.option("--ledger", default=60659332, show_default=True, help="Ledger of the corpus to repeat.")
@click.option("--copies", default=600, show_default=True, help="How often.")
@click.option("--workers", multiple=True, type=int, default=(2,), show_default=True, help="Beside none at all.")
@click.option("--streams", default="transactions,operations,effects", show_default=True)
@click.option("--compression", type=click.Choice(["zstd", "lz4"]), help="On the wire.")
@click.option("--rounds", default=3, show_default=True)
def main(
    ledger: int, copies: int, workers: tuple[int, ...], streams: str, compression: Compression | None, rounds: int
) -> None:
    """Read a range through a server without and with workers."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = Path(folder)
        ledgers = make_store(store, ledger, copies)
        servers = {number: stack.enter_context(serving(store, number)) for number in (0, *workers)}
        measured = {(stream, number): Measured() for stream in streams.split(",") for number in servers}
        for turn in range(rounds + 1):
            for (stream, number), into in measured.items():
                request = StreamRequest(stream, ledgers[0], ledgers[-1], compression=compression)
                measure(*servers[number], request, Measured() if turn == 0 else into)  # the first turn warms up
        show(measured, len(ledgers), ledger)
        for number, (_, pids) in servers.items():
            if number:
                click.echo(f"\n{cost(measured, number, len(ledgers))}")
            peaks = ", ".join(f"{cost_of(pid).peak / 2**20:.0f}" for pid in pids)
            click.echo(f"Most memory with {number} workers: {peaks} MB (the server first).")


def show(measured: dict[tuple[str, int], Measured], ledgers: int, ledger: int) -> None:
    """The table, as it stands in the documentation."""
    click.echo(f"{ledgers} ledgers like {ledger}, {os.cpu_count()} cores\n")
    headings = ("stream", "workers", "ledgers/s", "MB/s", "times as fast", "server ms/ledger", "client ms/ledger")
    click.echo(f"| {' | '.join(headings)} |\n| --- |{' ---: |' * (len(headings) - 1)}")
    for (stream, number), found in measured.items():
        seconds, alone = statistics.median(found.seconds), measured[stream, 0]
        cells = (
            stream,
            str(number),
            f"{ledgers / seconds:,.0f}",
            f"{found.nbytes / seconds / 1e6:,.0f}",
            f"{statistics.median(alone.seconds) / seconds:.2f}",
            f"{1000 * statistics.median(found.cpu) / ledgers:.2f}",
            f"{1000 * statistics.median(found.client_cpu) / ledgers:.2f}",
        )
        click.echo(f"| {' | '.join(cells)} |")


def cost(measured: dict[tuple[str, int], Measured], number: int, ledgers: int) -> str:
    """The sentence on what reading in parts costs, over all streams."""
    server, client = [], []
    for (stream, workers), found in measured.items():
        if workers == number:
            alone = measured[stream, 0]
            server.append(100 * (statistics.median(found.cpu) / statistics.median(alone.cpu) - 1))
            more = statistics.median(found.client_cpu) - statistics.median(alone.client_cpu)
            client.append(1000 * more / ledgers)
    return (
        f"Reading in parts with {number} workers costs {min(server):.0f} to {max(server):.0f} percent more time on a"
        f" core in the server, and {min(client):.2f} to {max(client):.2f} ms a ledger more in the client."
    )


if __name__ == "__main__":
    main()
