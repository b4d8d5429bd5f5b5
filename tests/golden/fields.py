"""How another implementation's fields are compared with our columns.

Every field of theirs is either mapped, by a function of our row that gives what they must say, or listed as
not carried with the reason. A field that is neither fails the comparison: nothing of theirs is overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
Fields = Mapping[str, Callable[[Row], Any]]


def compare(where: str, theirs: Row, ours: Row, mapped: Fields, not_carried: Mapping[str, str]) -> list[str]:
    """What disagrees between one row of theirs and ours, and fields that nobody has accounted for."""
    found = [f"{where}: unknown field {name}" for name in theirs if name not in mapped and name not in not_carried]
    for name, value_of in mapped.items():
        if name in theirs and (value := value_of(ours)) != theirs[name]:
            found.append(f"{where}.{name}: they say {theirs[name]!r}, ours means {value!r}")
    return found


def column(name: str) -> Callable[[Row], Any]:
    """Their value is our column's."""
    return lambda row: row[name]


def or_zero(name: str) -> Callable[[Row], Any]:
    """They write 0 where the ledger says nothing; ours is null then."""
    return lambda row: row[name] or 0


def or_empty(name: str) -> Callable[[Row], Any]:
    """They write an empty string where the ledger says nothing; ours is null then."""
    return lambda row: row[name] or ""


def hexadecimal(name: str) -> Callable[[Row], Any]:
    """Our 32 bytes are their hexadecimal text."""
    return lambda row: row[name].hex() if row[name] is not None else None


def timestamp(row: Row) -> str:
    """Close time as they write it."""
    return str(row["ledger_close_time"].strftime("%Y-%m-%dT%H:%M:%SZ"))


def real(name: str) -> Callable[[Row], Any]:
    """Their float is our stroops divided by 10^7, rounded once to the nearest binary64: lossy, but by rule."""
    return lambda row: float(Fraction(row[name], 10**7))


def price(row: Row) -> float:
    """Their price is price_n / price_d rounded to seven places, half away from zero, then to binary64."""
    return float(Fraction(int(Fraction(row["price_n"] * 10**7, row["price_d"]) + Fraction(1, 2)), 10**7))


def go_enum(name: str, kind: str, prefix: str = "") -> Callable[[Row], Any]:
    """Their Go constant, such as ``TransactionResultCodeTxFailed`` for our ``txFAILED``."""

    def spell(row: Row) -> Any:
        member = row[name]
        if member is None:
            return ""
        words = member.removeprefix(prefix).split("_")
        return kind + prefix.capitalize() + "".join(word.capitalize() for word in words)

    return spell


def snake_of_go(constant: str) -> str:
    """``PathPaymentStrictReceiveOverSendmax`` → ``PATH_PAYMENT_STRICT_RECEIVE_OVER_SENDMAX``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", constant).upper()


def report(found: Iterable[str], limit: int = 20) -> str:
    """The first differences, one a line."""
    lines = list(found)
    return "\n".join(lines[:limit] + (["…"] if len(lines) > limit else []))
