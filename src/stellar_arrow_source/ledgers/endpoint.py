"""From an endpoint, as people write it, to the source that reads it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_source.errors import NetworkMismatchError
from stellar_arrow_source.ledgers.cache import CachedSource
from stellar_arrow_source.ledgers.core_stream import CoreStream
from stellar_arrow_source.ledgers.failover import SILENCE_SECONDS, Failover
from stellar_arrow_source.ledgers.folders import LocalFolder
from stellar_arrow_source.ledgers.galexie import GalexieStore
from stellar_arrow_source.ledgers.joined import HistoryAndLive
from stellar_arrow_source.ledgers.source import LedgerSource, RetryPolicy
from stellar_arrow_source.tls import SourceTls

SUPPORTED = (
    "host:port, grpc://host:port, grpcs://host:port, a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix, "
    "az://container/prefix, rpc+https://host/path, core:///file or synthetic://"
)
"""What an endpoint may look like, for help texts and errors."""

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_source(
    endpoint: str,
    *,
    live: str | None = None,
    passphrase: str | None = None,
    retry: RetryPolicy | None = None,
    tls: SourceTls | None = None,
    failover_seconds: float = SILENCE_SECONDS,
    cache: tuple[Path, int] | None = None,
) -> LedgerSource:
    """Open the source that an endpoint names; a server is not called before it is read from.

    Args:
        endpoint: one of the forms of :data:`SUPPORTED`, or several with commas between: equal ones, of which the
            next is used where one cannot be reached or hangs.
        live: where to go on when the ledgers of ``endpoint`` end; the same forms.
        passphrase: network passphrase that the source must have where it declares one.
        retry: how to reconnect; :class:`RetryPolicy` as it is by default.
        tls: how the sources that are spoken to over ``grpcs://`` are.
        failover_seconds: how long one of several equal sources may give nothing before the next is used.
        cache: folder in which ledgers are kept once they were read, and the bytes it may hold.

    Raises:
        InvalidRequestError: the endpoint cannot be understood or its kind is not supported.
        NetworkMismatchError: the source declares another network than ``passphrase``, or than its fellows.
        SourceUnavailableError: a folder does not exist or cannot be read.
    """
    how = _How(retry or RetryPolicy(), tls or SourceTls(), failover_seconds)
    source = _open_all(endpoint, how)
    if live is not None:
        try:
            source = HistoryAndLive(source, _open_all(live, how))
        except StellarArrowError:
            source.close()
            raise
    declared = source.network_passphrase
    if passphrase is not None and declared is not None and declared != passphrase:
        source.close()
        raise NetworkMismatchError(
            f"{source.endpoint} declares the network {declared!r}, but {passphrase!r} is configured"
        )
    return source if cache is None else CachedSource(source, *cache)


class _How(NamedTuple):
    retry: RetryPolicy
    tls: SourceTls
    failover_seconds: float


def _open_all(endpoints: str, how: _How) -> LedgerSource:
    given = each_endpoint(endpoints)
    if len(given) == 1:
        return _open(given[0], how)
    openers = [(without_credentials(endpoint), partial(_open, endpoint, how)) for endpoint in given]
    return Failover(openers, how.failover_seconds)


def _open(endpoint: str, how: _How) -> LedgerSource:
    """One source. Its kind is imported when asked for: the libraries of all of them take 20 MB more than most do."""
    scheme = _SCHEME.match(endpoint)
    if scheme is None:
        if _HOST_PORT.fullmatch(endpoint) and not Path(endpoint).is_dir():
            return _open_grpc(endpoint, endpoint, how.retry, None)
        if "/" in endpoint or (endpoint and Path(endpoint).is_dir()):
            return GalexieStore(LocalFolder(Path(endpoint)), endpoint=endpoint)
        raise InvalidRequestError(f"{endpoint!r} is no endpoint of ledgers: use {SUPPORTED}")
    match scheme[1].lower():
        case "grpc" | "grpcs" as kind:
            target = urlsplit(endpoint).netloc
            if not _HOST_PORT.fullmatch(target):
                raise InvalidRequestError(f"{without_credentials(endpoint)!r} names no host:port")
            return _open_grpc(target, endpoint, how.retry, how.tls if kind == "grpcs" else None)
        case "file":
            return GalexieStore(LocalFolder(_file_path(endpoint)), endpoint=endpoint)
        case "s3" | "gs" | "az":
            from stellar_arrow_source.ledgers.objects import ObjectFolder

            return GalexieStore(ObjectFolder(endpoint, how.retry), endpoint=without_credentials(endpoint))
        case "rpc+https" | "rpc+http":
            from stellar_arrow_source.ledgers.rpc import RpcSource

            return RpcSource(endpoint, retry=how.retry)
        case "core":
            return CoreStream(_file_path(endpoint), endpoint=endpoint)
        case "synthetic":
            from stellar_arrow_source.ledgers.synthetic import SyntheticSource

            return SyntheticSource.from_endpoint(endpoint)
        case other:
            raise InvalidRequestError(
                f"{other}:// is no supported kind of source ({without_credentials(endpoint)!r}): use {SUPPORTED}"
            )


def _open_grpc(target: str, endpoint: str, retry: RetryPolicy, tls: SourceTls | None) -> LedgerSource:
    from stellar_arrow_source.ledgers.grpc import GrpcSource

    return GrpcSource(target, endpoint=endpoint, retry=retry, tls=tls)


def _file_path(endpoint: str) -> Path:
    parts = urlsplit(endpoint)
    if parts.netloc not in ("", "localhost"):
        raise InvalidRequestError(f"{endpoint!r} names another host: use file:///folder with three slashes")
    return Path(unquote(parts.path))


def each_endpoint(endpoints: str) -> list[str]:
    """The equal sources that are given with commas between them."""
    return [endpoint.strip() for endpoint in endpoints.split(",")]


def pipes(*given: str | None) -> list[str]:
    """Paths of those among the endpoints that are pipes, which only one process can read, and once."""
    paths = [_file_path(one) for some in given if some for one in each_endpoint(some) if urlsplit(one).scheme == "core"]
    return [str(path) for path in paths if path.is_fifo()]


def without_credentials(endpoints: str) -> str:
    """Endpoints with ``user:password@`` cut out; of RPC servers, path and query too, for keys stand there."""
    bare = [re.sub(r"(?<=://)[^/@]*@", "", endpoint) for endpoint in each_endpoint(endpoints)]
    return ", ".join(re.sub(r"(?is)^(rpc\+https?://[^/?#]*).*", r"\1", endpoint) for endpoint in bare)
