"""A Flight server over ledgers made up on the spot: a source that does what a test says, and a decoder as plain as it.

The "XDR" of these ledgers is a sequence and a number of rows; what is tested is everything around the decoder.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa

from stellar_arrow_client.errors import GapError, UnknownStreamError
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.source import Bounds, RawLedger
from stellar_arrow_source.tables.spec import Column, Stream

HEADER = struct.Struct(">II")
DAMAGED = b"damaged!"
PASSPHRASE = "Test network of the server"


def ledger_bytes(sequence: int, rows: int = 2, padding: int = 0) -> bytes:
    return HEADER.pack(sequence, rows) + bytes(padding)


def _column(name: str, type_: pa.DataType, **attributes: Any) -> Column:
    return Column(name, type_, f"The {name}.", read=_unused, **attributes)


def _unused(*_: object) -> Any:
    raise AssertionError("these streams are made by PlainDecoder")


NUMBERS = Stream(
    "numbers",
    "One row per number.",
    _unused,
    (),
    (
        _column("ledger_sequence", pa.uint32()),
        _column("index", pa.uint32()),
        _column("text", pa.string(), unit="letters"),
        _column("raw_xdr", pa.binary(), opt_in=True),
    ),
    aliases=("digits",),
)
LEDGERS = Stream(
    "ledgers",
    "One row per ledger.",
    _unused,
    (),
    (
        _column("ledger_sequence", pa.uint32()),
        _column("transaction_count", pa.uint32()),
        _column("successful_transaction_count", pa.uint32()),
    ),
    aliases=("stellar_ledger",),
)
TRANSACTIONS = Stream(
    "transactions",
    "One row per transaction.",
    _unused,
    (),
    (
        _column("ledger_sequence", pa.uint32()),
        _column("transaction_hash", pa.binary(32)),
        _column("successful", pa.bool_()),
    ),
)
STREAMS = (NUMBERS, LEDGERS, TRANSACTIONS)


def find(name: str) -> Stream:
    for stream in STREAMS:
        if name in (stream.name, *stream.aliases):
            return stream
    [near] = get_close_matches(name, [stream.name for stream in STREAMS], 1, 0)
    raise UnknownStreamError(f"no stream is called {name!r}; did you mean {near}?")


@dataclass
class Decoded:
    sequences: np.ndarray
    batches: dict[str, pa.RecordBatch]
    row_ends: dict[str, np.ndarray]
    passphrase: str | None
    skipped: dict[str, int] = field(default_factory=dict)


class PlainDecoder:
    """Makes the rows that a ledger's two numbers say; 10 letters of text each."""

    text = "abcdefghij"

    def __init__(self, requests: Mapping[str, Sequence[str] | None], *, passphrase: str | None = None) -> None:
        self._requests = requests
        self._passphrase = passphrase
        self.columns = tuple((name, columns and tuple(columns)) for name, columns in requests.items())

    def decode(self, xdrs: Sequence[bytes]) -> Decoded:
        heads = []
        for index, xdr in enumerate(xdrs):
            if bytes(xdr[:8]) == DAMAGED:
                raise DecodeError("no such discriminant", ledger=None, index=index, offset=4, path="LedgerCloseMeta.v")
            heads.append(HEADER.unpack_from(xdr))
        sequences = np.array([sequence for sequence, _ in heads], np.uint32)
        rows = np.array([number for _, number in heads], np.int64)
        made, ends = {}, {}
        for name, columns in self._requests.items():
            stream = find(name)
            schema = stream.schema(columns, self._passphrase)
            counts = np.ones_like(rows) if name == "ledgers" else rows
            values = {
                "ledger_sequence": np.repeat(sequences, counts),
                "index": np.concatenate([np.arange(n, dtype=np.uint32) for n in counts]),
                "text": [self.text] * int(counts.sum()),
                "raw_xdr": [b"x"] * int(counts.sum()),
                "transaction_count": rows.astype(np.uint32),
                "successful_transaction_count": (rows // 2).astype(np.uint32),
                "transaction_hash": [bytes(32)] * int(counts.sum()),
                "successful": np.arange(counts.sum()) % 2 == 0,
            }
            arrays = [pa.array(values[field.name], field.type) for field in schema]
            made[name] = pa.RecordBatch.from_arrays(arrays, schema=schema)
            ends[name] = np.cumsum(counts)
        return Decoded(sequences, made, ends, self._passphrase)


TABLES = Tables(STREAMS, find, PlainDecoder)  # type: ignore[arg-type]


class ScriptedSource:
    """Ledgers ``oldest`` to ``latest``; a test may add to the tip, damage ledgers, and see who reads."""

    endpoint = "scripted://"

    def __init__(
        self,
        oldest: int = 1,
        latest: int = 1000,
        make: Callable[[int], bytes] = ledger_bytes,
        passphrase: str | None = PASSPHRASE,
    ) -> None:
        self.network_passphrase = passphrase
        self.oldest, self.latest = oldest, latest
        self.make = make
        self.failures: dict[int, Exception] = {}
        self.reading = 0
        self.given: list[int] = []
        self.unavailable: Exception | None = None
        self._changed = threading.Condition()

    def advance(self, ledgers: int = 1) -> None:
        with self._changed:
            self.latest += ledgers
            self._changed.notify_all()

    def bounds(self) -> Bounds:
        if self.unavailable:
            raise self.unavailable
        return Bounds(self.oldest, self.latest)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        if start < self.oldest:
            raise GapError(f"ledger {start} is before the oldest, {self.oldest}")
        self.reading += 1
        try:
            sequence = start
            while (end is None or sequence <= end) and not stop.is_set():
                if sequence in self.failures:
                    raise self.failures[sequence]
                with self._changed:
                    if sequence > self.latest and not self._changed.wait_for(
                        lambda wanted=sequence: wanted <= self.latest, timeout=0.1
                    ):
                        continue
                self.given.append(sequence)
                yield RawLedger(sequence, self.make(sequence))
                sequence += 1
        finally:
            self.reading -= 1

    def close(self) -> None:
        pass


@contextmanager
def serving(
    source: ScriptedSource | None = None, *, tables: Tables = TABLES, open_source: Any = None, **settings: Any
) -> Iterator[Service]:
    """A started service on free ports, ready unless its source is not."""
    source = source or ScriptedSource()
    config = ServerConfig(**{"port": 0, "health_port": 0, "drain_seconds": 1.0, **settings})
    service = Service(config, tables, open_source or (lambda: source))
    service.start()
    try:
        if open_source is None and source.unavailable is None:
            wait_until(lambda: not service.not_ready(), 120)
        yield service
    finally:
        service.close()


def wait_until(condition: Callable[[], Any], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
