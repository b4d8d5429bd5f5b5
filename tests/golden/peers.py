"""Pairs of what another implementation says of a ledger, and our rows of the same ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.golden.fields import Row
from tests.support.corpus import PASSPHRASES, files, peer_rows, read
from tests.support.decoding import full_decoder, rows_by_ledger

FOLDERS = {
    "real": ("pubnet", "pubnet-2020-meta-v2", "testnet-2022"),
    "core": ("stellar-core", "core-upgrades", "wrapped-txs"),
}
"""Folder of their rows → folders of the corpus that they read."""


def paired(kind: str, name: str, streams: Sequence[str]) -> Iterator[tuple[str, list[Row], dict[str, list[Row]]]]:
    """(ledger, their rows, ours by stream) of every ledger that they read or we do.

    Real ledgers are joined by store and sequence, core's by file and position: their sequences repeat.
    """
    theirs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for line in peer_rows(f"{kind}/{name}.jsonl.gz"):
        key = (line["store"], line["ledger"]) if kind == "real" else (core_file(line["file"]), line["frame"])
        theirs[key].append(line["row"])
    decoders = {folder: full_decoder(PASSPHRASES[folder], streams) for folder in FOLDERS[kind]}
    for file in files(*FOLDERS[kind]):
        folder, found = file.split("/", 1)[0], read(file)
        decoded = decoders[folder].decode([ledger.xdr for ledger in found])
        rows = {stream: rows_by_ledger(decoded, stream) for stream in streams}
        for frame, (ledger, sequence) in enumerate(zip(found, decoded.sequences.tolist(), strict=True)):
            key = (folder, sequence) if kind == "real" else (file, frame)
            yield ledger.id, theirs.pop(key, []), {stream: next(rows[stream]) for stream in streams}
    assert not theirs, f"rows of ledgers that the corpus lacks: {list(theirs)[:5]}"


def core_file(path: str) -> str:
    """Their path of a file of stellar-core's tests, as the corpus has it."""
    return path.replace("/shared_extra/", "/")
