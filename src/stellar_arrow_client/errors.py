"""Every error that a person can meet, with the exit code a command ends with.

Each class states once what kind of failure it is; the server's own errors derive from these, so that an
error keeps its meaning across the wire (``code`` is the class name, see :mod:`stellar_arrow_client.request`).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes shared by all commands."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTEGRITY = 4
    AUTHENTICATION = 5
    INTERRUPTED = 130
    TERMINATED = 143


class StellarArrowError(Exception):
    """Base of all expected failures; the message is one plain sentence that says what to do.

    Attributes:
        exit_code: what a command ends with.
        resume: the next ledger to ask for, when the server said so with the error.
        retry_after: seconds after which it is worth trying again, when the server said so.
    """

    exit_code: ExitCode = ExitCode.FAILURE
    resume: int | None = None
    retry_after: float | None = None


class InvalidRequestError(StellarArrowError):
    """A ticket, option or argument that cannot be understood."""

    exit_code = ExitCode.USAGE


class UnknownStreamError(InvalidRequestError):
    """No stream has that name."""


class UnknownColumnError(InvalidRequestError):
    """The stream has no column of that name."""


class OutputMismatchError(InvalidRequestError):
    """An output holds something else than what is to be written, or cannot hold it: a stream, a network, columns, …"""


class UnavailableError(StellarArrowError):
    """A server or source cannot be reached, or has stopped."""

    exit_code = ExitCode.UNAVAILABLE


class LimitError(UnavailableError):
    """The client has used up what the server lets it use for now: requests, streams or bytes."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IntegrityError(StellarArrowError):
    """Data that contradicts itself or its checksum."""

    exit_code = ExitCode.INTEGRITY


class GapError(IntegrityError):
    """A ledger of the range is missing although later ones exist."""


class AuthenticationError(StellarArrowError):
    """The server refuses the credentials."""

    exit_code = ExitCode.AUTHENTICATION


class PermissionDeniedError(AuthenticationError):
    """The credentials are good, but not for what was asked."""
