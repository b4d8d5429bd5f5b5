"""Object storage by its address: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from stellar_arrow_client.errors import InvalidRequestError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""The environment variables of the credentials of each kind of storage."""

METADATA_SERVICE: Final = "http://169.254.169.254/"
"""Where libraries ask for credentials when the environment has none: an error there means that none were found."""

_OPTIONS: Final = {
    "s3": {"region": "region", "endpoint": "endpoint", "anonymous": "skip_signature"},
    "gs": {"endpoint": "base_url", "anonymous": "skip_signature"},
    "az": {"account": "account_name", "endpoint": "endpoint", "anonymous": "skip_signature"},
}
"""What may follow the ``?`` of an address → the library's name of it. Credentials never stand in an address."""

_TIMEOUT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """A prefix of a bucket.

    Attributes:
        kind: ``s3``, ``gs`` or ``az``.
        where: ``s3://bucket/prefix``, without options.
        options: what followed the ``?``, such as ``endpoint``.
    """

    kind: str
    where: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, address: str) -> ObjectAddress:
        """Read ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``.

        ``?region=…``, ``endpoint=…``, ``account=…`` or ``anonymous=true`` may follow. Everything else, credentials
        above all, comes from the environment variables that the cloud's own tools read.

        Raises:
            InvalidRequestError: the address makes no sense.
        """
        parts = urlsplit(address)
        kind, where = parts.scheme, f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        if not parts.netloc or set(parts.netloc) & set("@:") or parts.fragment:
            raise InvalidRequestError(
                f"an address of {kind}:// must name a bucket alone: use {kind}://bucket/prefix, "
                f"and {CREDENTIALS[kind]} in the environment"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(set(options) - set(_OPTIONS[kind])):
            raise InvalidRequestError(f"{where}?{unknown[0]}=… is not known: use {', '.join(_OPTIONS[kind])}")
        return cls(kind, where, options)

    @property
    def bucket(self) -> str:
        """Its name alone."""
        return urlsplit(self.where).netloc

    @property
    def prefix(self) -> str:
        """Within the bucket, without slashes at its ends."""
        return urlsplit(self.where).path.strip("/")

    @property
    def is_plain_http(self) -> bool:
        """Whether the user names a server without TLS."""
        named = (
            self.options.get("endpoint"),
            os.environ.get("AWS_ENDPOINT_URL_S3"),
            os.environ.get("AWS_ENDPOINT_URL"),
        )
        return next((address.startswith("http://") for address in named if address), False)

    @property
    def library_options(self) -> dict[str, str]:
        """The options by the names that the libraries of object storage in Rust know."""
        options = {_OPTIONS[self.kind][name]: value for name, value in self.options.items()}
        return {**options, "allow_http": str(self.is_plain_http).lower()}

    def within(self, name: str) -> ObjectAddress:
        """A prefix below this one."""
        return ObjectAddress(self.kind, f"{self.where}/{name}", self.options)

    def open(self, *, attempts: int, first_wait: float, longest_wait: float) -> ObjectStore:
        """The store behind it, whose paths are relative to the prefix; nothing is asked of it yet.

        Args:
            attempts: how often a request is tried again.
            first_wait: seconds before the first repetition; doubles each time.
            longest_wait: most seconds between two.

        Raises:
            InvalidRequestError: the options make no sense.
        """
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        config: Any = {_OPTIONS[self.kind][name]: value for name, value in self.options.items()}
        try:
            return from_url(
                self.where,
                config=config,
                client_options={"timeout": _TIMEOUT, "allow_http": self.is_plain_http},
                retry_config={
                    "max_retries": attempts,
                    "retry_timeout": timedelta(seconds=attempts * longest_wait),
                    "backoff": {
                        "init_backoff": timedelta(seconds=first_wait),
                        "max_backoff": timedelta(seconds=longest_wait),
                        "base": 2,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequestError(f"{self.where} cannot be used: {first_line(error)}") from error


def is_object_address(text: str) -> bool:
    """Whether a text is an address of object storage, rather than a folder."""
    return text.partition("://")[0] in _OPTIONS and "://" in text


def first_line(error: Exception) -> str:
    """The first line of an error of the library, which adds pages of detail."""
    return str(error).strip().splitlines()[0][:300]
