"""The names of the archive's files; a file with another name is not the archive's and is never touched."""

from __future__ import annotations

import re

_COMPLETE = re.compile(r"[A-Za-z0-9_]+-([0-9]{10})-(?:[0-9]{10}|[0-9a-f]{16})\.parquet")
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_]+-[0-9]{10}\.parquet\.tmp")
_SAFE_FOLDERS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9=_.+-]*/)*")


def file_name(stream: str, first: int, last: int) -> str:
    """The name of a file of a range of ledgers."""
    return f"{stream}-{first:010d}-{last:010d}.parquet"


def object_name(stream: str, first: int, unique: int) -> str:
    """The name of an object, which it has before its last ledger is known, and which no other ever has."""
    return f"{stream}-{first:010d}-{unique:016x}.parquet"


def temporary_name(stream: str, first: int) -> str:
    """The name of a file that is being written; readers and globs pass over it."""
    return f".{stream}-{first:010d}.parquet.tmp"


def is_ours(path: str) -> bool:
    """Whether a file bears a name that the archive gives: a complete or a temporary one."""
    name = path.rpartition("/")[2]
    return bool(_COMPLETE.fullmatch(name) or _TEMPORARY.fullmatch(name))


def is_safe(path: str) -> bool:
    """Whether a path is one of a complete file within the archive."""
    folders, slash, name = path.rpartition("/")
    return bool(_SAFE_FOLDERS.fullmatch(folders + slash) and _COMPLETE.fullmatch(name))


def first_ledger(path: str) -> int | None:
    """The first ledger of a complete file, by its name; None when it is not one."""
    matched = _COMPLETE.fullmatch(path.rpartition("/")[2])
    return int(matched[1]) if matched else None
