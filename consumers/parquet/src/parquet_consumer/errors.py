"""Errors of an archive, on the common base of the client SDK."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obstore.exceptions import BaseError

from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.object_storage import CREDENTIALS, first_line, tells_of_no_bucket, tells_of_refusal


class ArchiveError(StellarArrowError):
    """The archive cannot be written or read: permissions, a full disk, a second writer."""


class ArchiveIntegrityError(IntegrityError):
    """The archive's manifest contradicts itself or its files."""


class StorageUnavailableError(UnavailableError):
    """The object storage of the archive cannot be reached, or does not answer."""


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
def storage_errors(doing: str, place: str | Path) -> Iterator[None]:
    """Turn an error of the system, or of object storage, into one sentence that says what to do.

    Raises:
        ArchiveError: of the system.
        AuthenticationError, StorageUnavailableError: of object storage.
    """
    try:
        yield
    except BaseError as error:
        if tells_of_refusal(error):
            raise _refused(doing, place) from error
        if tells_of_no_bucket(error):
            raise _no_bucket(place) from error
        raise StorageUnavailableError(
            f"cannot {doing} {place}: {first_line(error)}; check the address and the network and run the same "
            "command again: it goes on where it stopped"
        ) from error
    except OSError as error:
        if tells_of_no_bucket(error):
            raise _no_bucket(place) from error
        advice = _ADVICE.get(error.errno or 0, _DEFAULT_ADVICE)
        reason = os.strerror(error.errno) if error.errno else first_line(error).rstrip(".")
        raise ArchiveError(f"cannot {doing} {place}: {reason}; {advice}") from error


def _no_bucket(place: str | Path) -> ArchiveError:
    return ArchiveError(f"there is no bucket for {place}; create it or choose another one")


def _refused(doing: str, place: str | Path) -> AuthenticationError:
    credentials = CREDENTIALS.get(str(place).partition("://")[0], "the credentials")
    return AuthenticationError(f"{place} refuses to let this user {doing} it: set {credentials}")
