"""How fast ledgers go from a store to Parquet files, through real processes on this machine, and where the time goes.

    python benchmarks/pipeline.py [--ledger 60659332 …] [--streams all …] [--source grpc …] [--copies 1000] [--rounds 3]

The chain is store → stellar-ledger-source → stellar-arrow-source → parquet-consumer; with ``--source file``, the
Arrow source reads the store itself. Each stage is measured alone too: reading the store, the gRPC hop (a client that
drains it), the server (Flight clients that drain it), writing (the consumer's sink, fed from memory). Rates are
medians over the rounds. Time on a core, without that of starting, is what counts where others use the machine as
well.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import click
import pyarrow as pa
from parquet_consumer.archive import Archive
from parquet_consumer.files import FileOptions
from parquet_consumer.folders import Folder
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from processes import Cost, Server, arrow_source, ledger_source, parquet_consumer
from rich.console import Console
from rich.table import Table
from stores import find_ledger, make_store

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import UnknownStreamError
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, find_stream

Streams = tuple[str, ...]

STREAM_SETS = ("payments", "transactions,operations", "ttp_events", "all")
GOAL = {(60659332, ("transactions", "operations")): 300}
"""Ledgers a second that the design asks for, from the store to Parquet, on two cores."""

Batches = list[tuple[pa.RecordBatch, Cursor]]


@dataclass
class Row:
    """One line of the table: a stage, and its measurements of all rounds."""

    name: str
    goal: int | None = None
    rows: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)

    def used(self, process: str, before: Cost, after: Cost) -> None:
        """Note what a process used between two readings."""
        self.cpu.setdefault(process, []).append(after.cpu - before.cpu)
        self.peak[process] = max(self.peak.get(process, 0), after.peak)

    @contextmanager
    def timing(self, **servers: Server | None) -> Iterator[None]:
        """Time what is done within, here and in the servers."""
        watched = {name: server for name, server in servers.items() if server is not None}
        before = {name: server.cost() for name, server in watched.items()}
        cpu, start = time.process_time(), time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - start)
        self.cpu.setdefault("reader", []).append(time.process_time() - cpu)
        for name, server in watched.items():
            self.used(name, before[name], server.cost())


class Chain:
    """The running servers over one store, and what is measured of them."""

    def __init__(self, store: Path, work: Path, ledgers: range, hop: Server | None, server: Server) -> None:
        self.store, self.work, self.ledgers, self.hop, self.server = store, work, ledgers, hop, server
        self._outputs = count()

    def read_store(self, row: Row) -> None:
        """Read and decompress, nothing else."""
        with closing(open_source(str(self.store))) as source, row.timing():
            for _ in source.ledgers(self.ledgers[0], self.ledgers[-1], threading.Event()):
                pass

    def drain_hop(self, row: Row) -> None:
        """A gRPC client that reads all ledgers; the other side reads the store."""
        assert self.hop is not None
        with closing(open_source(f"localhost:{self.hop.port}")) as source, row.timing(source=self.hop):
            for _ in source.ledgers(self.ledgers[0], self.ledgers[-1], threading.Event()):
                pass

    def drain_server(self, streams: Streams, row: Row) -> None:
        """Flight clients that read all streams at the same time and drop the rows."""

        def rows_of(stream: str) -> int:
            return sum(batch.num_rows for batch, _ in client.stream(self._request(stream)))

        with (
            Client(f"localhost:{self.server.port}") as client,
            ThreadPoolExecutor(len(streams)) as pool,
            row.timing(source=self.hop, server=self.server),
        ):
            row.rows = sum(pool.map(rows_of, streams))

    def write(self, streams: Streams, row: Row) -> None:
        """The consumer's sinks, one thread each, fed from memory, until all is on disk."""
        with Client(f"localhost:{self.server.port}") as client, ExitStack() as stack:
            held = {stream: list(client.stream(self._request(stream))) for stream in streams}
            folders = {stream: self._output() for stream in streams}
            archives = {stream: stack.enter_context(closing(Archive(Folder(folders[stream])))) for stream in streams}
            with ThreadPoolExecutor(len(streams)) as pool, row.timing():
                done = [pool.submit(self._write_stream, archives[name], name, held[name]) for name in streams]
                row.rows = sum(future.result() for future in done)

    def archive(self, streams: Streams, row: Row) -> None:
        """The whole chain."""
        before = {name: server.cost() for name, server in self._servers().items()}
        output = self._output()
        result = parquet_consumer(self.server, output, streams, self.ledgers)
        row.seconds.append(result.seconds)
        row.rows = result.rows
        for name, server in self._servers().items():
            row.used(name, before[name], server.cost())
        nothing_left = parquet_consumer(self.server, output, streams, self.ledgers)
        row.used("reader", nothing_left.cost, result.cost)

    def _write_stream(self, archive: Archive, stream: str, batches: Batches) -> int:
        sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions())
        sink.open(batches[0][0].schema, self._request(stream))
        for batch, cursor in batches:
            sink.write(batch, cursor)
        sink.close()
        return sum(batch.num_rows for batch, _ in batches)

    def _request(self, stream: str) -> StreamRequest:
        return StreamRequest(stream, self.ledgers[0], self.ledgers[-1])

    def _output(self) -> Path:
        return self.work / f"archive-{next(self._outputs)}"

    def _servers(self) -> dict[str, Server]:
        return {"source": self.hop, "server": self.server} if self.hop else {"server": self.server}


class StreamSet(click.ParamType[Streams]):
    """Names with commas between them, or ``all``."""

    name = "streams"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Streams:
        """The canonical names."""
        if not isinstance(value, str):
            return cast(Streams, value)
        if value == "all":
            return tuple(stream.name for stream in STREAMS)
        try:
            return tuple(find_stream(name).name for name in value.split(","))
        except UnknownStreamError as error:
            self.fail(str(error), param, ctx)


def label(streams: Streams) -> str:
    """What the table calls them."""
    return f"all {len(streams)} streams" if len(streams) == len(STREAMS) else " + ".join(streams)


def measure(sequence: int, copies: int, source: str, stream_sets: Sequence[Streams], rounds: int) -> Table:
    """The table of one ledger and one way to the store."""
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder, ExitStack() as stack:
        store, work = Path(folder, "store"), Path(folder, "archives")
        work.mkdir()
        ledgers = make_store(store, sequence, copies)
        hop = stack.enter_context(ledger_source(str(store))) if source == "grpc" else None
        server = stack.enter_context(arrow_source(f"localhost:{hop.port}" if hop else f"file://{store}"))
        chain = Chain(store, work, ledgers, hop, server)
        steps: list[tuple[Row, Callable[[Row], None]]] = [(Row("store alone"), chain.read_store)]
        if hop:
            steps.append((Row("gRPC hop"), chain.drain_hop))
        for streams in stream_sets:
            name = label(streams)
            steps += [
                (Row(f"server: {name}"), partial(chain.drain_server, streams)),
                (Row(f"writing: {name}"), partial(chain.write, streams)),
                (Row(f"to Parquet: {name}", GOAL.get((sequence, streams))), partial(chain.archive, streams)),
            ]
            chain.drain_server(streams, Row("warm-up"))
        for _ in range(rounds):
            for row, step in steps:
                step(row)
    size = len(find_ledger(sequence))
    way = "through gRPC" if hop else "read by the server"
    return table(
        [row for row, _ in steps], copies, size, f"{copies} times pubnet {sequence} ({size:,} bytes), store {way}"
    )


def table(rows: list[Row], ledgers: int, size: int, title: str) -> Table:
    """Medians over the rounds."""
    out = Table("stage", "ledgers/s", "MB/s", "rows/s", "ms on a core a ledger", "peak MB", title=title)
    for row in rows:
        rate = ledgers / statistics.median(row.seconds)
        cpu = {name: statistics.median(seconds) / ledgers * 1e3 for name, seconds in row.cpu.items()}
        out.add_row(
            row.name,
            f"{rate:,.0f}" + (f" (goal {row.goal})" if row.goal else ""),
            f"{rate * size / 1e6:,.0f}",
            f"{row.rows / ledgers * rate:,.0f}" if row.rows else "",
            " + ".join(f"{name} {ms:.2f}" for name, ms in cpu.items()),
            ", ".join(f"{name} {peak / 1e6:,.0f}" for name, peak in row.peak.items()),
            end_section=row.name.startswith("to Parquet") or row.name.startswith("gRPC"),
        )
    return out


@click.command(context_settings={"show_default": True})
@click.option("--ledger", "ledgers", type=int, multiple=True, default=(60659332, 53312000), help="Repeatable.")
@click.option(
    "--streams",
    "stream_sets",
    type=StreamSet(),
    multiple=True,
    default=STREAM_SETS,
    help="Streams that are read at the same time: names with commas between them, or all; repeatable.",
)
@click.option("--copies", type=click.IntRange(10, 60_000), default=1000, help="Ledgers in the store.")
@click.option(
    "--source",
    "sources",
    type=click.Choice(["grpc", "file"]),
    multiple=True,
    default=("grpc", "file"),
    help="How the server gets at the store: through stellar-ledger-source, or by itself; repeatable.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, help="Times that everything is measured.")
def main(
    ledgers: tuple[int, ...], stream_sets: tuple[Streams, ...], copies: int, sources: tuple[str, ...], rounds: int
) -> None:
    """Measure the chain from a store to Parquet."""
    console = Console(width=150)
    for sequence in ledgers:
        for source in sources:
            console.print(measure(sequence, copies, source, stream_sets, rounds))


if __name__ == "__main__":
    main()
