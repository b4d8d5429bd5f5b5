"""Locations of Flight servers, as people write them."""

from __future__ import annotations

import re
from typing import Any, Final

import click

MAX_LOCATIONS: Final = 256

_LOCATION = re.compile(r"grpc(\+tcp|\+tls)?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


class Location(click.ParamType[str]):
    """The location of a Flight server."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _LOCATION.fullmatch(value):
            self.fail(f"{value[:80]!r} is not a location such as grpc://host:8815 or grpc+tls://host:8815", param, ctx)
        return str(value)


class Locations(click.ParamType[tuple[str, ...]]):
    """Several, with commas between."""

    name = "locations"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value  # the default
        found = [Location().convert(part.strip(), param, ctx) for part in parts]
        if len(found) > MAX_LOCATIONS:
            self.fail(f"{len(found)} locations are too many, {MAX_LOCATIONS} is the most", param, ctx)
        return tuple(dict.fromkeys(found))
