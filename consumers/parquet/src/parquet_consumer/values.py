"""Values of the command line: compressions, places, sizes, ages and ledger ranges."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.object_storage import is_object_address
from stellar_arrow_client.options import LedgerNumber

if TYPE_CHECKING:
    from parquet_consumer.storage import Storage

COMPRESSIONS: Final = ("zstd", "snappy", "gzip", "lz4", "brotli", "none")
"""Compressions of a Parquet file."""

FORMATS: Final = ("parquet", "delta", "iceberg")
"""Formats of an archive."""

_SIZE = re.compile(r"([0-9]{1,15})\s*(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_SIZE_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AGE = re.compile(r"([0-9]{1,6})([hdw])", re.IGNORECASE)
_AGE_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Place(click.ParamType["Storage"]):
    """Where an archive is: a folder, or a prefix of a bucket.

    Args:
        exists: whether a folder must be there already.
    """

    name = "place"

    def __init__(self, *, exists: bool = False) -> None:
        self._folder = click.Path(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Storage:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        from parquet_consumer.storage import open_storage

        if not is_object_address(value):
            self._folder.convert(value, param, ctx)
        try:
            return open_storage(value)
        except InvalidRequestError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes: ``268435456`` or ``256MB``; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        matched = _SIZE.fullmatch(str(value).strip())
        if not matched or not int(matched[1]):
            self.fail(f"{str(value)[:40]!r} is not a size such as 268435456 or 256MB", param, ctx)
        return int(matched[1]) * _SIZE_UNITS.get((matched[2] or "").upper(), 1)


class Age(click.ParamType[datetime]):
    """A point in time: an age such as ``90d``, ``12h``, ``2w``, or a UTC date such as ``2024-08-30``."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if matched := _AGE.fullmatch(value):
                return datetime.now(UTC) - int(matched[1]) * _AGE_UNITS[matched[2].lower()]
            time = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value[:40]!r} is neither an age such as 90d nor a date such as 2024-08-30", param, ctx)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Duration(click.ParamType[timedelta]):
    """A time of at least an hour: ``7d``, ``12h``, ``2w``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        matched = _AGE.fullmatch(value)
        if not matched or not int(matched[1]):
            self.fail(f"{value[:40]!r} is not a time of an hour or more, such as 7d or 12h", param, ctx)
        return int(matched[1]) * _AGE_UNITS[matched[2].lower()]


class Bounds(NamedTuple):
    """A range of ledgers as asked for: ``end`` None follows the tip."""

    start: int | None
    end: int | None


class LedgerRange(click.ParamType[Bounds]):
    """``START:END``, ``START:`` to follow the tip."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Bounds:
        if isinstance(value, Bounds):
            return value
        start, colon, end = value.partition(":")
        if not colon:
            self.fail(f"{value[:40]!r} is not START:END, such as 53312000:53312999", param, ctx)
        last = LedgerNumber(zero_is_none=True).convert(end, param, ctx) if end else None
        return Bounds(LedgerNumber().convert(start, param, ctx), last)
