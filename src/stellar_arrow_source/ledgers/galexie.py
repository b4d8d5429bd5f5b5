"""Ledgers from a SEP-54 store, as Galexie writes it, wherever its files lie."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import Final, NoReturn

import zstandard

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.folders import Folder
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

_READ_AHEAD_BYTES: Final = 16 << 20  # of decompressed ledgers, for all readers together
_READ_AHEAD_FILES: Final = 16
_CACHE_BYTES = 16 << 20
_CHUNK: Final = 8 << 10  # of compressed bytes, between two looks at the size; a block of zstd expands to ≤ 128 KiB
_LISTING_SECONDS: Final = 5.0  # between two listings while a file is waited for; a partition may hold 64,000 names
_OLDEST_SECONDS: Final = 60.0  # for which the oldest file is remembered
_FIRST_WINDOW: Final = 64  # files, in which the oldest one of a folder is looked for first
_SAMPLE: Final = 1000  # names that must agree with a layout that no manifest tells
_WRITE_SIZE: Final = 1 << 20
_USUAL_RATIO: Final = 16  # no store of ledgers is compressed by more
_WHOLE: Final = Span(0, (1 << 32) - 1)

_Reading = Future[list[RawLedger] | None]
"""The ledgers of a file; None where there is no such file."""


class GalexieStore:
    """Zstd-compressed LedgerCloseMetaBatch files, read ahead by a small pool of threads.

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

    def __init__(self, folder: Folder, *, endpoint: str) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.network_passphrase: str | None
        self.layout, self.network_passphrase = self._describe()
        self._pool = ThreadPoolExecutor(folder.readers, thread_name_prefix="ledger-files")
        self._cache: OrderedDict[int, _Reading] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._readers = 0
        self._oldest: tuple[float, Span] | None = None

    def bounds(self) -> Bounds:
        """Oldest and newest ledger by the names in the folder.

        Raises:
            SourceUnavailableError: the folder cannot be read.
        """
        oldest, newest = self._oldest_file(), self._newest_file()
        # Ledger 1, the genesis ledger, was never closed: no LedgerCloseMeta exists of it.
        return Bounds(oldest and max(oldest.first, 2), newest and newest.last)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        with self._lock:
            self._readers += 1
        try:
            yield from self._read(start, end, stop)
        finally:
            with self._lock:
                self._readers -= 1

    def _read(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        ahead: deque[_Reading] = deque()
        upcoming, depth = self.layout.batch(start), 2
        while not stop.is_set() and (end is None or start <= end):
            while not ahead or (len(ahead) < depth and (end is None or upcoming.first <= end)):
                ahead.append(self._load(upcoming))
                upcoming = self.layout.batch(upcoming.last + 1)
            reading = ahead.popleft()
            while not reading.done():
                if stop.is_set():
                    return
                wait([reading], POLL_SECONDS)
            try:
                batch = reading.result()
            except CancelledError:
                raise self._closed() from None
            except SourceUnavailableError:
                self._forget_unread()
                raise
            if batch is None:
                self._wait(start, stop)
                ahead.clear()
                upcoming, depth = self.layout.batch(start), 1
                continue
            room = _READ_AHEAD_BYTES // (_size(reading) * self._readers)
            depth = max(1, min(room, _READ_AHEAD_FILES, 2 * depth))
            if start < batch[0].sequence:
                raise GapError(f"{self.folder.where} begins with ledger {batch[0].sequence}, after ledger {start}")
            for ledger in batch[start - batch[0].sequence :]:
                if stop.is_set() or (end is not None and ledger.sequence > end):
                    return
                yield ledger
            start = batch[-1].sequence + 1

    def close(self) -> None:
        """End the reading threads, without waiting for those whose storage does not answer."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _describe(self) -> tuple[Layout, str | None]:
        manifest = self.folder.read(MANIFEST, MAX_MANIFEST)
        if manifest is not None:
            return parse_manifest(bytes(manifest), f"{self.folder.where}/{MANIFEST}")
        for partition, name in self._partitions():
            if spans := list(islice(self._files(name), _SAMPLE)):
                layout = infer_layout(partition, spans[0])
                if layout is not None and all(layout.batch(span.first) == span for span in spans):
                    return layout, None
        raise IntegrityError(
            f"{self.folder.where} has no {MANIFEST} and its names do not tell how ledgers are laid out: "
            f"give the folder that holds the store's {MANIFEST}"
        )

    def _newest_file(self) -> Span | None:
        """Names begin with a number that falls as sequences rise: the newest comes first."""
        return next((span for _, name in self._folders() for span in self._files(name)), None)

    def _oldest_file(self) -> Span | None:
        now = time.monotonic()
        if self._oldest is None or now - self._oldest[0] > _OLDEST_SECONDS:
            found = next(filter(None, (self._last_file(*folder) for folder in reversed(self._folders()))), None)
            self._oldest = found and (now, found)
        return self._oldest and self._oldest[1]

    def _last_file(self, partition: Span, name: str) -> Span | None:
        """The oldest file of a folder, looked for from its end on, since listing all of it takes many requests."""
        width = _FIRST_WINDOW * self.layout.ledgers_per_batch
        while partition.first + width <= partition.last:
            after = self.layout.stem(self.layout.batch(partition.first + width))
            if spans := list(self._files(name, after)):
                return spans[-1]
            width *= 32
        return max(self._files(name), key=lambda span: -span.first, default=None)

    def _folders(self) -> list[tuple[Span, str]]:
        """Folders that hold files, the newest first; the root itself is the only one of a flat store."""
        if self.layout.batches_per_partition == 1:
            return [(_WHOLE, "")]
        return [(span, name) for span, name in self._partitions() if span is not None]

    def _partitions(self) -> list[tuple[Span | None, str]]:
        folders = [(span, name) for name in self.folder.folders() if (span := partition_span(name)) is not None]
        return sorted(folders, reverse=True) or [(None, "")]

    def _files(self, folder: str, after: str = "") -> Iterator[Span]:
        """The files of a folder, the newest first."""
        return (span for name in self.folder.names(folder, after) if (span := file_span(name)) is not None)

    def _names_of(self, batch: Span) -> list[str]:
        """What the file of a batch may be called."""
        folder, stem = self.layout.folder(batch), self.layout.stem(batch)
        return [f"{folder}/{stem}{suffix}" if folder else f"{stem}{suffix}" for suffix in SUFFIXES]

    def _exists(self, batch: Span) -> bool:
        return any(self.folder.exists(name) for name in self._names_of(batch))

    def _wait(self, sequence: int, stop: threading.Event) -> None:
        """Wait until the file of a ledger is there or ``stop`` is set.

        Raises:
            GapError: a later file exists.
        """
        batch = self.layout.batch(sequence)
        next_look = next_listing = time.monotonic()
        while not stop.is_set():
            if (now := time.monotonic()) >= next_look:
                next_look = now + self.folder.poll_seconds
                if self._exists(batch):
                    return
            if now >= next_listing:
                next_listing = now + _LISTING_SECONDS
                newest = self._newest_file()
                # Looked for again after the listing: both files may have come in between.
                if newest is not None and newest.first > batch.first and not self._exists(batch):
                    self._missing(sequence, newest)
            stop.wait(min(POLL_SECONDS, self.folder.poll_seconds))

    def _missing(self, sequence: int, newest: Span) -> NoReturn:
        batch, oldest = self.layout.batch(sequence), self._oldest_file()
        before = f"it begins with ledger {oldest.first}, " if oldest and oldest.first > batch.first else ""
        raise GapError(
            f"ledger {sequence} is missing in {self.folder.where}: {before}it has ledgers up to {newest.last}, "
            f"but no file {self._names_of(batch)[0]}"
        )

    def _load(self, batch: Span) -> _Reading:
        """The ledgers of a file; files read lately are kept, since readers of a service come page by page."""
        with self._lock:
            # A reading that failed is seen as done a moment before it is taken out.
            if (known := self._cache.get(batch.first)) is not None and not _gave_nothing(known):
                self._cache.move_to_end(batch.first)
                return known
            try:
                future = self._pool.submit(_read_batch, self.folder, self._names_of(batch), batch)
            except RuntimeError:
                raise self._closed() from None
            self._cache[batch.first] = future
        future.add_done_callback(lambda done: self._account(batch.first, done))
        return future

    def _forget_unread(self) -> None:
        """Who tries again reads anew: what is on its way still has tried for as long as what has just failed."""
        with self._lock:
            for key in [key for key, reading in self._cache.items() if not reading.done()]:
                del self._cache[key]

    def _account(self, key: int, done: _Reading) -> None:
        """Keep the cache within its bytes; what could not be read is not kept."""
        with self._lock:
            if self._cache.get(key) is not done:
                return
            if _gave_nothing(done):
                del self._cache[key]
                return
            self._cached_bytes += _size(done)
            while self._cached_bytes > _CACHE_BYTES and self._cache:
                ready = next((at for at, future in self._cache.items() if future.done()), None)
                if ready is None:
                    return
                self._cached_bytes -= _size(self._cache.pop(ready))

    def _closed(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"the ledger store {self.folder.where} has been closed")


def _read_batch(folder: Folder, names: list[str], batch: Span) -> list[RawLedger] | None:
    """The ledgers of one file, which has one of these names, checked against its name; None where there is none.

    Raises:
        IntegrityError: the file is damaged, or holds other ledgers than its name says.
        SourceUnavailableError: the file cannot be read.
    """
    for name in names:
        if (compressed := folder.read(name, MAX_BATCH)) is not None:
            return _parse(compressed, batch, f"{folder.where}/{name}")
    return None


def _parse(compressed: bytes | memoryview, batch: Span, path: str) -> list[RawLedger]:
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


def _decompress(compressed: bytes | memoryview, path: str) -> bytes:
    """One zstd frame, in one call where it is of a usual size: calls wait for the interpreter lock."""
    room = min(_USUAL_RATIO * len(compressed), MAX_BATCH)
    with suppress(zstandard.ZstdError):
        if zstandard.frame_content_size(compressed) <= room:
            return zstandard.ZstdDecompressor().decompress(compressed, max_output_size=room)
    return _decompress_in_steps(compressed, path)


def _decompress_in_steps(compressed: bytes | memoryview, path: str) -> bytes:
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


def _gave_nothing(reading: _Reading) -> bool:
    """Whether it is over without ledgers."""
    return reading.done() and (reading.cancelled() or reading.exception() is not None or reading.result() is None)


def _size(batch: _Reading) -> int:
    """Bytes of a file that has been read; 1 for one that could not be."""
    if batch.exception() is not None:
        return 1
    return sum(len(ledger.xdr) for ledger in batch.result() or ()) + 1


def _summary(sequences: list[int]) -> str:
    if not sequences:
        return "none"
    return f"{len(sequences)} ledgers from {sequences[0]} to {sequences[-1]}"
