"""An on-disk cache of raw ledgers in front of a source that is far away."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import zstandard

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.header import ledger_sequence, require_successor
from stellar_arrow_source.ledgers.source import Bounds, LedgerSource, RawLedger
from stellar_arrow_source.ledgers.tally import CACHE_READS
from stellar_arrow_source.sparing import Sparing

MAX_LEDGER: Final = 1 << 30
"""Most bytes that a file may hold once decompressed."""

_SUFFIX: Final = ".xdr.zst"
_FOLDER: Final = 1000  # ledgers
_WRITERS: Final = 2
_WAITING_BYTES: Final = 64 << 20
"""Ledgers that wait to be written; when there are more, they are not kept: writing slows no stream down."""
_ABANDONED_SECONDS: Final = 3600.0
"""Age from which on a file that is not whole belongs to a process that has ended."""
_BEHIND: Final = 1000
"""Ledgers by which a source may be behind what it gave before; one that is further back has begun anew."""

_log = logging.getLogger(__name__)


class CachedSource:
    """Keeps the ledgers that a source gives in files, one each, and reads from those what is asked for again.

    What is in the cache is as good as what the source gave: each file is a checked zstd frame, and one that is
    damaged is fetched anew. Ledgers that were used longest ago go first. Those of a network that has begun anew since,
    as test networks do, go all together: when the source is far behind them, or one of its ledgers does not fit.

    Args:
        source: where ledgers come from; closed with this one.
        folder: of the cache; each endpoint has a folder of its own in it.
        limit: bytes of files to keep.

    Raises:
        SourceUnavailableError: the folder cannot be used.
    """

    def __init__(self, source: LedgerSource, folder: Path, limit: int) -> None:
        self.endpoint = source.endpoint
        self._source = source
        self._folder = folder / hashlib.sha256(source.endpoint.encode()).hexdigest()[:16]
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting = 0
        self._useless, self._unkept = Sparing(), Sparing()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            found = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self._files())
        except OSError as error:
            raise SourceUnavailableError(f"cannot use {folder} as cache of ledgers: {error.strerror}") from error
        self._sizes = OrderedDict((int(file.name.removesuffix(_SUFFIX)), size) for _, size, file in found)
        self._bytes = sum(self._sizes.values())
        self._newest = max(self._sizes, default=0)
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="ledger-cache")

    @property
    def network_passphrase(self) -> str | None:
        return self._source.network_passphrase

    @property
    def held_bytes(self) -> int:
        """Bytes of the files."""
        return self._bytes

    def bounds(self) -> Bounds:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.bounds`."""
        bounds = self._source.bounds()
        if bounds.latest is not None and bounds.latest < self._newest - _BEHIND:
            self._empty(f"the newest ledger of {self.endpoint} is {bounds.latest}, that of the cache {self._newest}")
        return bounds

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`.

        Raises:
            IntegrityError: the source goes on with another history than that of the ledgers in the cache, which have
                been given already; the cache is empty then.
        """
        fetched: RawLedger | None = None  # the ledger before, if it came from the source
        cached: RawLedger | None = None  # or from the cache
        while not stop.is_set() and (end is None or start <= end):
            xdr = self._read(start)
            if xdr is not None and fetched is not None:
                try:
                    require_successor(fetched.xdr, xdr, "the cache")
                except IntegrityError as error:
                    self._empty(str(error))
                    xdr = None
            CACHE_READS.add("miss" if xdr is None else "hit")
            if xdr is not None:
                fetched, cached = None, RawLedger(start, xdr)
                yield cached
                start += 1
                continue
            for ledger in self._source.ledgers(start, self._missing_until(start, end), stop):
                if cached is not None:
                    try:
                        require_successor(cached.xdr, ledger.xdr, self.endpoint)
                    except IntegrityError as error:
                        self._empty(str(error))
                        raise
                self._keep(ledger)
                fetched, cached = ledger, None
                yield ledger
                start = ledger.sequence + 1

    def close(self) -> None:
        """Finish what is being written and close the source."""
        self._writers.shutdown()
        self._source.close()

    def _missing_until(self, start: int, end: int | None) -> int | None:
        """The last ledger, from ``start`` on, before one that is in the cache."""
        with self._lock:
            later = min((sequence for sequence in self._sizes if sequence > start), default=None)
        if later is None:
            return end
        return later - 1 if end is None else min(end, later - 1)

    def _path(self, sequence: int) -> Path:
        return self._folder / str(sequence // _FOLDER * _FOLDER) / f"{sequence}{_SUFFIX}"

    def _files(self) -> Iterator[Path]:
        for file in self._folder.glob(f"*/*{_SUFFIX}"):
            if file.name.removesuffix(_SUFFIX).isdecimal():
                yield file

    def _read(self, sequence: int) -> bytes | None:
        with self._lock:
            if sequence not in self._sizes:
                return None
            self._sizes.move_to_end(sequence)
        path = self._path(sequence)
        try:
            xdr = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=MAX_LEDGER)
            if ledger_sequence(xdr) == sequence:
                with suppress(OSError):
                    os.utime(path)
                return xdr
            reason = "it holds another ledger"
        except (OSError, zstandard.ZstdError, IntegrityError) as error:
            reason = str(error)
        if (also := self._useless.tell()) is not None:
            _log.warning("fetching ledger %d again, for %s is of no use: %s%s", sequence, path, reason, also)
        self._forget(sequence)
        return None

    def _keep(self, ledger: RawLedger) -> None:
        with self._lock:
            if self._waiting + len(ledger.xdr) > _WAITING_BYTES:
                return
            self._waiting += len(ledger.xdr)
        try:
            self._writers.submit(self._write, ledger)
        except RuntimeError:  # closed meanwhile
            return

    def _write(self, ledger: RawLedger) -> None:
        path = self._path(ledger.sequence)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            data = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(ledger.xdr)
            path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
            with self._lock:
                self._bytes += len(data) - self._sizes.get(ledger.sequence, 0)
                self._sizes[ledger.sequence] = len(data)
                self._newest = max(self._newest, ledger.sequence)
                excess = self._oldest_beyond_limit()
            for sequence in excess:
                self._path(sequence).unlink(missing_ok=True)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if (also := self._unkept.tell()) is not None:
                what = (ledger.sequence, self._folder, error.strerror, also)
                _log.warning("ledger %d is not kept in %s: %s%s", *what)
        finally:
            with self._lock:
                self._waiting -= len(ledger.xdr)

    def _oldest_beyond_limit(self) -> list[int]:
        """Forget the ledgers used longest ago until the rest is within the limit."""
        gone: list[int] = []
        while self._bytes > self._limit and self._sizes:
            sequence, size = self._sizes.popitem(last=False)
            self._bytes -= size
            gone.append(sequence)
        return gone

    def _clean(self) -> None:
        """Remove what processes left that were killed while they wrote."""
        long_ago = time.time() - _ABANDONED_SECONDS
        for file in self._folder.glob(f"*/.*{_SUFFIX}.*"):
            with suppress(FileNotFoundError):  # another process does the same
                if file.stat().st_mtime < long_ago:
                    file.unlink()

    def _empty(self, reason: str) -> None:
        """Forget everything: it is of another history than the source."""
        _log.warning("the cache of ledgers in %s is of no use any more and emptied: %s", self._folder, reason)
        with self._lock:
            gone = list(self._sizes)
            self._sizes.clear()
            self._bytes = self._newest = 0
        for sequence in gone:
            with suppress(OSError):
                self._path(sequence).unlink(missing_ok=True)

    def _forget(self, sequence: int) -> None:
        with self._lock:
            self._bytes -= self._sizes.pop(sequence, 0)
        with suppress(OSError):
            self._path(sequence).unlink(missing_ok=True)
