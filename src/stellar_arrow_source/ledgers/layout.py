"""Where a SEP-54 (Galexie) store keeps each ledger: the manifest, and the names made from it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from stellar_arrow_client.errors import IntegrityError

MANIFEST = ".config.json"
SUFFIXES = (".xdr.zst", ".xdr.zstd")
"""Names of compressed LedgerCloseMetaBatch files: the first of recent stores, the second of older ones."""

MAX_MANIFEST = 64 << 10  # bytes
_VERSIONS = ("0.1.0", "1.0")  # SEP-54's example; real stores
_UINT32_MAX = 0xFFFFFFFF
_PARTITION = re.compile(r"([0-9A-F]{8})--(\d{1,10})-(\d{1,10})")
_FILE = re.compile(r"([0-9A-F]{8})--(\d{1,10})(?:-(\d{1,10}))?(?:\.xdr\.zst|\.xdr\.zstd)")


class Span(NamedTuple):
    """A run of ledgers, both ends inclusive."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a store is divided.

    Attributes:
        ledgers_per_batch: ledgers in one file.
        batches_per_partition: files in one folder; 1 = no folders.
    """

    ledgers_per_batch: int
    batches_per_partition: int

    def batch(self, sequence: int) -> Span:
        """The ledgers of the file that holds ``sequence``."""
        return _aligned(sequence, self.ledgers_per_batch)

    def folder(self, batch: Span) -> str:
        """The partition folder of a file, empty when there are none."""
        if self.batches_per_partition == 1:
            return ""
        first, last = _aligned(batch.first, self.ledgers_per_batch * self.batches_per_partition)
        return f"{_UINT32_MAX - first:08X}--{first}-{last}"

    def stem(self, batch: Span) -> str:
        """The name of a file without its suffix."""
        until = f"-{batch.last}" if self.ledgers_per_batch > 1 else ""
        return f"{_UINT32_MAX - batch.first:08X}--{batch.first}{until}"


class Manifest(NamedTuple):
    """What ``.config.json`` says."""

    layout: Layout
    network_passphrase: str


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Read ``.config.json``.

    Raises:
        IntegrityError: it is no manifest of a known version with zstd files.
    """
    try:
        manifest = json.loads(text)
        layout = Layout(
            _positive(manifest["ledgersPerBatch"]),
            _positive(manifest["batchesPerPartition"]),
        )
        passphrase, version, compression = (
            str(manifest[key]) for key in ("networkPassphrase", "version", "compression")
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(f"{where} is no manifest of a ledger store: {error!r}") from error
    if version not in _VERSIONS or compression != "zstd":
        raise IntegrityError(
            f"{where} says version {version!r} and compression {compression!r}: "
            f"known are the versions {', '.join(_VERSIONS)} with zstd"
        )
    return Manifest(layout, passphrase)


def partition_span(name: str) -> Span | None:
    """The ledgers of a partition folder, or None when the name is no such folder's."""
    return _span(_PARTITION.fullmatch(name))


def file_span(name: str) -> Span | None:
    """The ledgers of a file, or None when the name is no ledger file's."""
    return _span(_FILE.fullmatch(name))


def infer_layout(partition: Span | None, file: Span) -> Layout | None:
    """The layout that places ``file`` into ``partition`` (None = no folders), or None when none does."""
    per_batch = file.last - file.first + 1
    folder_ledgers = per_batch if partition is None else partition.last - partition.first + 1
    batches, rest = divmod(folder_ledgers, per_batch)
    layout = Layout(per_batch, batches)
    if rest or layout.batch(file.first) != file:
        return None
    if partition is not None and _aligned(file.first, folder_ledgers) != partition:
        return None
    return layout


def _aligned(sequence: int, size: int) -> Span:
    first = sequence - sequence % size
    return Span(first, min(first + size - 1, _UINT32_MAX))


def _span(match: re.Match[str] | None) -> Span | None:
    if match is None:
        return None
    first, last = int(match[2]), int(match[3] or match[2])
    return Span(first, last) if int(match[1], 16) == _UINT32_MAX - first and first <= last else None


def _positive(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= _UINT32_MAX:
        raise ValueError(f"{value!r} is no count")
    return value
