"""Stores to measure with: one real ledger many times over, renumbered so that the copies follow each other."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import click
import zstandard

from stellar_arrow_source.ledgers.layout import MANIFEST, SUFFIXES, Layout
from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tables.frame import CLOSE_TIME, SEQUENCE
from stellar_arrow_source.tables.relations import LEDGER
from stellar_arrow_source.xdr import Arena, LedgerBuffer, compile_program, split_batch

CORPUS = Path(os.environ.get("STELLAR_LEDGER_CORPUS", Path(__file__).parents[2] / "shared" / "ledgers"))
CLOSE_SECONDS = 5
LAYOUT = Layout(ledgers_per_batch=1, batches_per_partition=64_000)
_HEADER = struct.Struct(">III")  # of a LedgerCloseMetaBatch of one ledger: first, last, number
_LEVEL = 3


def find_ledger(sequence: int) -> bytes:
    """The LedgerCloseMeta of one ledger of the corpus' pubnet store."""
    files = sorted((CORPUS / "pubnet").glob(f"*/*--{sequence}.xdr.zst"))
    if not files:
        raise click.ClickException(f"no pubnet ledger {sequence} in {CORPUS}; set STELLAR_LEDGER_CORPUS")
    with zstandard.ZstdDecompressor().stream_reader(files[0].read_bytes()) as reader:
        return bytes(split_batch(reader.read()).ledgers[0])


class Renumbered:
    """A pubnet ledger as any other: the same but for sequence and close time, which follow each other.

    The hashes of headers do not, and are not looked at on the way to a table. Those of transactions are untouched.
    """

    def __init__(self, sequence: int) -> None:
        self.first = sequence
        self._xdr = bytearray(find_ledger(sequence))
        self._sequence_at, self._time_at = _positions(self._xdr)
        self._closed = int.from_bytes(self._xdr[self._time_at : self._time_at + 8], "big")

    def ledger(self, sequence: int) -> bytes:
        """The LedgerCloseMeta of the ledger of that number."""
        closed = self._closed + CLOSE_SECONDS * (sequence - self.first)
        self._xdr[self._sequence_at : self._sequence_at + 4] = sequence.to_bytes(4, "big")
        self._xdr[self._time_at : self._time_at + 8] = closed.to_bytes(8, "big")
        return bytes(self._xdr)


def make_store(folder: Path, sequence: int, copies: int) -> range:
    """Write a SEP-54 store of ``copies`` renumbered copies of a pubnet ledger; returns their sequences.

    One ledger a file, as stores of pubnet are.
    """
    copy = Renumbered(sequence)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False)
    sequences = range(sequence, sequence + copies)
    for number in sequences:
        span = LAYOUT.batch(number)
        path = folder / LAYOUT.folder(span) / f"{LAYOUT.stem(span)}{SUFFIXES[0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compressor.compress(_HEADER.pack(number, number, 1) + copy.ledger(number)))
    manifest = {
        "networkPassphrase": KNOWN_NETWORKS["pubnet"],
        "version": "1.0",
        "compression": "zstd",
        "ledgersPerBatch": LAYOUT.ledgers_per_batch,
        "batchesPerPartition": LAYOUT.batches_per_partition,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return sequences


def _positions(xdr: bytes | bytearray) -> tuple[int, int]:
    """Where sequence and close time stand, in bytes: by the decoder's own expressions."""
    paths = [expression.paths[0] for expression in (SEQUENCE, CLOSE_TIME)]
    arena = Arena(compile_program([LEDGER], {LEDGER.name: frozenset(paths)}, {}))
    buffer = LedgerBuffer()
    buffer.append(bytes(xdr))
    arena.walk(buffer.words, buffer.bounds)
    [row] = arena.rows(LEDGER.name).tolist()
    first = int(buffer.bounds[0, 0])
    found = [arena.location(LEDGER.name, path) for path in paths]
    sequence_at, time_at = ((row[mark.slot] + mark.offset - first) * 4 for mark in found)
    return sequence_at, time_at
