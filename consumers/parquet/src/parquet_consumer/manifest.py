"""What an archive holds: an append-only log of JSON lines, ``_manifest.jsonl``.

Each line is one record and its checksum, ``{"crc32":"…","file":{…}}``:

``archive``
    what the archive is of: stream, columns, network, partition format, the ledger it begins at. The last one holds.
``file``
    a complete file: its path, ledgers, rows, bytes, SHA-256 and close times.
``empty``
    ledgers that had no row and belong to no file.
``pruned``
    files that were given up; their ledgers stay covered, so that they are not fetched again.
``writer``
    a run has begun, in a bucket. What an earlier one sends late then no longer fits, and is refused.

Why a log: to record a file costs one appended line and one fsync, whatever the archive's size, where one rewritten
document would cost as much as the archive has files; a prune of a thousand files is one line, so it happens wholly
or not at all. A follower that completes a file every five minutes writes 30 MB of log in a year, which is read in
half a second; so there is no compaction. In a bucket, which cannot append, the log is one object that each append
replaces by a longer one.

A kill in the middle of an append leaves a torn last line. It is recognised by its checksum and taken back by the
next writer; a bad line anywhere else is an error. An append first reads what others have appended, and none can do so
in between, so that ``prune`` works beside a running writer.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.parquet as pq

from parquet_consumer.errors import ArchiveError, ArchiveIntegrityError, storage_errors
from parquet_consumer.names import is_ours, is_safe
from parquet_consumer.storage import OvertakenError, Storage
from stellar_arrow_client.ranges import LedgerRanges
from stellar_arrow_client.request import MAX_LEDGER

MANIFEST_NAME: Final = "_manifest.jsonl"
COLUMNS_NAME: Final = "_common_metadata"
"""As Hadoop's readers call the file that has the columns of the others."""
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?\+00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """What the archive is of.

    Attributes:
        stream: canonical name of the stream.
        network: network of the ledgers, None while the server does not know it.
        partition: the partition format.
        filter: condition on the rows, None for all rows.
        columns: name, Arrow type and nullability of each column, as text.
        start: the ledger that the first run was to begin at, None when it was left to the server.
    """

    KIND: ClassVar[str] = "archive"
    stream: str
    network: str | None
    partition: str
    filter: str | None
    columns: list[str]
    start: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A complete file.

    Attributes:
        path: relative to the archive, with slashes.
        first: first ledger covered.
        last: last ledger covered.
        rows: number of rows.
        size: bytes.
        sha256: of the file, in hex.
        oldest: close time of its first row, ISO 8601 in UTC.
        newest: close time of its last row.
    """

    KIND: ClassVar[str] = "file"
    path: str
    first: int
    last: int
    rows: int
    size: int
    sha256: str
    oldest: str
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyRecord:
    """Ledgers without a row that belong to no file."""

    KIND: ClassVar[str] = "empty"
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedRecord:
    """Files given up because all their rows are older than ``before`` (ISO 8601, UTC)."""

    KIND: ClassVar[str] = "pruned"
    before: str
    paths: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterRecord:
    """A run has begun; only what it records counts from here on."""

    KIND: ClassVar[str] = "writer"
    token: str


Record = ArchiveRecord | FileRecord | EmptyRecord | PrunedRecord | WriterRecord
_KINDS: Final[dict[str, type[Record]]] = {
    cls.KIND: cls for cls in (ArchiveRecord, FileRecord, EmptyRecord, PrunedRecord, WriterRecord)
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "list[str]": (list,),
}


class Manifest:
    """The log and what it amounts to.

    It is the :class:`~parquet_consumer.formats.Records` of an archive of plain Parquet files.

    Attributes:
        place: of the log.
        archive: what the archive is of; None while nothing is recorded.
        files: the files to be found, by path, in the order of their completion.
        covered: ledgers that need not be fetched: those of files, empty and pruned ones.
        pruned: number of files given up.
        torn: whether the log ends in a torn line.

    Raises:
        ArchiveIntegrityError: a line is damaged or contradicts an earlier one; it names the line.
        ArchiveError: the log cannot be read or written.
    """

    grows = False

    def __init__(self, storage: Storage) -> None:
        self.place = storage.at(MANIFEST_NAME)
        self.archive: ArchiveRecord | None = None
        self.files: dict[str, FileRecord] = {}
        self.covered = LedgerRanges()
        self.pruned = 0
        self.torn = False
        self._log = storage.log(MANIFEST_NAME)
        self._columns, self._columns_place = storage.log(COLUMNS_NAME), storage.at(COLUMNS_NAME)
        self._read = 0
        self._lines = 0
        self._writer = self._own = ""

    @classmethod
    def load(cls, storage: Storage) -> Manifest:
        """Read the log of an archive; a place without one gives an empty manifest."""
        manifest = cls(storage)
        with storage_errors("read", manifest.place):
            manifest._catch_up(manifest._log.read(0))
        return manifest

    def repair(self) -> None:
        """Take back a torn last line."""
        self._extend(None)
        self.torn = False

    def holdings(self) -> Iterator[FileRecord]:
        """Its files."""
        return iter(self.files.values())

    def further_facts(self) -> list[tuple[str, object]]:
        """What was pruned, and when the ledgers closed."""
        files = self.files.values()
        closed = f"{min(file.oldest for file in files)} to {max(file.newest for file in files)}" if files else None
        return [("pruned", f"{self.pruned} files"), *([("closed", closed)] if closed else [])]

    def claim(self) -> None:
        """From here on, nothing may be recorded by another run.

        Raises:
            ArchiveError: by :meth:`append`, once another run has claimed the archive.
        """
        token = secrets.token_hex(8)
        self._extend(WriterRecord(token=token))
        self._own = token

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Parquet has all types of a stream."""
        return schema

    def describe(self, record: ArchiveRecord, schema: pa.Schema) -> None:
        """Record what the archive is of, and its columns in a Parquet file without rows, before there are others."""
        footer = io.BytesIO()
        pq.write_metadata(schema, footer)
        with storage_errors("write", self._columns_place), self._columns.changing() as change:
            change.read(0)
            change.write(0, footer.getvalue())
        self.append(record)

    def add_file(self, record: FileRecord, metadata: pq.FileMetaData) -> None:
        """Record a complete file; its footer is in it."""
        self.append(record)

    def add_empty(self, record: EmptyRecord) -> None:
        """Record ledgers without a row."""
        self.append(record)

    def strays(self, paths: Iterable[str]) -> list[str]:
        """The archive's own files that are not recorded."""
        return [path for path in paths if is_ours(path) and path not in self.files]

    def append(self, record: Record) -> None:
        """Make a record durable, then count it in."""
        self._extend(record)

    def _extend(self, record: Record | None) -> None:
        line = b"" if record is None else _to_line(record)
        with storage_errors("record in", self.place):
            while True:
                with self._log.changing() as log:
                    self._catch_up(log.read(self._read))
                    if self._own and self._writer != self._own:
                        raise ArchiveError(f"another process has begun to write to {self.place}; this one must end")
                    if record is not None:
                        self._check(record)
                    try:
                        log.write(self._read, line)
                    except OvertakenError:
                        continue
                break
        if record is not None:
            self._apply(record)
            self._read += len(line)
            self._lines += 1

    def _catch_up(self, text: bytes) -> None:
        """Count in what stands in the log behind what was read before."""
        lines = text.splitlines(keepends=True)
        self.torn = False
        for number, line in enumerate(lines):
            record = _from_line(line)
            if record is None:
                if number == len(lines) - 1:
                    self.torn = True
                    return
                raise self._damaged("its checksum does not match")
            self._check(record)
            self._apply(record)
            self._read += len(line)
            self._lines += 1

    def _check(self, record: Record) -> None:
        match record:
            case FileRecord() | EmptyRecord():
                if not 1 <= record.first <= record.last <= MAX_LEDGER:
                    raise self._damaged(f"ledgers {record.first} to {record.last} are not a range")
                if self.covered.overlaps(record.first, record.last):
                    raise self._damaged(f"ledgers {record.first} to {record.last} are recorded twice")
                if isinstance(record, FileRecord):
                    self._check_file(record)
            case PrunedRecord():
                if len(set(record.paths)) < len(record.paths) or not self.files.keys() >= set(record.paths):
                    raise self._damaged("it prunes files that are not recorded")

    def _check_file(self, record: FileRecord) -> None:
        if not is_safe(record.path) or record.path in self.files:
            raise self._damaged(f"{record.path!r} is not the path of a new file of the archive")
        for time in (record.oldest, record.newest):
            if not _TIME.fullmatch(time):
                raise self._damaged(f"{time!r} is not a time in UTC")

    def _apply(self, record: Record) -> None:
        match record:
            case ArchiveRecord():
                self.archive = record
            case FileRecord():
                self.files[record.path] = record
                self.covered.add(record.first, record.last)
            case EmptyRecord():
                self.covered.add(record.first, record.last)
            case PrunedRecord():
                for path in record.paths:
                    del self.files[path]
                self.pruned += len(record.paths)
            case WriterRecord():
                self._writer = record.token

    def _damaged(self, fault: str) -> ArchiveIntegrityError:
        return ArchiveIntegrityError(
            f"{self.place}, line {self._lines + 1}: {fault}; restore the manifest from a backup or archive into "
            "another folder"
        )


def _to_line(record: Record) -> bytes:
    body = json.dumps({record.KIND: asdict(record)}, separators=(",", ":")).encode()
    return b'{"crc32":"%08x",%s\n' % (zlib.crc32(body), body[1:])


def _from_line(line: bytes) -> Record | None:
    """The record of a line, None when the line is torn or damaged."""
    head, _, rest = line.partition(b",")
    body = b"{" + rest.rstrip(b"\n")
    if not line.endswith(b"\n") or head != b'{"crc32":"%08x"' % zlib.crc32(body):
        return None
    try:
        ((kind, values),) = json.loads(body).items()
        return _record(_KINDS[kind], values)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _record(cls: type[Record], values: dict[str, Any]) -> Record:
    for field in fields(cls):
        value = values[field.name]
        if type(value) not in _TYPES[str(field.type)]:
            raise TypeError(field.name)
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise TypeError(field.name)
    return cls(**values)
