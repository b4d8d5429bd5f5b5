"""Stores written for tests, in SEP-54's form, from synthetic ledgers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import zstandard

from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger
from stellar_arrow_source.ledgers.synthetic import SyntheticSource

NEVER = threading.Event()
"""A stop event that is never set."""


@cache
def made(start: int, end: int, transactions: int = 2) -> tuple[bytes, ...]:
    """LedgerCloseMeta of the ledgers from ``start`` to ``end``, of a history that begins with ``start``."""
    source = SyntheticSource.from_endpoint(
        f"synthetic://?start={start}&ledgers={end - start + 1}&transactions={transactions}"
    )
    return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))


def take(ledgers: Iterable[RawLedger], into: list[bytes]) -> None:
    """Append each ledger as it comes, so that what came before a failure is kept."""
    for ledger in ledgers:
        into.append(bytes(ledger.xdr))


def slowly(source: LedgerSource, start: int, end: int) -> tuple[bytes, ...]:
    """The XDR of a range, taken so slowly that something may happen meanwhile."""
    taken = []
    for ledger in source.ledgers(start, end, NEVER):
        taken.append(bytes(ledger.xdr))
        time.sleep(0.001)
    return tuple(taken)


def batch(start: int, ledgers: tuple[bytes, ...]) -> bytes:
    """``LedgerCloseMetaBatch``"""
    numbers = (start, start + len(ledgers) - 1, len(ledgers))
    return b"".join(number.to_bytes(4, "big") for number in numbers) + b"".join(ledgers)


def compress(data: bytes) -> bytes:
    """A frame without content size, as real stores have."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


class Store:
    """A store under ``folder``; names are spelled out here, apart from the code under test."""

    def __init__(
        self,
        folder: Path,
        *,
        per_batch: int = 1,
        per_partition: int = 1,
        suffix: str = ".xdr.zst",
        manifest: Mapping[str, object] | None = None,
    ) -> None:
        self.folder, self.per_batch, self.suffix = folder, per_batch, suffix
        self.partition = per_batch * per_partition if per_partition > 1 else 0
        folder.mkdir(exist_ok=True)
        content = {
            "networkPassphrase": "stellar-arrow synthetic network",
            "version": "1.0",
            "compression": "zstd",
            "ledgersPerBatch": per_batch,
            "batchesPerPartition": per_partition,
        }
        (folder / ".config.json").write_text(json.dumps(content | dict(manifest or {})))

    def path(self, start: int) -> Path:
        """The file whose first ledger is ``start``."""
        name = f"{0xFFFFFFFF - start:08X}--{start}"
        if self.per_batch > 1:
            name += f"-{start + self.per_batch - 1}"
        if not self.partition:
            return self.folder / (name + self.suffix)
        first = start // self.partition * self.partition
        return self.folder / f"{0xFFFFFFFF - first:08X}--{first}-{first + self.partition - 1}" / (name + self.suffix)

    def write(self, start: int, ledgers: tuple[bytes, ...]) -> None:
        """Write ledgers that fill whole files from ``start`` on."""
        for at in range(0, len(ledgers), self.per_batch):
            part = ledgers[at : at + self.per_batch]
            self.write_file(start + at, compress(batch(start + at, part)))

    def write_file(self, start: int, content: bytes) -> None:
        """Write one file as it is, in one step as a store's writer does."""
        path = self.path(start)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(content)
        temporary.rename(path)
