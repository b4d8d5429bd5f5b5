"""Stores in object storage: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from stellar_arrow_client.errors import AuthenticationError, InvalidRequestError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.source import RetryPolicy

_PARAMETERS: Final = {
    "s3": {"region": "region", "endpoint": "endpoint", "anonymous": "skip_signature"},
    "gs": {"endpoint": "base_url", "anonymous": "skip_signature"},
    "az": {"account": "account_name", "endpoint": "endpoint", "anonymous": "skip_signature"},
}
"""What may follow the ``?`` of an endpoint → the library's name of it. Credentials never stand in an endpoint."""

_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_METADATA_SERVICE: Final = "http://169.254.169.254/"
"""Where the library asks for credentials when the environment has none: an error there means that none were found."""

_TIMEOUT: Final = timedelta(seconds=60)
_PAGE: Final = 1000

T = TypeVar("T")


class ObjectFolder:
    """A prefix of a bucket; see :class:`~stellar_arrow_source.ledgers.folders.Folder`.

    Requests are tried again by the library, with backoff, before they fail.

    Args:
        endpoint: ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``, with ``?region=…``,
            ``endpoint=…``, ``account=…`` or ``anonymous=true`` as needed. Everything else, credentials above all,
            comes from the environment variables that the cloud's own tools read.

    Raises:
        InvalidRequestError: the endpoint makes no sense.
    """

    readers = 16  # a request waits for the network most of the time
    poll_seconds = 1.0

    def __init__(self, endpoint: str, retry: RetryPolicy) -> None:
        parts = urlsplit(endpoint)
        self.where = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._kind = parts.scheme
        self._store = self._open(endpoint, retry)

    def folders(self) -> list[str]:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`."""
        found = self._ask(lambda: obstore.list_with_delimiter(self._store), "")
        return [] if found is None else sorted(prefix.rstrip("/") for prefix in found["common_prefixes"])

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`; object storage lists in this order."""
        prefix = f"{folder}/" if folder else ""
        pages = iter(
            obstore.list(self._store, folder or None, offset=f"{prefix}{after}" if after else None, chunk_size=_PAGE)
        )
        while page := self._ask(lambda: next(pages, None), folder):
            for entry in page:
                name = entry["path"].removeprefix(prefix)
                if "/" not in name:
                    yield name

    def exists(self, name: str) -> bool:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`."""
        return self._ask(lambda: obstore.head(self._store, name), name) is not None

    def read(self, name: str, limit: int) -> bytes | memoryview | None:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`."""

        def get() -> memoryview:
            answer = obstore.get(self._store, name)
            if answer.meta["size"] > limit:
                return memoryview(obstore.get_range(self._store, name, start=0, length=limit))
            return memoryview(answer.bytes())

        return self._ask(get, name)

    def _ask(self, call: Callable[[], T], name: str) -> T | None:
        """What ``call`` gives; None for an object that does not exist.

        Raises:
            AuthenticationError, SourceUnavailableError: the storage refuses, or does not answer.
        """
        place = f"{self.where}/{name}" if name else self.where
        try:
            return call()
        except FileNotFoundError as error:  # what the library raises for it
            if "NoSuchBucket" in str(error):
                raise SourceUnavailableError(f"there is no bucket for {self.where}") from None
            return None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise self._refused(place) from error
        except BaseError as error:
            if _METADATA_SERVICE in str(error):
                raise self._refused(place) from error
            raise SourceUnavailableError(f"cannot read {place}: {_plain(error)}") from error

    def _refused(self, place: str) -> AuthenticationError:
        return AuthenticationError(
            f"{place} may not be read: set {_CREDENTIALS[self._kind]}, or add ?anonymous=true if it is public"
        )

    def _open(self, endpoint: str, retry: RetryPolicy) -> ObjectStore:
        parts = urlsplit(endpoint)
        known = _PARAMETERS[parts.scheme]
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not parts.hostname or parts.username is not None:
            raise InvalidRequestError(
                f"an endpoint of {parts.scheme}:// must name a bucket alone: use {parts.scheme}://bucket/prefix, "
                f"and {_CREDENTIALS[parts.scheme]} in the environment"
            )
        if unknown := sorted(set(given) - set(known)):
            raise InvalidRequestError(f"{self.where}?{unknown[0]}=… is not known: use {', '.join(known)}")
        config: Any = {known[name]: value for name, value in given.items()}
        try:
            return from_url(
                self.where,
                config=config,
                client_options={"timeout": _TIMEOUT, "allow_http": _plain_http(given)},
                retry_config={
                    "max_retries": retry.attempts,
                    "retry_timeout": timedelta(seconds=retry.attempts * retry.maximum),
                    "backoff": {
                        "init_backoff": timedelta(seconds=retry.initial),
                        "max_backoff": timedelta(seconds=retry.maximum),
                        "base": 2,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequestError(f"{self.where} cannot be used: {_plain(error)}") from error


def _plain_http(given: dict[str, str]) -> bool:
    """Whether the user names an address without TLS."""
    named = (given.get("endpoint"), os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_ENDPOINT_URL_S3"))
    return any(address.startswith("http://") for address in named if address)


def _plain(error: Exception) -> str:
    """The first line of an error of the library, which adds pages of detail."""
    return str(error).strip().splitlines()[0][:300]
