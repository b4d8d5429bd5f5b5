"""Ledgers from a SEP-54 store, as Galexie writes it, in a local folder."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import zstandard

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.layout import (
    MANIFEST,
    MAX_MANIFEST,
    SUFFIXES,
    Layout,
    Span,
    file_span,
    infer_layout,
    parse_manifest,
    partition_span,
)
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, RawLedger
from stellar_arrow_source.xdr import split_batch

MAX_BATCH = 1 << 30
"""Most bytes that one file may hold once decompressed."""

_READ_AHEAD_BYTES = 16 << 20  # of decompressed ledgers, for each reader
_READ_AHEAD_FILES = 16
_CACHE_BYTES = 16 << 20
_CHUNK = 8 << 10  # of compressed bytes, between two looks at the size; a block of zstd expands to ≤ 128 KiB
_LISTING_SECONDS = 5.0  # between two listings while a file is waited for; a partition may hold 64,000 names
_WRITE_SIZE = 1 << 20
_USUAL_RATIO = 16  # no store of ledgers is compressed by more
_THREADS = min(4, os.cpu_count() or 1)


class GalexieStore:
    """A folder of zstd-compressed LedgerCloseMetaBatch files, read ahead by a small pool of threads.

    Args:
        folder: the store's root, where the manifest lies.
        endpoint: how the user named it.

    Attributes:
        endpoint: as given.
        network_passphrase: of the manifest; None when there is no manifest.

    Raises:
        SourceUnavailableError: the folder does not exist or cannot be read.
        IntegrityError: the manifest is wrong, or missing while the names do not tell the layout.
    """

    def __init__(self, folder: Path, *, endpoint: str) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.network_passphrase: str | None
        self.layout, self.network_passphrase = self._describe()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger-files")
        self._cache: OrderedDict[int, Future[list[RawLedger]]] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def bounds(self) -> Bounds:
        """Oldest and newest ledger by the names in the folder.

        Raises:
            SourceUnavailableError: the folder cannot be read.
        """
        oldest, latest = self._edge(newest=False), self._edge(newest=True)
        # Ledger 1, the genesis ledger, was never closed: no LedgerCloseMeta exists of it.
        return Bounds(oldest and max(oldest.first, 2), latest and latest.last)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        ahead: deque[Future[list[RawLedger]]] = deque()
        upcoming, depth = self.layout.batch(start), 2
        while not stop.is_set() and (end is None or start <= end):
            while len(ahead) < depth and (end is None or upcoming.first <= end):
                if (path := self._find(upcoming)) is None:
                    break
                ahead.append(self._load(upcoming, path))
                upcoming = self.layout.batch(upcoming.last + 1)
            if not ahead:
                self._wait(start, stop)
                continue
            reading = ahead.popleft()
            try:
                batch = reading.result()
            except CancelledError:
                raise self._closed() from None
            depth = max(1, min(_READ_AHEAD_BYTES // _size(reading), _READ_AHEAD_FILES))
            if start < batch[0].sequence:
                raise GapError(f"{self.folder} begins with ledger {batch[0].sequence}, after ledger {start}")
            for ledger in batch[start - batch[0].sequence :]:
                if stop.is_set() or (end is not None and ledger.sequence > end):
                    return
                yield ledger
            start = batch[-1].sequence + 1

    def close(self) -> None:
        """End the reading threads."""
        self._pool.shutdown(cancel_futures=True)

    def _describe(self) -> tuple[Layout, str | None]:
        manifest = self.folder / MANIFEST
        try:
            with manifest.open("rb") as file:
                return parse_manifest(file.read(MAX_MANIFEST), str(manifest))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unreadable(error) from error
        for partition, name in self._partitions(newest=False):
            if spans := self._files(name):
                layout = infer_layout(partition, spans[0])
                if layout is not None and all(layout.batch(span.first) == span for span in spans):
                    return layout, None
        raise IntegrityError(
            f"{self.folder} has no {MANIFEST} and its names do not tell how ledgers are laid out: "
            f"give the folder that holds the store's {MANIFEST}"
        )

    def _edge(self, *, newest: bool) -> Span | None:
        """The first or last file of the store."""
        for _, name in self._partitions(newest=newest):
            if spans := self._files(name):
                return spans[-1 if newest else 0]
        return None

    def _partitions(self, *, newest: bool) -> list[tuple[Span | None, str]]:
        """Folders that hold files, in order of ledgers; the root itself is the only one of a flat store."""
        folders = [(span, name) for name in self._names("") if (span := partition_span(name)) is not None]
        return sorted(folders, reverse=newest) or [(None, "")]

    def _files(self, folder: str) -> list[Span]:
        return sorted(span for name in self._names(folder) if (span := file_span(name)) is not None)

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.folder / folder)
        except OSError as error:
            raise self._unreadable(error) from error

    def _find(self, batch: Span) -> Path | None:
        base = self.folder / self.layout.folder(batch) / self.layout.stem(batch)
        return next((path for suffix in SUFFIXES if (path := Path(f"{base}{suffix}")).is_file()), None)

    def _wait(self, sequence: int, stop: threading.Event) -> None:
        """Wait until the file of a ledger is there or ``stop`` is set.

        Raises:
            GapError: a later file exists.
        """
        batch = self.layout.batch(sequence)
        next_listing = time.monotonic()
        while self._find(batch) is None:
            if time.monotonic() >= next_listing:
                next_listing += _LISTING_SECONDS
                edge = self._edge(newest=True)
                # Looked for again after the listing: both files may have come in between.
                if edge is not None and edge.first > batch.first and self._find(batch) is None:
                    self._missing(sequence, edge)
            if stop.wait(POLL_SECONDS):
                return

    def _missing(self, sequence: int, edge: Span) -> NoReturn:
        batch, oldest = self.layout.batch(sequence), self._edge(newest=False)
        before = f"it begins with ledger {oldest.first}, " if oldest and oldest.first > batch.first else ""
        raise GapError(
            f"ledger {sequence} is missing in {self.folder}: {before}it has ledgers up to {edge.last}, "
            f"but no file {Path(self.layout.folder(batch), self.layout.stem(batch))}{SUFFIXES[0]}"
        )

    def _load(self, batch: Span, path: Path) -> Future[list[RawLedger]]:
        """The ledgers of a file; files read lately are kept, since readers of a service come page by page."""
        with self._lock:
            if (known := self._cache.get(batch.first)) is not None and not known.cancelled():
                self._cache.move_to_end(batch.first)
                return known
            try:
                future = self._pool.submit(_read_batch, path, batch)
            except RuntimeError:
                raise self._closed() from None
            self._cache[batch.first] = future
        future.add_done_callback(lambda done: self._account(batch.first, done))
        return future

    def _account(self, key: int, done: Future[list[RawLedger]]) -> None:
        """Keep the cache within its bytes; what could not be read is not kept."""
        with self._lock:
            if done.cancelled() or done.exception() is not None:
                if self._cache.get(key) is done:
                    del self._cache[key]
                return
            self._cached_bytes += _size(done)
            while self._cached_bytes > _CACHE_BYTES and self._cache:
                ready = next((at for at, future in self._cache.items() if future.done()), None)
                if ready is None:
                    return
                self._cached_bytes -= _size(self._cache.pop(ready))

    def _closed(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"the ledger store {self.folder} has been closed")

    def _unreadable(self, error: OSError) -> SourceUnavailableError:
        return SourceUnavailableError(f"cannot read the ledger store {self.folder}: {error.strerror}")


def _read_batch(path: Path, batch: Span) -> list[RawLedger]:
    """The ledgers of one file, checked against its name.

    Raises:
        IntegrityError: the file is damaged, or holds other ledgers than its name says.
        SourceUnavailableError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(MAX_BATCH)
    except OSError as error:
        raise SourceUnavailableError(f"cannot read {path}: {error.strerror}") from error
    data = _decompress(compressed, path)
    try:
        declared = split_batch(data)
        sequences = [ledger_sequence(xdr) for xdr in declared.ledgers]
    except IntegrityError as error:
        raise IntegrityError(f"{path} is damaged: {error}") from error
    # The first file of a network's history is named from 0 on and begins with the first ledger closed.
    first = declared.start if batch.first == 0 else batch.first
    expected = range(first, batch.last + 1)
    if (declared.start, declared.end) != (first, batch.last) or sequences != list(expected):
        raise IntegrityError(
            f"{path} should hold the ledgers {first} to {batch.last}, but declares {declared.start} to "
            f"{declared.end} and holds {_summary(sequences)}"
        )
    return [RawLedger(sequence, xdr) for sequence, xdr in zip(sequences, declared.ledgers, strict=True)]


def _decompress(compressed: bytes, path: Path) -> bytes:
    """One zstd frame, in one call where it is of a usual size: calls wait for the interpreter lock."""
    room = min(_USUAL_RATIO * len(compressed), MAX_BATCH)
    with suppress(zstandard.ZstdError):
        if zstandard.frame_content_size(compressed) <= room:
            return zstandard.ZstdDecompressor().decompress(compressed, max_output_size=room)
    return _decompress_in_steps(compressed, path)


def _decompress_in_steps(compressed: bytes, path: Path) -> bytes:
    """One zstd frame; frames of real stores carry no content size, so the output is bounded as it grows.

    Raises:
        IntegrityError: it is damaged, truncated or too large.
    """
    frame = zstandard.ZstdDecompressor().decompressobj(write_size=_WRITE_SIZE)
    parts: list[bytes] = []
    size = 0
    try:
        for at in range(0, len(compressed), _CHUNK):
            if frame.eof:
                break
            parts.append(frame.decompress(compressed[at : at + _CHUNK]))
            size += len(parts[-1])
            if size > MAX_BATCH:
                raise IntegrityError(f"{path} holds more than {MAX_BATCH >> 20} MiB once decompressed")
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{path} is damaged: {error}") from error
    if not frame.eof:
        raise IntegrityError(f"{path} is truncated: its {len(compressed)} bytes end within the zstd frame")
    return b"".join(parts)


def _size(batch: Future[list[RawLedger]]) -> int:
    """Bytes of a file that has been read; 1 for one that could not be."""
    if batch.exception() is not None:
        return 1
    return sum(len(ledger.xdr) for ledger in batch.result()) + 1


def _summary(sequences: list[int]) -> str:
    if not sequences:
        return "none"
    return f"{len(sequences)} ledgers from {sequences[0]} to {sequences[-1]}"
