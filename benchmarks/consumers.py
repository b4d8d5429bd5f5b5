"""How many rows a second consumers write, beside the bulk loaders of the same servers on the same Arrow data.

    python benchmarks/consumers.py --sink postgres [--stream payments] [--rows 500000] [--raw] [--rounds 3]

Each sink is a module ``consumers_NAME`` with a function ``ways(data)``: a context manager that starts the server and
gives the ways to write into it, the consumer's first. The rows are in memory, so that only writing is measured. All
ways are measured in turn, the given number of times; a line is the median.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from dataclasses import dataclass, field

import click
from consumers_data import Data, Way
from rich.console import Console
from rich.table import Table

SINKS = ("postgres", "kafka", "elasticsearch", "lake")


@dataclass
class Line:
    """A way, with its measurements of all rounds."""

    way: Way
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Write everything once."""
        self.way.clear()
        told = self.way.server_seconds
        before = told() if told else 0.0
        cpu, start = time.process_time(), time.perf_counter()
        self.way.write()
        self.seconds.append(time.perf_counter() - start)
        self.cpu.append(time.process_time() - cpu)
        if told:
            self.server.append(told() - before)

    def cells(self, data: Data) -> tuple[str, ...]:
        rows, size = data.table.num_rows, data.table.nbytes
        seconds = statistics.median(self.seconds)
        return (
            self.way.name,
            f"{rows / seconds:,.0f}",
            f"{size / seconds / 1e6:,.0f}",
            f"{statistics.median(self.cpu) / rows * 1e6:.2f}",
            f"{statistics.median(self.server) / rows * 1e6:.2f}" if self.server else "",
        )


@click.command(context_settings={"show_default": True})
@click.option("--sink", "sinks", type=click.Choice(SINKS), multiple=True, default=SINKS, help="Repeatable.")
@click.option("--stream", default="payments", help="Stream whose rows are written.")
@click.option("--rows", type=click.IntRange(1), default=500_000, help="How many, at least.")
@click.option("--raw", is_flag=True, help="With the columns of raw XDR, which no format makes much smaller.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Times that everything is measured.")
def main(sinks: tuple[str, ...], stream: str, rows: int, raw: bool, rounds: int) -> None:
    """Measure what consumers write."""
    data = Data(stream, rows, raw)
    console = Console(width=110)
    title = f"{data.table.num_rows:,} rows of {stream}, {data.table.nbytes / 1e6:,.0f} MB as Arrow"
    for sink in sinks:
        with importlib.import_module(f"consumers_{sink}").ways(data) as ways:
            lines = [Line(way) for way in ways]
            for _ in range(rounds):
                for line in lines:
                    line.measure()
        out = Table("into " + sink, "rows/s", "MB/s", "µs on a core a row", "of the server", title=title)
        for line in lines:
            out.add_row(*line.cells(data))
        console.print(out)
    console.print(f"load before and around it: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
