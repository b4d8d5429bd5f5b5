"""Values of the command line that several commands take."""

from __future__ import annotations

from typing import Any

import click

from stellar_arrow_client.request import MAX_LEDGER


class LedgerNumber(click.ParamType[int | None]):
    """A ledger sequence; 0 where ``zero_is_none`` means without end."""

    name = "ledger"

    def __init__(self, *, zero_is_none: bool = False) -> None:
        self._zero_is_none = zero_is_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            self.fail(f"{text[:40]!r} is not a ledger number", param, ctx)
        number = int(text)
        if number == 0 and self._zero_is_none:
            return None
        if not 1 <= number <= MAX_LEDGER:
            self.fail(f"{number} is not between 1 and {MAX_LEDGER}", param, ctx)
        return number


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them, such as those of columns."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(name.strip() for name in str(value).split(","))


class Assignment(click.ParamType[tuple[str, str]]):
    """``name=value``, as the name and the value.

    Args:
        example: one for the message that says how to write it.
    """

    name = "name=value"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, content = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"write it as name=value, such as {self._example}", param, ctx)
        return name.strip(), content.strip()
