"""Errors of publishing, on the common base of the client SDK."""

from __future__ import annotations

from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)


class PublishError(StellarArrowError):
    """The brokers refuse what is to be published."""


class FencedError(PublishError):
    """Another publisher has taken over the topic."""


class MessageTooLargeError(PublishError):
    """A row is larger than the topic's ``max.message.bytes``."""


class EncodingError(InvalidRequestError):
    """The encoding has no form for a column or a value."""


class CursorError(IntegrityError):
    """The record of what a topic holds is damaged, or contradicts the topic."""


class BrokersUnavailableError(UnavailableError):
    """No broker can be reached, or none can do what is asked for now."""


class BrokerAuthenticationError(AuthenticationError):
    """The brokers refuse the credentials, or do not let them do what is needed."""
