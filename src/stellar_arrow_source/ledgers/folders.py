"""Where the files of a store lie: what reading a store asks of it, and the folder of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stellar_arrow_source.errors import SourceUnavailableError


class Folder(Protocol):
    """Files under names with slashes; safe to use from several threads.

    Attributes:
        where: the place, for messages.
        readers: how many files are best read at once.
        poll_seconds: how often to look for a file that is to come.
    """

    where: str
    readers: int
    poll_seconds: float

    def folders(self) -> list[str]:
        """Names of the folders directly in here, in the order of characters.

        Raises:
            SourceUnavailableError: the place cannot be read.
        """

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        """Names of the files directly in a folder ("" = here) that come after ``after`` in the order of characters.

        Raises:
            SourceUnavailableError: the place cannot be read.
        """

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name.

        Raises:
            SourceUnavailableError: the place cannot be read.
        """

    def read(self, name: str, limit: int) -> bytes | memoryview | None:
        """A whole file, or its first ``limit`` bytes if it is longer; None where there is none.

        Raises:
            SourceUnavailableError: it cannot be read.
        """


class LocalFolder:
    """A folder of this machine."""

    readers = min(4, os.cpu_count() or 1)
    poll_seconds = 0.02

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def folders(self) -> list[str]:
        """See :class:`Folder`."""
        return sorted(entry.name for entry in self._entries("") if entry.is_dir())

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        """See :class:`Folder`."""
        return iter(sorted(entry.name for entry in self._entries(folder) if entry.name > after))

    def exists(self, name: str) -> bool:
        """See :class:`Folder`."""
        return (self._path / name).is_file()

    def read(self, name: str, limit: int) -> bytes | memoryview | None:
        """See :class:`Folder`."""
        try:
            with (self._path / name).open("rb") as file:
                # Python makes room for all that is asked for: of the limit, a gigabyte of pages to map and unmap.
                return file.read(min(os.fstat(file.fileno()).st_size, limit))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnavailableError(f"cannot read {self._path / name}: {error.strerror}") from error

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._path / folder) as entries:
                return list(entries)
        except OSError as error:
            raise SourceUnavailableError(f"cannot read the ledger store {self.where}: {error.strerror}") from error
