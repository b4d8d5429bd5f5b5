"""The ledger corpus: real and core-made ledgers that lie outside the repository.

It is found through ``STELLAR_LEDGER_CORPUS`` (default: ``../shared/ledgers`` beside the repository). Files are
read with zstandard and stellar_sdk alone, so that nothing here shares code with the decoder under test.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard
from stellar_sdk import xdr

PUBNET = "Public Global Stellar Network ; September 2015"
TESTNET = "Test SDF Network ; September 2015"
CORE_TESTS = "(V) (;,,;) (V)"

PASSPHRASES = {
    "pubnet": PUBNET,
    "pubnet-2020-meta-v2": PUBNET,
    "testnet-2022": TESTNET,
    "stellar-core": CORE_TESTS,
    "core-upgrades": CORE_TESTS,
    "wrapped-txs": PUBNET,
}
"""Folder of the corpus → passphrase of its ledgers' network."""

ROOT = Path(os.environ.get("STELLAR_LEDGER_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "ledgers"))
ORACLE = ROOT.parent / "oracle"

requires_corpus = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no ledger corpus at {ROOT}; set STELLAR_LEDGER_CORPUS")
requires_peers = pytest.mark.skipif(
    not ORACLE.is_dir(), reason=f"no rows of other implementations at {ORACLE}, beside STELLAR_LEDGER_CORPUS"
)


@dataclass(frozen=True, slots=True)
class CorpusLedger:
    """One ledger: ``id`` names file and position, ``xdr`` is its LedgerCloseMeta."""

    id: str
    passphrase: str
    xdr: bytes


def files(*folders: str) -> list[str]:
    """Paths, relative to the corpus, of all ledger files in these folders (default: all), sorted."""
    found = (
        path.relative_to(ROOT).as_posix()
        for folder in folders or PASSPHRASES
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".xdr", ".framed", ".zst", ".zstd"}
    )
    return sorted(found)


@cache
def read(file: str) -> tuple[CorpusLedger, ...]:
    """The ledgers of one file, in the file's order."""
    data = (ROOT / file).read_bytes()
    passphrase = PASSPHRASES[file.split("/", 1)[0]]
    parts = unbatch(data) if file.endswith((".zst", ".zstd")) else unframe(data)
    return tuple(CorpusLedger(f"{file}#{index}", passphrase, part) for index, part in enumerate(parts))


def ledgers(*folders: str) -> Iterator[CorpusLedger]:
    """All ledgers of these folders (default: all)."""
    for file in files(*folders):
        yield from read(file)


def unbatch(compressed: bytes) -> Iterator[bytes]:
    """The LedgerCloseMetas of a zstd-compressed LedgerCloseMetaBatch (frames carry no content size)."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(compressed)
    batch = xdr.LedgerCloseMetaBatch.from_xdr_bytes(data)
    for meta in batch.ledger_close_metas:
        yield meta.to_xdr_bytes()


def unframe(data: bytes) -> Iterator[bytes]:
    """The records of a stream whose 4-byte lengths have the high bit set."""
    position = 0
    while position < len(data):
        (mark,) = struct.unpack_from(">I", data, position)
        assert mark >> 31, f"no record mark at byte {position}"
        start, position = position + 4, position + 4 + (mark & 0x7FFFFFFF)
        assert position <= len(data), f"the record at byte {start} is cut short"
        yield data[start:position]


def peer_rows(path: str) -> list[dict[str, Any]]:
    """Rows of another implementation, from gzip'd JSON lines below the oracle folder."""
    with gzip.open(ORACLE / path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
