"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.config import ServerConfig

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        status: ``warn`` is what works now but need not go on to, ``fail`` what does not work.
        message: what was found.
        fix: what to do; None when all is well, or when the message says it.
    """

    check: str
    status: Status
    message: str
    fix: str | None = None


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warn(check: str, message: str, fix: str) -> Finding:
    return Finding(check, "warn", message, fix)


def fail(check: str, message: str, fix: str | None = None) -> Finding:
    return Finding(check, "fail", message, fix)


Check = Callable[[ServerConfig], Iterable[Finding]]


def look(check: Check, name: str, config: ServerConfig) -> Iterator[Finding]:
    """The findings of a check; one that breaks off is a finding too."""
    try:
        yield from check(config)
    except StellarArrowError as error:
        yield fail(name, str(error))
    except Exception as error:  # one check that breaks off must not hide what the others find
        yield fail(name, f"the check itself broke off: {type(error).__name__}: {error}")
