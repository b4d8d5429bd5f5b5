"""Object storage by its address: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
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

ATTEMPTS: Final = 8
"""How often a request is made until its failure counts; within some 20 seconds."""

_ADDRESSES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
"""Variables that the library reads a server's address from."""

_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
_REFUSED: Final = (METADATA_SERVICE, "403 Forbidden", "401 Unauthorized")
_WRONG: Final = re.compile(r"status code: 4(?!08|29)\d\d|builder error")
_TIMEOUT: Final = timedelta(seconds=60)
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0

T = TypeVar("T")


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
        return any(address.startswith("http://") for address in named if address)

    @property
    def library_options(self) -> dict[str, str]:
        """The options by the names that the libraries of object storage in Rust know."""
        options = {_OPTIONS[self.kind][name]: value for name, value in self.options.items()}
        return {**options, "allow_http": str(self.is_plain_http).lower()}

    def within(self, name: str) -> ObjectAddress:
        """A prefix below this one."""
        return ObjectAddress(self.kind, f"{self.where}/{name}", self.options)

    def open(self, *, attempts: int = ATTEMPTS) -> ObjectStore:
        """The store behind it, whose paths are relative to the prefix; nothing is asked of it yet.

        Args:
            attempts: how often the library makes a request again; see also :func:`repeat`.

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
                    "backoff": {
                        "init_backoff": timedelta(seconds=_FIRST_WAIT),
                        "max_backoff": timedelta(seconds=_LONGEST_WAIT),
                        "base": 2,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequestError(f"{self.where} cannot be used: {first_line(error)}") from error


def repeat(request: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """What a request gives, which is made again after errors that may pass.

    The library would do so for some of those only: not where a connection breaks while it is written to, nor for a
    request that must not happen twice. Who makes such a one must recognise that it has happened.
    """
    from obstore.exceptions import BaseError

    failures = 0
    while True:
        try:
            return request()
        except BaseError as error:
            failures += 1
            if failures >= attempts or not may_pass(error):
                raise
            time.sleep(min(_FIRST_WAIT * 2**failures, _LONGEST_WAIT))


def may_pass(error: Exception) -> bool:
    """Whether another attempt may do better: not after an answer that says that the request is wrong."""
    from obstore.exceptions import GenericError

    return isinstance(error, GenericError) and _WRONG.search(str(error)) is None


def tells_of_no_bucket(error: Exception) -> bool:
    """Whether an error says that there is no such bucket; the library raises it as one of several kinds."""
    return any(code in str(error) for code in _NO_BUCKET)


def tells_of_refusal(error: Exception) -> bool:
    """Whether an error says that there are no credentials, or not the right ones."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    return isinstance(error, PermissionDeniedError | UnauthenticatedError) or any(
        sign in str(error) for sign in _REFUSED
    )


def is_object_address(text: str) -> bool:
    """Whether a text is an address of object storage, rather than a folder."""
    return text.partition("://")[0] in _OPTIONS and "://" in text


def first_line(error: Exception) -> str:
    """The first line of an error of the library, which adds pages of detail."""
    return str(error).strip().splitlines()[0][:300]
