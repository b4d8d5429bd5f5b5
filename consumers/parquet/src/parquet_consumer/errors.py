"""Errors of an archive, on the common base of the client SDK."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError


class ArchiveError(StellarArrowError):
    """The archive cannot be written or read: permissions, a full disk, a second writer."""


class ArchiveMismatchError(InvalidRequestError):
    """The archive holds something else than what is to be written: another stream, other columns, …"""


class ArchiveIntegrityError(IntegrityError):
    """The archive's manifest contradicts itself or its files."""


_ADVICE = {
    errno.ENOSPC: "free some space and run the same command again: it goes on where it stopped",
    errno.EDQUOT: "raise the quota and run the same command again: it goes on where it stopped",
    errno.EFBIG: "choose a smaller --max-file-size and run the same command again: it goes on where it stopped",
    errno.EACCES: "make the folder writable for this user or choose another one",
    errno.EPERM: "make the folder writable for this user or choose another one",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOTDIR: "choose a folder, not a file",
    errno.EEXIST: "choose a folder, not a file",
}
_DEFAULT_ADVICE = "check the disk and run the same command again: it goes on where it stopped"


@contextmanager
def os_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an operating-system error into an :class:`ArchiveError` of one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, _DEFAULT_ADVICE)
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0].rstrip(".")
        raise ArchiveError(f"cannot {doing} {path}: {reason}; {advice}") from error
