"""Values of the command line."""

from __future__ import annotations

import re
from typing import Any, Final

import click

ENCODING_NAMES: Final = ("json", "avro", "protobuf", "arrow")
COMPRESSIONS: Final = ("zstd", "lz4", "snappy", "gzip", "none")
CLEANUPS: Final = ("delete", "compact", "compact,delete")

_TIME = re.compile(r"([0-9]{1,6})([hdw])")
_HOUR: Final = 3_600_000
_UNITS: Final = {"h": _HOUR, "d": 24 * _HOUR, "w": 7 * 24 * _HOUR}


class Retention(click.ParamType[int]):
    """Milliseconds of a time such as ``7d``; -1 of ``forever``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        if text == "forever":
            return -1
        matched = _TIME.fullmatch(text)
        if not matched or not int(matched[1]):
            self.fail(f"{text[:40]!r} is not a time such as 12h, 7d or 4w, or forever", param, ctx)
        return int(matched[1]) * _UNITS[matched[2]]
