"""Rows of ledgers, made or of the corpus, as a server of ours gives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder
from tests.support import corpus

AT_A_TIME = 100
CLOSES = "ledgers"
"""The stream that has one row for each ledger, with the time when it closed."""


def made_tables(streams: Sequence[str], first: int, last: int) -> dict[str, pa.Table]:
    """Streams of made ledgers."""
    source = open_source(f"synthetic://?start={first}&ledgers={last - first + 1}")
    decoder = LedgerDecoder(dict.fromkeys(streams), passphrase=source.network_passphrase)
    ledgers = (ledger.xdr for ledger in source.ledgers(first, last, threading.Event()))
    return _tables(streams, (decoder.decode(part) for part in _parts(ledgers)))


def corpus_tables(streams: Sequence[str], files: int | None = None) -> tuple[int, dict[str, pa.Table]]:
    """Streams of the ledgers of the corpus, and how many ledgers these are.

    The corpus is of several networks, and of many short chains: its ledgers are numbered anew from 1 on, in the order
    in which they closed, as those of one chain.

    Args:
        files: at most about so many, spread evenly over the corpus; all when it has no more, or when this is None.
    """
    names = list(dict.fromkeys([*streams, CLOSES]))
    chosen = corpus.files()
    chosen = chosen[:: max(1, len(chosen) // (files or len(chosen)))]

    def decoded() -> Iterator[DecodedBatch]:
        found = (ledger for file in chosen for ledger in corpus.read(file))
        for passphrase, ledgers in groupby(found, lambda ledger: ledger.passphrase):
            decoder = LedgerDecoder(dict.fromkeys(names), passphrase=passphrase)
            for part in _parts(ledger.xdr for ledger in ledgers):
                yield decoder.decode(part)

    tables: dict[str, list[pa.Table]] = {stream: [] for stream in names}
    ledgers = 0
    for batch in decoded():
        for stream, parts in tables.items():
            counts = np.diff(batch.row_ends[stream], prepend=0)
            numbers = np.repeat(np.arange(ledgers, ledgers + len(counts), dtype=np.uint32), counts)
            rows = _owned(batch.batches[stream])
            parts.append(pa.Table.from_batches([rows]).set_column(0, rows.schema.field(0), pa.array(numbers)))
        ledgers += len(batch.sequences)
    metadata = {"network": "all of the corpus", "schema_version": "1"}
    whole = {
        stream: pa.concat_tables(part.replace_schema_metadata({"stream": stream, **metadata}) for part in parts)
        for stream, parts in tables.items()
    }
    order = np.argsort(whole[CLOSES]["ledger_close_time"].cast(pa.int64()).to_numpy(), kind="stable")
    return ledgers, {stream: _renumbered(whole[stream], order) for stream in streams}


def _renumbered(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Rows of ledgers in another order; ``order`` has the former number, from 0 on, of each ledger from 1 on."""
    numbers = np.empty(len(order), np.uint32)
    numbers[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    renumbered = numbers[table["ledger_sequence"].to_numpy()]
    table = table.set_column(0, table.schema.field(0), pa.array(renumbered))
    return table.take(np.argsort(renumbered, kind="stable"))


def _tables(streams: Sequence[str], decoded: Iterator[DecodedBatch]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.RecordBatch]] = {stream: [] for stream in streams}
    for batch in decoded:
        for stream, batches in parts.items():
            batches.append(_owned(batch.batches[stream]))
    return {stream: pa.Table.from_batches(batches).combine_chunks() for stream, batches in parts.items()}


def _parts(ledgers: Iterator[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for ledger in ledgers:
        part.append(ledger)
        if len(part) == AT_A_TIME:
            yield part
            part = []
    if part:
        yield part


def _owned(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy: the decoder uses its buffers again."""
    return pa.ipc.read_record_batch(batch.serialize(), batch.schema)
