"""Stores in object storage: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from stellar_arrow_client.object_storage import (
    CREDENTIALS,
    METADATA_SERVICE,
    ObjectAddress,
    first_line,
    may_pass,
    tells_of_no_bucket,
)
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers.source import RetryPolicy
from stellar_arrow_source.sparing import Sparing

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
        address = ObjectAddress.parse(endpoint)
        self.where = address.where
        self._kind = address.kind
        self._retry = retry
        self._failing = Sparing()
        self._store = address.open(attempts=0)

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
            SourceRefusedError, SourceUnavailableError: the storage refuses, or does not answer.
        """
        place = f"{self.where}/{name}" if name else self.where
        failures = 0
        while True:
            try:
                return call()
            except FileNotFoundError as error:  # what the library raises for it
                if tells_of_no_bucket(error):
                    raise self._no_bucket() from None
                return None
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise self._refused(place) from error
            except BaseError as error:
                if METADATA_SERVICE in str(error):
                    raise self._refused(place) from error
                if tells_of_no_bucket(error):
                    raise self._no_bucket() from None
                failures += 1
                if failures >= self._retry.attempts or not may_pass(error):
                    raise SourceUnavailableError(f"cannot read {place}: {first_line(error)}") from error
                delay = self._retry.delay(failures)
                if (also := self._failing.tell()) is not None:
                    _log.warning("cannot read %s (%s), next attempt in %.1f s%s", place, first_line(error), delay, also)
                time.sleep(delay)

    def _refused(self, place: str) -> SourceRefusedError:
        return SourceRefusedError(
            f"{place} may not be read: set {CREDENTIALS[self._kind]}, or add ?anonymous=true if it is public"
        )

    def _no_bucket(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"there is no bucket for {self.where}")
