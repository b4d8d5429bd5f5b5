"""Date layouts of folders: Go's (``2006/01/02``) and strftime's (``%Y/%m/%d``).

A layout is read into literals and :class:`Unit` values. Folders are always in UTC and in English, whatever the
locale and time zone of the machine. What cannot partition is refused: a layout without a year, a day without its
month, anything finer than a minute, 12-hour clocks and time zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stellar_arrow_client.errors import InvalidRequestError

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a date: what it tells (``year``, ``month``, …; None for an ornament) and how it is written."""

    tells: str | None
    write: Callable[[datetime], str]


_REFUSED_CLOCK = "a 12-hour clock; write 15 (or %H) for the hour"
_REFUSED_FINE = "a unit finer than a minute, which would give every ledger a folder of its own"
_REFUSED_ZONE = "a time zone; folders are always in UTC"
_REFUSED_BLANK = "a day padded with a blank; write 02"

_YEAR = Unit("year", lambda t: f"{t.year:04d}")
_SHORT_YEAR = Unit("year", lambda t: f"{t.year % 100:02d}")
_MONTH = Unit("month", lambda t: f"{t.month:02d}")
_BARE_MONTH = Unit("month", lambda t: str(t.month))
_MONTH_NAME = Unit("month", lambda t: _MONTHS[t.month - 1])
_SHORT_MONTH_NAME = Unit("month", lambda t: _MONTHS[t.month - 1][:3])
_DAY = Unit("day", lambda t: f"{t.day:02d}")
_BARE_DAY = Unit("day", lambda t: str(t.day))
_DAY_OF_YEAR = Unit("day of the year", lambda t: f"{t.timetuple().tm_yday:03d}")
_HOUR = Unit("hour", lambda t: f"{t.hour:02d}")
_MINUTE = Unit("minute", lambda t: f"{t.minute:02d}")
_WEEKDAY = Unit(None, lambda t: _DAYS[t.weekday()])
_SHORT_WEEKDAY = Unit(None, lambda t: _DAYS[t.weekday()][:3])

# In the order in which Go itself looks for them: a longer one before its own beginning.
_GO: Final[dict[str, Unit | str]] = {
    "January": _MONTH_NAME, "Jan": _SHORT_MONTH_NAME, "Monday": _WEEKDAY, "Mon": _SHORT_WEEKDAY,
    "MST": _REFUSED_ZONE, "2006": _YEAR, "002": _DAY_OF_YEAR,
    "01": _MONTH, "02": _DAY, "03": _REFUSED_CLOCK, "04": _MINUTE, "05": _REFUSED_FINE, "06": _SHORT_YEAR,
    "15": _HOUR, "PM": _REFUSED_CLOCK, "pm": _REFUSED_CLOCK,
    "-0700": _REFUSED_ZONE, "-07": _REFUSED_ZONE, "Z07": _REFUSED_ZONE,
    "1": _BARE_MONTH, "2": _BARE_DAY, "3": _REFUSED_CLOCK, "4": Unit("minute", lambda t: str(t.minute)),
    "5": _REFUSED_FINE, "_2": _REFUSED_BLANK,
}  # fmt: skip
_STRFTIME: Final[dict[str, Unit | str]] = {
    "Y": _YEAR, "y": _SHORT_YEAR, "m": _MONTH, "B": _MONTH_NAME, "b": _SHORT_MONTH_NAME, "h": _SHORT_MONTH_NAME,
    "d": _DAY, "j": _DAY_OF_YEAR, "H": _HOUR, "M": _MINUTE, "A": _WEEKDAY, "a": _SHORT_WEEKDAY,
    "I": _REFUSED_CLOCK, "p": _REFUSED_CLOCK, "S": _REFUSED_FINE, "f": _REFUSED_FINE, "s": _REFUSED_FINE,
    "Z": _REFUSED_ZONE, "z": _REFUSED_ZONE,
}  # fmt: skip
_SHORTHAND: Final = {"%F": "%Y-%m-%d"}

_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "month": ("year",),
    "day": ("month",),
    "day of the year": ("year",),
    "hour": ("day", "day of the year"),
    "minute": ("hour",),
}
"""The units of which one must stand beside a unit, lest different times share a folder."""


def parse_layout(text: str) -> tuple[str | Unit, ...]:
    """Read a Go or strftime layout into literals and units.

    Raises:
        InvalidRequestError: it holds no date, or one that cannot name a partition.
    """
    parts = tuple(_strftime_parts(text) if "%" in text else _go_parts(text))
    units = [part.tells for part in parts if isinstance(part, Unit) and part.tells]
    if not units:
        raise InvalidRequestError(
            f"{text!r} is no partition format; write hive, none, ledgers:N, a Go layout such as 2006/01/02 "
            "or a strftime one such as %Y/%m/%d"
        )
    for unit in units:
        needs = _NEEDS.get(unit, ())
        if needs and not set(needs) & set(units):
            raise InvalidRequestError(
                f"the partition format {text!r} has a {unit} but no {needs[0]}, so that different times would "
                "share a folder; write it out, such as 2006/01/02 or %Y/%m/%d"
            )
    return parts


def _strftime_parts(text: str) -> list[str | Unit]:
    for short, long in _SHORTHAND.items():
        text = text.replace(short, long)
    literal, *fields = text.split("%")
    parts: list[str | Unit] = [literal]
    for field in fields:
        parts.append(_accept(text, f"%{field[:1]}", _STRFTIME.get(field[:1])))
        parts.append(field[1:])
    return parts


def _go_parts(text: str) -> list[str | Unit]:
    parts: list[str | Unit] = []
    at = 0
    while at < len(text):
        token = next((token for token in _GO if text.startswith(token, at)), None)
        # As in Go, Jan and Mon are no tokens inside a longer word such as "Month".
        if token in ("Jan", "Mon") and text[at + 3 : at + 4].islower():
            token = None
        if token == "_2" and text.startswith("_2006", at):
            token = None
        if token is None:
            parts.append(text[at])
            at += 1
        else:
            parts.append(_accept(text, token, _GO[token]))
            at += len(token)
    return parts


def _accept(text: str, token: str, unit: Unit | str | None) -> Unit:
    if isinstance(unit, Unit):
        return unit
    fault = unit or f"an unknown field; known are {' '.join('%' + letter for letter in _STRFTIME)}"
    hint = "" if token.startswith("%") else "; a Go layout is the time 2006-01-02 15:04 in the form wanted"
    raise InvalidRequestError(f"{token!r} in the partition format {text!r} is {fault}{hint}")
