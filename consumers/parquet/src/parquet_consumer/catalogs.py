"""Catalogs of Iceberg: a REST catalog over HTTP, a file of SQLite, or what the user's own configuration names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from parquet_consumer.errors import StorageUnavailableError
from parquet_consumer.folders import Folder
from parquet_consumer.storage import Storage
from stellar_arrow_client.errors import AuthenticationError, InvalidRequestError, OutputMismatchError, StellarArrowError
from stellar_arrow_client.object_storage import ATTEMPTS, first_line

CATALOG_NAME: Final = "_catalog.db"
_CATALOG: Final = "stellar"
_KINDS: Final = {"http": "rest", "https": "rest", "sqlite": "sql"}
_CREDENTIALS: Final = "PYICEBERG_CATALOG__STELLAR__CREDENTIAL, …__TOKEN or ~/.pyiceberg.yaml"

_SECONDS: Final = 60.0
"""How long a REST catalog may be silent."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
_BUSY: Final = (429, 500, 502, 503, 504)


def own_catalog(storage: Storage) -> str:
    """The catalog of a table whose user named none.

    Raises:
        OutputMismatchError: a bucket cannot hold one.
    """
    if isinstance(storage, Folder):
        return f"sqlite:///{(storage.path / CATALOG_NAME).absolute()}"
    raise OutputMismatchError(
        "--format iceberg in a bucket needs a catalog: give --catalog, such as http://localhost:8181 or "
        "sqlite:////path/catalog.db"
    )


def open_catalog(address: str, storage: Storage) -> Any:
    """The library's catalog, which finds the files of a storage.

    Raises:
        InvalidRequestError: the address makes no sense.
        StorageUnavailableError, AuthenticationError: there is no such catalog, or it refuses.
    """
    from pyiceberg.catalog import load_catalog

    kind = address.partition(":")[0]
    if "://" in address and (kind not in _KINDS or "@" in urlsplit(address).netloc):
        raise InvalidRequestError(
            f"a catalog is one of {', '.join(_KINDS)}, without credentials, or a name: put them into {_CREDENTIALS}"
        )
    properties = _file_options(storage)
    try:
        if "://" not in address:
            return _patient(load_catalog(address, **properties))
        if kind == "sqlite":
            Path(address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return _patient(load_catalog(_CATALOG, type=_KINDS[kind], uri=address, **properties))
    except Exception as error:  # every kind of catalog has errors of its own, and says nowhere which
        raise _failure(address, error) from error


@contextmanager
def catalog_errors(address: str) -> Iterator[None]:
    """Turn an error of a catalog into one sentence that says what to do.

    Raises:
        StorageUnavailableError: it does not answer, or not as a catalog does.
        AuthenticationError: it refuses.
    """
    from pyiceberg.exceptions import RESTError
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (RESTError, RequestException, SQLAlchemyError) as error:
        raise _failure(address, error) from error


def _failure(address: str, error: Exception) -> StellarArrowError:
    from pyiceberg.exceptions import AuthorizationExpiredError, ForbiddenError, OAuthError, UnauthorizedError

    reason = first_line(error).rstrip(".")
    if isinstance(error, AuthorizationExpiredError | ForbiddenError | OAuthError | UnauthorizedError):
        return AuthenticationError(f"the catalog {address} refuses: {reason}; set {_CREDENTIALS}")
    return StorageUnavailableError(
        f"the catalog {address} cannot be used: {reason}; check it and run the same command again"
    )


def _patient(catalog: Any) -> Any:
    """Let a REST catalog be away for a while: the library itself asks once, and waits for ever.

    Only what may be asked twice is asked again; of a commit, the table tells whether it has happened.
    """
    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    class Patient(HTTPAdapter):
        def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
            return super().send(request, **{**options, "timeout": options.get("timeout") or _SECONDS})

    session = getattr(catalog, "_session", None)
    if isinstance(session, Session):
        attempts = Retry(
            ATTEMPTS,
            backoff_factor=_FIRST_WAIT,
            backoff_max=_LONGEST_WAIT,
            status_forcelist=_BUSY,
            allowed_methods=("GET", "HEAD"),
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, Patient(max_retries=attempts))
    return catalog


def _file_options(storage: Storage) -> dict[str, str]:
    """What the library must know to read and write the files; credentials come from the environment."""
    from parquet_consumer.buckets import Bucket

    if not isinstance(storage, Bucket):
        return {}
    if storage.address.kind == "az":
        raise InvalidRequestError(f"--format iceberg cannot write to {storage}: give --format delta, or s3:// or gs://")
    given = storage.address.options
    if storage.address.kind == "gs":
        return {"gcs.service.host": given["endpoint"]} if "endpoint" in given else {}
    found = {
        "s3.endpoint": given.get("endpoint")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL"),
        "s3.region": given.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "s3.anonymous": given.get("anonymous"),
    }
    return {name: value for name, value in found.items() if value}
