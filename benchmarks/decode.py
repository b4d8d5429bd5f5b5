"""How fast ledgers are decoded, beside stellar-sdk's bare decode of the same ledger in the same run, on one core.

    python benchmarks/decode.py [--ledger 53312000 …] [--batch 1 --batch 32] [--rounds 15]

A row is the processor's time from a compressed file of a SEP-54 store to Arrow record batches with all default columns:
decompression, walk, matching by hash, columns; medians over the rounds. stellar-sdk's decode, to which the last column
compares, is timed before and after, in a process of its own with Python's defaults; the time that it takes with the
garbage collector off, less than half, stands beside it. Other work on the machine counts little, but takes the caches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import zstandard
from rich.console import Console
from rich.table import Table

from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tables import STREAMS, LedgerDecoder
from stellar_arrow_source.xdr import split_batch

CORPUS = Path(os.environ.get("STELLAR_LEDGER_CORPUS", Path(__file__).parents[2] / "shared" / "ledgers"))
ALL = tuple(stream.name for stream in STREAMS)
REQUESTS = (
    ("transactions",),
    ("operations",),
    ("transactions", "operations"),
    ("payments",),
    ("ledgers",),
    ("ttp_events",),
    *((name,) for name in ("effects",) if name in ALL),
    ALL,
)
GOALS = {
    ("transactions",): 250,
    ("operations",): 220,
    ("transactions", "operations"): 200,
    ("ttp_events",): 220,
    ALL: 75,
}
"""Least ratio to stellar-sdk's decode that the design asks for, on pubnet 53312000."""
LEDGERS = (53312000, 60659332)
HEADER = 12  # of a LedgerCloseMetaBatch, before the only ledger of the file
ROOM = 8 << 20


class Work:
    """Decodes ``batch`` copies of one compressed ledger."""

    def __init__(self, compressed: bytes, streams: tuple[str, ...], batch: int) -> None:
        self.compressed, self.streams, self.batch = compressed, streams, batch
        self.decoder = LedgerDecoder(dict.fromkeys(streams), passphrase=KNOWN_NETWORKS["pubnet"])
        self.decompressor = zstandard.ZstdDecompressor()
        self.rows = 0
        self.seconds: list[float] = []

    def run(self) -> None:
        buffer = self.decoder.buffer
        buffer.clear()
        for _ in range(self.batch):
            with self.decompressor.stream_reader(self.compressed) as reader:
                buffer.commit(reader.readinto(buffer.reserve(ROOM)), skip=HEADER)
        decoded = self.decoder.decode_buffer()
        self.rows = sum(batch.num_rows for batch in decoded.batches.values())


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that ``work`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


SDK_DECODE = """
import gc, statistics, sys, time
from stellar_sdk import xdr
ledger, rounds = sys.stdin.buffer.read(), int(sys.argv[1])
for collect in (gc.enable, gc.disable):
    collect()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        kept = xdr.LedgerCloseMeta.from_xdr_bytes(ledger)
        seconds.append(time.process_time() - start)
    print(statistics.median(seconds))
"""


def decode_with_sdk(ledger: bytes, rounds: int) -> tuple[float, float]:
    """Seconds (median) in which stellar-sdk decodes ``ledger``: as Python runs it, and with the collector off.

    In a process of its own: there the collector, which takes half of the time, has nothing of ours to look through.
    """
    command = [sys.executable, "-c", SDK_DECODE, str(rounds)]
    done = subprocess.run(command, input=ledger, stdout=subprocess.PIPE, check=True)
    collected, uncollected = map(float, done.stdout.split())
    return collected, uncollected


def find_ledger(sequence: int) -> bytes:
    """The compressed file of one ledger of the corpus' pubnet store."""
    files = sorted((CORPUS / "pubnet").glob(f"*/*--{sequence}.xdr.zst"))
    if not files:
        raise click.ClickException(f"no pubnet ledger {sequence} in {CORPUS}; set STELLAR_LEDGER_CORPUS")
    return files[0].read_bytes()


def measure(sequence: int, batches: tuple[int, ...], rounds: int) -> Table:
    """The table of one ledger."""
    compressed = find_ledger(sequence)
    with zstandard.ZstdDecompressor().stream_reader(compressed) as reader:
        ledger = bytes(split_batch(reader.read()).ledgers[0])
    works = [Work(compressed, streams, batch) for batch in batches for streams in REQUESTS]
    for work in works:
        for _ in range(3):  # compile, and let buffers grow
            work.run()
    sdk = decode_with_sdk(ledger, rounds)
    for _ in range(rounds):
        for work in works:
            work.run()  # a stream is decoded by one decoder on and on: its buffers are in the caches
            work.seconds.append(timed(work.run) / work.batch)
    again = decode_with_sdk(ledger, rounds)
    base, uncollected = (statistics.median(pair) for pair in zip(sdk, again, strict=True))
    title = (
        f"pubnet {sequence}, {len(ledger):,} bytes; stellar-sdk's decode: {base * 1e3:.1f} ms, "
        f"{uncollected * 1e3:.1f} ms without garbage collection"
    )
    table = Table(
        "streams", "ledgers a call", "ms/ledger", "ledgers/s", "MB/s", "rows/s", "times stellar-sdk", title=title
    )
    for work in works:
        seconds = statistics.median(work.seconds)
        goal = GOALS.get(work.streams) if sequence == 53312000 and work.batch > 1 else None
        ratio = f"{base / seconds:.0f}" + (f" (goal {goal})" if goal else "")
        table.add_row(
            f"all {len(ALL)}" if work.streams == ALL else " + ".join(work.streams),
            str(work.batch),
            f"{seconds * 1e3:.3f}",
            f"{1 / seconds:,.0f}",
            f"{len(ledger) / seconds / 1e6:,.0f}",
            f"{work.rows / work.batch / seconds:,.0f}",
            ratio,
        )
    return table


@click.command(context_settings={"show_default": True})
@click.option(
    "--ledger", "ledgers", type=int, multiple=True, default=(53312000, 60659332), help="Sequence; repeatable."
)
@click.option(
    "--batch", "batches", type=int, multiple=True, default=(32, 1), help="Ledgers decoded in one call; repeatable."
)
@click.option("--rounds", type=int, default=15, help="Times that everything is measured.")
def main(ledgers: tuple[int, ...], batches: tuple[int, ...], rounds: int) -> None:
    """Measure decoding against stellar-sdk."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    console = Console(width=130)
    for sequence in ledgers:
        console.print(measure(sequence, batches, rounds))


if __name__ == "__main__":
    main()
