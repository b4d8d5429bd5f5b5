"""Requests to a search server, made again when the connection breaks or the server is too busy."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import certifi
import urllib3

from elasticsearch_consumer.errors import ServerAuthenticationError, ServerError, ServerUnavailableError
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.policy import RetryPolicy

READ_SECONDS: Final = 120.0
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024
BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed."""

BLOCKED: Final = "cluster_block"
"""In the reason of a refusal: a disk is full, or somebody blocked an index."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a client says who it is, and whom it trusts.

    Attributes:
        user, password: of basic authentication; None for none.
        api_key: the encoded form, as Elasticsearch gives it out.
        ca: PEM file of authorities to trust; None for the usual ones.
    """

    user: str | None = None
    password: str | None = None
    api_key: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: the HTTP status and the JSON document, empty when it gave none."""

    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        """Why a request failed, as part of a sentence."""
        error = self.body.get("error")
        if isinstance(error, dict):
            causes = error.get("root_cause") or [error]
            said = f"{causes[0].get('type', '')}: {causes[0].get('reason', '')}"
        else:
            said = str(error or f"HTTP status {self.status}")
        return " ".join(said.split())[:500].rstrip(".")


class Session:
    """A search server, which may have several addresses. Safe for use by several threads.

    Elasticsearch's own client refuses OpenSearch, and the requests made here are few and the same for both.

    Args:
        urls: addresses, with commas between them.

    Attributes:
        stop: ends waiting for a server that is away when it is set.

    Raises:
        InvalidRequestError: an address is none; the message does not repeat it, as it may hold a password.
    """

    def __init__(self, urls: str, access: Access, retry: RetryPolicy) -> None:
        addresses = [_parse(url) for url in urls.split(",")]
        self._bases = cycle([base for base, _ in addresses])
        self._base = next(self._bases)
        self._retry, self.stop = retry, threading.Event()
        self._reached = False
        user = next((user for _, user in addresses if user), None)
        self._headers = _credentials(access, user)
        self._pool = urllib3.PoolManager(
            maxsize=32, ca_certs=access.ca or certifi.where(), timeout=urllib3.Timeout(10.0, READ_SECONDS)
        )

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        *,
        doing: str,
        allowed: tuple[int, ...] = (),
        **parameters: str,
    ) -> Answer:
        """Make one request, again and again while the server is away or busy: it must be idempotent.

        Args:
            body: a JSON document, or newline-delimited ones.
            doing: what is to be done, such as ``write into the index stellar-payments``.
            allowed: statuses to return beside 200 and 201; others are errors.

        Raises:
            ServerUnavailableError: it was tried for long enough.
            ServerAuthenticationError, ServerError: the server refuses.
        """
        headers, data = dict(self._headers), None
        if isinstance(body, bytes):
            headers["Content-Type"], data = "application/x-ndjson", body
        elif body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        query = "&".join(f"{name}={quote(value, safe=',*.')}" for name, value in parameters.items())
        since, waits, tries = time.monotonic(), self._retry.waits(), 0
        while True:
            tries += 1
            try:
                answer = self._once(method, f"{self._base}{path}{'?' if query else ''}{query}", data, headers)
            except urllib3.exceptions.HTTPError as error:
                said = _sentence(error)
                self._base = next(self._bases)
                if _is_certificate(error):
                    raise ServerAuthenticationError(
                        f"cannot {doing}: {said}; trust its authority with --ca-file"
                    ) from None
            else:
                if answer.status not in BUSY or (answer.status == 429 and BLOCKED in answer.reason):
                    self._reached = True
                    return self._checked(answer, doing, allowed)
                said = answer.reason
            exhausted = time.monotonic() - since >= self._retry.retry_for
            if exhausted if self._reached else tries >= self._retry.first_tries or self._retry.retry_for == 0:
                exhausted = True
            if exhausted or self.stop.wait(next(waits)):
                raise ServerUnavailableError(
                    f"cannot {doing}: {said}; see that the server runs and can be "
                    "reached, then run the same command again"
                )
            log.warning("the search server does not answer, trying again: %s", said)

    def _once(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        response = self._pool.request(
            method, url, body=data, headers=headers, retries=False, redirect=False, preload_content=False
        )
        try:
            content = response.read(MOST_ANSWER_BYTES + 1)
        finally:
            response.release_conn()
        if len(content) > MOST_ANSWER_BYTES:
            raise ServerError(f"the search server answered with more than {MOST_ANSWER_BYTES} bytes")
        try:
            document = json.loads(content) if content else {}
        except ValueError:
            document = {"error": content[:200].decode(errors="replace")}
        return Answer(response.status, document if isinstance(document, dict) else {"items": document})

    def _checked(self, answer: Answer, doing: str, allowed: tuple[int, ...]) -> Answer:
        if answer.status in (200, 201, *allowed):
            return answer
        said = f"cannot {doing}: {answer.reason}"
        if answer.status in (401, 403) and BLOCKED not in said:
            raise ServerAuthenticationError(f"{said}; check --user and its password or --api-key, and what they may do")
        if answer.status == 413:
            raise ServerError(f"{said}; the server takes no request of that size, give a smaller --bulk-bytes")
        if BLOCKED in said:
            raise ServerError(f"{said}; free disk space on the server, and run the same command again")
        raise ServerError(said)


def _parse(url: str) -> tuple[str, str | None]:
    """The base of requests, and ``user:password`` if it says so."""
    try:
        parts = urlsplit(url.strip())
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise InvalidRequestError(
            "URL is no address of a search server; write http://host:9200 or https://host:9200, with "
            "commas between several"
        )
    host = f"[{host}]" if ":" in host else host
    user = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}", user


def _credentials(access: Access, in_url: str | None) -> dict[str, str]:
    if access.api_key:
        return {"Authorization": f"ApiKey {access.api_key}"}
    user = f"{access.user}:{access.password or ''}" if access.user else in_url
    return urllib3.make_headers(basic_auth=user) if user else {}


def _is_certificate(error: urllib3.exceptions.HTTPError) -> bool:
    return isinstance(error, urllib3.exceptions.SSLError) or "certificate" in str(error).lower()


def _sentence(error: urllib3.exceptions.HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    if len(reason.args) > 1 and isinstance(reason.args[1], Exception):
        reason = reason.args[1]  # of 'Connection aborted.'
    said = " ".join(str(reason).split())
    return said.split("object at 0x")[-1].partition(">: ")[2][:300].rstrip(".") or said[:300].rstrip(".")
