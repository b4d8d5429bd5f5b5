"""A result of the window, and its form as a JSON line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from .analyses import Analysis
from .window import Span


def iso_time(microseconds: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, such as ``2024-10-01T00:00:00Z``."""
    seconds, rest = divmod(microseconds, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:06d}Z" if rest else f"{text}Z"


def _digits(value: int | Decimal) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True, slots=True)
class Result:
    """What a window adds up to.

    Attributes:
        length: of the window, in microseconds.
        groups: how many rows there would be without ``--top``.
        rows: the first of them, keys then measures; amounts are ints, which may exceed 64 bits, prices Decimals.
        final: whether no other result follows.
    """

    analysis: Analysis
    length: int
    span: Span
    groups: int
    rows: list[dict[str, Any]]
    final: bool

    @property
    def minutes(self) -> int:
        return self.length // 60_000_000

    def to_json(self) -> str:
        """One line; amounts and prices are strings of digits, for they exceed what JSON readers hold exactly."""
        exact = {m.name for m in self.analysis.measures if m.unit in ("stroops", "tokens", "price")}
        rows = [
            {name: _digits(value) if name in exact and value is not None else value for name, value in row.items()}
            for row in self.rows
        ]
        return json.dumps(
            {
                "analysis": self.analysis.name,
                "window_minutes": self.minutes,
                "from_ledger": self.span.first.sequence,
                "to_ledger": self.span.last.sequence,
                "ledgers": self.span.ledgers,
                "window_start": iso_time(self.span.start),
                "window_end": iso_time(self.span.end),
                "full": self.span.full,
                "groups": self.groups,
                "rows": rows,
                "final": self.final,
            },
            separators=(",", ":"),
        )
