"""Files of framed XDR records, as stellar-core writes its ``METADATA_OUTPUT_STREAM``."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from stellar_arrow_client.errors import IntegrityError

MAX_RECORD = 1 << 30
"""Longest record that is read, in bytes."""

_LAST_FRAGMENT = 1 << 31  # RFC 5531, section 11: the high bit marks the last fragment of a record


def iter_framed(path: Path) -> Iterator[bytes]:
    """Each record of a file: a 4-byte big-endian length with the high bit set, then one LedgerCloseMeta.

    Raises:
        IntegrityError: a record mark is wrong or the file ends within a record.
    """
    with path.open("rb") as file:
        while mark := file.read(4):
            at = file.tell() - len(mark)
            length = struct.unpack(">I", mark)[0] - _LAST_FRAGMENT if len(mark) == 4 else -1
            if not 0 < length <= MAX_RECORD:
                raise IntegrityError(f"{path} has no valid record mark at byte {at}: it is no framed XDR file")
            record = file.read(length)
            if len(record) != length:
                raise IntegrityError(f"{path} is truncated: the record at byte {at} needs {length} bytes")
            yield record
