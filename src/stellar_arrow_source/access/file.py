"""The file of clients: watched by a server, changed by the command ``token``."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from stellar_arrow_client.checkpoint import locked, sync_folder
from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_source.access.grants import MAX_FILE_BYTES, Grant, Grants, parse_grants

LOOK_SECONDS: Final = 0.5
"""How often a server looks whether the file has changed."""

OWNER_ONLY: Final = 0o600

_log = structlog.get_logger(__name__)


def read_grants(path: Path) -> Grants:
    """Read the file of clients.

    Raises:
        InvalidRequestError: it cannot be read, or is not such a file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequestError(f"cannot read the clients of {path}: {error.strerror}") from None
    try:
        return parse_grants(content)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{path} is not a file of clients: {error}") from None


class GrantsFile:
    """The clients of a file, read again when it changes; may be used by any thread.

    A change that makes the file unreadable leaves the clients as they were: who has access keeps it, who was to
    lose it too, so it is logged as an error and told as :attr:`problem` until the file is right.

    Raises:
        InvalidRequestError: the file cannot be read at the start.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._mark = self._look()
        self._looked = clock()
        self._grants = read_grants(path)
        self._warn_if_open()

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in use; None when it is."""
        self.current()
        return self._problem

    def current(self) -> Grants:
        """The clients of the file as it was at most :data:`LOOK_SECONDS` ago."""
        with self._lock:
            now = self._clock()
            if now - self._looked < LOOK_SECONDS:
                return self._grants
            self._looked = now
            mark = self._look()
            if mark != self._mark:
                # The mark is older than what is read: a change in between is seen at the next look.
                self._mark = mark
                self._reload()
            return self._grants

    def _reload(self) -> None:
        try:
            self._grants = read_grants(self._path)
        except InvalidRequestError as error:
            self._problem = f"{error}; the clients are those that it had before"
            _log.error("the changed file of clients is not in use", file=str(self._path), problem=self._problem)
            return
        self._problem = None
        _log.info("clients read again", file=str(self._path), clients=len(self._grants.by_name))
        self._warn_if_open()

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _warn_if_open(self) -> None:
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except OSError:
            return
        if mode & stat.S_IRWXO:
            _log.warning(
                "every user of this machine can use the file of clients; chmod o= closes it",
                file=str(self._path),
                mode=f"{mode:o}",
            )


@contextmanager
def editing(path: Path) -> Iterator[dict[str, Grant]]:
    """The clients of a file by name, to be changed; written back, whole or not at all, when the block ends well.

    A new file is for its owner only; an old one keeps owner and mode.

    Raises:
        InvalidRequestError: the file cannot be read.
        StellarArrowError: it cannot be written, or another command is changing it.
    """
    path = path.resolve()
    try:
        with locked(path.with_name(f".{path.name}.lock")):
            grants = read_grants(path).by_name if path.exists() else {}
            yield grants
            _replace(path, Grants(grants.values()).to_json())
    except OSError as error:
        raise StellarArrowError(f"cannot write {path}: {error.strerror}; choose another --auth-file") from None


def _replace(path: Path, content: bytes) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if path.exists():
                old = path.stat()
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, old.st_uid, old.st_gid)
                os.fchmod(handle, stat.S_IMODE(old.st_mode))
            else:
                os.fchmod(handle, OWNER_ONLY)
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(beside).replace(path)
    except BaseException:  # a signal too: nothing is left beside the file
        Path(beside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
