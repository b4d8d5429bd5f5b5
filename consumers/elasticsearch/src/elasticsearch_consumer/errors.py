"""Errors of a search server, on the common base of the client SDK."""

from __future__ import annotations

from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    StellarArrowError,
    UnavailableError,
)


class ServerError(StellarArrowError):
    """The search server does not do what it is told: a full disk, a second writer, a request that it refuses."""


class ServerUnavailableError(UnavailableError):
    """The search server cannot be reached, or stayed away for too long."""


class ServerAuthenticationError(AuthenticationError):
    """The search server refuses the credentials or what they want to do."""


class DocumentError(IntegrityError):
    """The search server refuses a row, or indices contradict their checkpoint."""
