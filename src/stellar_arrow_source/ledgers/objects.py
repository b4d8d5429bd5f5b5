"""Stores in object storage: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
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
_ADDRESSES: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
"""Variables that the library reads a server's address from."""

_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
_WRONG: Final = re.compile(r"status code: 4(?!08|29)\d\d|builder error")
_METADATA_SERVICE: Final = "http://169.254.169.254/"
"""Where the library asks for credentials when the environment has none: an error there means that none were found."""

_TIMEOUT: Final = timedelta(seconds=60)
_PAGE: Final = 1000

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ObjectFolder:
    """A prefix of a bucket; see :class:`~stellar_arrow_source.ledgers.folders.Folder`.

    Requests that fail in a way that may pass are made again, with backoff. The library would do so for some of those
    ways only: not where a connection breaks while it is written to.

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
        self._retry = retry
        self._store = self._open(endpoint)

    def folders(self) -> list[str]:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`."""
        found = self._ask(lambda: obstore.list_with_delimiter(self._store), "")
        return [] if found is None else sorted(prefix.rstrip("/") for prefix in found["common_prefixes"])

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        """See :class:`~stellar_arrow_source.ledgers.folders.Folder`; object storage lists in this order."""
        prefix, last = f"{folder}/" if folder else "", after
        pages: Iterator[Any] | None = None

        def next_page() -> Any:
            nonlocal pages
            if pages is None:
                offset = f"{prefix}{last}" if last else None
                pages = iter(obstore.list(self._store, folder or None, offset=offset, chunk_size=_PAGE))
            try:
                return next(pages, None)
            except BaseError:
                pages = None  # the listing has ended with it: another one goes on after the last name
                raise

        while page := self._ask(next_page, folder):
            for entry in page:
                name = entry["path"].removeprefix(prefix)
                if name > last:  # there are servers that list from the beginning all the same
                    last = name
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
        failures = 0
        while True:
            try:
                return call()
            except FileNotFoundError as error:  # what the library raises for it
                if _tells_of_no_bucket(error):
                    raise self._no_bucket() from None
                return None
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise self._refused(place) from error
            except BaseError as error:
                if _METADATA_SERVICE in str(error):
                    raise self._refused(place) from error
                if _tells_of_no_bucket(error):
                    raise self._no_bucket() from None
                failures += 1
                if failures >= self._retry.attempts or not _may_pass(error):
                    raise SourceUnavailableError(f"cannot read {place}: {_plain(error)}") from error
                delay = self._retry.delay(failures)
                _log.warning("cannot read %s (%s), next attempt in %.1f s", place, _plain(error), delay)
                time.sleep(delay)

    def _refused(self, place: str) -> AuthenticationError:
        return AuthenticationError(
            f"{place} may not be read: set {_CREDENTIALS[self._kind]}, or add ?anonymous=true if it is public"
        )

    def _no_bucket(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"there is no bucket for {self.where}")

    def _open(self, endpoint: str) -> ObjectStore:
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
                retry_config={"max_retries": 0},
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequestError(f"{self.where} cannot be used: {_plain(error)}") from error


def _plain_http(given: dict[str, str]) -> bool:
    """Whether the user names an address without TLS."""
    named = (given.get("endpoint"), *map(os.environ.get, _ADDRESSES))
    return any(address.startswith("http://") for address in named if address)


def _may_pass(error: BaseError) -> bool:
    """Whether another attempt may do better: not after an answer that says that the request is wrong."""
    return isinstance(error, GenericError) and _WRONG.search(str(error)) is None


def _tells_of_no_bucket(error: Exception) -> bool:
    return any(code in str(error) for code in _NO_BUCKET)


def _plain(error: Exception) -> str:
    """The first line of an error of the library, which adds pages of detail."""
    return str(error).strip().splitlines()[0][:300]
