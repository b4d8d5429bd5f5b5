"""Sends bulk requests, some at the same time, until every document of each was taken."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from elasticsearch_consumer.documents import Bulk
from elasticsearch_consumer.errors import DocumentError, ServerError, ServerUnavailableError
from elasticsearch_consumer.indices import Indices
from elasticsearch_consumer.session import BLOCKED, BUSY, Session
from stellar_arrow_client.policy import RetryPolicy

_FIELD: Final = re.compile(r"field \[([^\]]+)\]")
_CLIENT_ERRORS: Final = range(400, 500)


class BulkWriter:
    """Writes the documents of one series of indices.

    Args:
        threads: shared by all writers of a run.
        ahead: requests under way at most.
    """

    def __init__(
        self, session: Session, indices: Indices, threads: ThreadPoolExecutor, ahead: int, retry: RetryPolicy
    ) -> None:
        self._session, self._indices, self._retry = session, indices, retry
        self._threads, self._ahead = threads, ahead
        self._under_way: deque[Future[None]] = deque()

    def send(self, bulk: Bulk) -> None:
        """Send it in the background; waits while as many are under way as may be.

        Raises:
            StellarArrowError: an earlier one failed.
        """
        while len(self._under_way) >= self._ahead:
            self._under_way[0].result()
            self._under_way.popleft()
        self._under_way.append(self._threads.submit(self._write, bulk))

    def finish(self) -> None:
        """Wait until all documents are durable.

        Raises:
            StellarArrowError: one of them is not.
        """
        while self._under_way:
            self._under_way[0].result()
            self._under_way.popleft()

    def cancel(self) -> None:
        """Send no more; wait for what is under way, whatever becomes of it."""
        for future in self._under_way:
            if not future.cancel():
                future.exception()
        self._under_way.clear()

    def _write(self, bulk: Bulk) -> None:
        index = self._indices.ready(bulk.period)
        doing = f"write ledgers {bulk.first} to {bulk.last} into the index {index}"
        body, waits, since = bulk.body, self._retry.waits(), 0.0
        while body:
            answer = self._session.ask(
                "POST",
                f"/{index}/_bulk",
                body,
                doing=doing,
                filter_path="errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by",
                require_alias="false",
            )
            items = answer.body.get("items")
            if not isinstance(items, list) or len(items) * 2 != body.count(b"\n"):
                raise ServerError(f"cannot {doing}: the server did not say what became of each document")
            if not answer.body.get("errors"):
                return
            refused = list(_refused(body, items))
            for lines, item in refused:
                if item["status"] not in BUSY or BLOCKED in _reason(item):
                    raise _refusal(doing, lines, item)
            body = b"".join(lines for lines, _ in refused)
            if body:
                wait = next(waits)
                since += wait
                if since > self._retry.retry_for or self._session.stop.wait(wait):
                    raise ServerUnavailableError(
                        f"cannot {doing}: the server is too busy ({_reason(refused[0][1])}); give fewer --connections "
                        "or a smaller --bulk-bytes, and run the same command again"
                    )


def _refused(body: bytes, items: list[dict[str, Any]]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The two lines of each document that was not taken, and what the server said of it."""
    lines = body.split(b"\n")
    for place, item in enumerate(items):
        [said] = item.values()
        if said["status"] not in (200, 201):
            yield b"\n".join((lines[2 * place], lines[2 * place + 1], b"")), said


def _refusal(doing: str, lines: bytes, item: dict[str, Any]) -> Exception:
    document = lines.split(b'"_id":"', 1)[1].split(b'"', 1)[0].decode()
    reason = _reason(item)
    said = f"cannot {doing}: the document {document} is refused: {reason}"
    if item["status"] == 403 or BLOCKED in reason:
        return ServerError(f"{said}; free disk space on the server or lift the block, and run the same command again")
    found = _FIELD.search(reason)
    if item["status"] in _CLIENT_ERRORS and found:
        return DocumentError(f"{said}; leave the column {found[1]} out with --columns, or choose another --prefix")
    return ServerError(said)


def _reason(item: dict[str, Any]) -> str:
    error = item.get("error") or {}
    cause = error.get("caused_by") or {}
    said = f"{error.get('type', item['status'])}: {error.get('reason', '')} {cause.get('reason', '')}"
    return " ".join(said.split())[:500].rstrip(".")
