"""What is known of each call before anything else: its id, for logs and messages, and the headers of its trace."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from pyarrow import flight

from stellar_arrow_client.errors import AuthenticationError
from stellar_arrow_source.access.rates import Bucket

HEADER: Final = "x-request-id"
"""Names a call: taken from the caller, made up where there is none, sent back and logged."""

REFUSALS_PER_SECOND: Final = 2.0
REFUSALS_AT_ONCE: Final = 20.0
"""How many refused calls are logged; all are counted."""

_MIDDLEWARE: Final = "call"
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_log = structlog.get_logger(__name__)


class Call(flight.ServerMiddleware):  # type: ignore[misc]
    """One call.

    Attributes:
        id: at most 64 letters, digits, dots and dashes.
        headers: those of text that hold no secret, the first value of each.
    """

    def __init__(self, headers: Mapping[str, Sequence[Any]]) -> None:
        self.headers = {
            name: values[0]
            for name, values in headers.items()
            if values and isinstance(values[0], str) and name not in _SECRET
        }
        given = self.headers.get(HEADER, "")
        self.id = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]

    def sending_headers(self) -> dict[str, str]:
        return {HEADER: self.id}


class _Calls(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[Any]]) -> Call:
        return Call(headers)


def call_middleware() -> dict[str, flight.ServerMiddlewareFactory]:
    """What a server must be given for :func:`call_of`."""
    return {_MIDDLEWARE: _Calls()}


def call_of(context: flight.ServerCallContext) -> Call:
    """The call that is being answered."""
    call = context.get_middleware(_MIDDLEWARE)
    assert isinstance(call, Call)
    return call


class Refusals:
    """Logs calls that are refused, but no more than can be read; whoever has wrong credentials is logged elsewhere."""

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._lock = threading.Lock()
        self._unlogged = 0

    def log(self, error: Exception, handler: str, context: flight.ServerCallContext) -> None:
        """Log one, with how many were not since the last."""
        if isinstance(error, AuthenticationError):
            return
        with self._lock:
            if self._bucket.lack(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE, time.monotonic()) > -1:
                self._unlogged += 1
                return
            self._bucket.take(1)
            unlogged, self._unlogged = self._unlogged, 0
        _log.info(
            "call refused",
            call=handler,
            request=call_of(context).id,
            peer=context.peer(),
            error=type(error).__name__,
            reason=str(error)[:300],
            unlogged=unlogged,
        )
