"""A server under live ledgers for long: memory, rows and how far clients are behind, minute by minute.

    python benchmarks/soak.py [--minutes 60] [--rate 20] [--clients 10]

A source of synthetic ledgers, the server behind it, parquet-consumer on all streams, clients that follow the tip from
beginning to end, one that comes and goes, and one that does not read. At the end every follower must have had each
ledger once, with the rows that a request for the same range gives, and the archive must verify.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pyarrow.flight as flight
from processes import arrow_source, ledger_source
from rich.console import Console
from rich.table import Table

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest

STREAMS = ("payments", "operations", "transactions", "ttp_events", "effects")
HISTORY = 200


@dataclass
class Follower:
    """A client that follows the tip; what it has had so far."""

    stream: str
    start: int
    rows: int = 0
    last: int = 0
    error: str | None = None

    def follow(self, address: str, stop: threading.Event) -> None:
        """Read until ``stop`` is set, and see that ledgers come one after the other."""
        try:
            with Client(address) as client:
                self.last = self.start - 1
                for batch, cursor in client.stream(StreamRequest(self.stream, self.start)):
                    if cursor.last < cursor.first:
                        continue
                    if cursor.first != self.last + 1:
                        raise AssertionError(f"ledger {cursor.first} came after {self.last}")
                    self.rows, self.last = self.rows + batch.num_rows, cursor.last
                    if stop.is_set():
                        return
        except Exception as error:  # told at the end; the others go on
            self.error = f"{type(error).__name__}: {error}"


def come_and_go(address: str, stop: threading.Event) -> None:
    """Ask for ranges, one after the other, on connections of their own."""
    for stream in cycle(STREAMS):
        with Client(address) as client:
            client.read_table(StreamRequest(stream, 2, 100))
        if stop.wait(1.0):
            return


def stall(port: int, start: int, stop: threading.Event) -> None:
    """Open a stream again and again, and do not read it."""
    while not stop.is_set():
        with flight.connect(f"grpc://localhost:{port}") as client:
            reader = client.do_get(flight.Ticket(StreamRequest("operations", start).to_ticket()))
            stop.wait(120.0)
            reader.cancel()


def rows_again(address: str, stream: str, start: int, end: int) -> npt.NDArray[np.int64]:
    """How many rows a request gives up to each ledger of a range."""
    rows = np.zeros(end - start + 1, np.int64)
    with Client(address) as client:
        for batch, _ in client.stream(StreamRequest(stream, start, end, columns=("ledger_sequence",))):
            rows += np.bincount(batch.column("ledger_sequence").to_numpy() - start, minlength=len(rows))
    return rows.cumsum()


def resident(pid: int) -> float:
    """Megabytes of a process in memory now."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(0.5), default=60.0, help="How long.")
@click.option("--rate", type=click.FloatRange(0.1), default=20.0, help="Ledgers a second.")
@click.option("--clients", type=click.IntRange(1, 100), default=10, help="Clients that follow the tip.")
@click.option("--every", type=click.FloatRange(0.1), default=5.0, help="Minutes between two lines.")
def main(minutes: float, rate: float, clients: int, every: float) -> None:
    """Let a server run for long."""
    console = Console(width=110)
    table = Table(
        *("minute", "server MB", "source MB", "archive's process MB", "tip", "behind (ledgers)", "threads"),
        title=f"{rate:g} ledgers a second, {clients} followers, {os.cpu_count()} cores",
    )
    stop = threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = stack.enter_context(ledger_source(f"synthetic://?ledgers={HISTORY}&rate={rate:g}"))
        server = stack.enter_context(arrow_source(f"localhost:{source.port}"))
        address = f"localhost:{server.port}"
        with Client(address) as client:
            start = client.latest_ledger()
            assert start is not None
        script = Path(sys.executable).with_name("parquet-consumer")
        archive = subprocess.Popen(
            [script, address, folder / "all", str(start), "--stream", "all", "--interval", "1", "--log-level", "error"]
        )
        stack.callback(archive.kill)
        followers = [Follower(STREAMS[number % len(STREAMS)], start) for number in range(clients)]
        tasks = [threading.Thread(target=follower.follow, args=(address, stop)) for follower in followers]
        tasks.append(threading.Thread(target=come_and_go, args=(address, stop)))
        tasks.append(threading.Thread(target=stall, args=(server.port, start, stop)))
        for task in tasks:
            task.start()
        began = time.monotonic()
        sizes = []
        while (passed := (time.monotonic() - began) / 60) < minutes:
            stop.wait(min(every, minutes - passed) * 60)
            with Client(address) as client:
                tip = client.latest_ledger() or 0
            behind = sorted(tip - follower.last for follower in followers)
            sizes.append(resident(server.process.pid))
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            [threads] = [line.split()[1] for line in status.splitlines() if line.startswith("Threads:")]
            cells = (sizes[-1], resident(source.process.pid), resident(archive.pid))
            minute = (time.monotonic() - began) / 60
            table.add_row(
                f"{minute:.0f}", *(f"{size:.0f}" for size in cells), str(tip), f"{behind[0]} to {behind[-1]}", threads
            )
            console.print(f"minute {minute:.0f}: server {sizes[-1]:.0f} MB, tip {tip}, behind {behind}")
        stop.set()
        for task in tasks:
            task.join(120)
        archive.terminate()
        archive.wait(60)
        console.print(table)
        failures = [f"{one.stream}: {one.error}" for one in followers if one.error]
        console.print("asking for all rows again, and verifying the archive")
        end = max(follower.last for follower in followers)
        with ThreadPoolExecutor(len(STREAMS)) as pool:
            again = {stream: pool.submit(rows_again, address, stream, start, end) for stream in STREAMS}
        for follower in followers:
            if (rows := again[follower.stream].result()[follower.last - start]) != follower.rows:
                failures.append(f"{follower.stream}: {follower.rows} rows, but {rows} when asked again")
        for stream in sorted(path for path in (folder / "all").iterdir() if path.is_dir()):
            done = subprocess.run([script, "verify", stream], capture_output=True, text=True, check=False)
            if done.returncode:
                failures.append(f"{stream.name}: {done.stderr.strip()}")
        ledgers = followers[0].last - start + 1
        console.print(f"{ledgers} ledgers, {sum(one.rows for one in followers):,} rows to followers")
        console.print(f"server {sizes[0]:.0f} MB after the first {every:g} minutes, {sizes[-1]:.0f} at the end")
    if failures:
        raise click.ClickException("; ".join(failures))


if __name__ == "__main__":
    main()
