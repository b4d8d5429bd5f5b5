"""Failures on the wire: every exception of a handler leaves the server as a Flight error.

pyarrow sends the whole traceback of any other exception to the client, so nothing but what
:func:`to_flight_error` returns may be raised out of a handler or a stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from pyarrow import flight

from stellar_arrow_client.errors import (
    AuthenticationError,
    PermissionDeniedError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.request import error_payload
from stellar_arrow_source.flight.calls import call_of

MAX_MESSAGE_CHARS = 600
"""Message and extra_info travel in HTTP/2 trailers, which gRPC bounds at 8 KiB in all."""

INTERNAL_MESSAGE = "the server failed unexpectedly; its log says why"

_log = structlog.get_logger(__name__)

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def to_flight_error(error: Exception, *, resume: int | None = None, request: str | None = None) -> flight.FlightError:
    """The Flight error that carries ``error`` to the client, with :func:`error_payload` as ``extra_info``.

    ``resume`` is the next ledger to ask for when the failure interrupts a stream, ``request`` the id of the call.
    An exception that is not expected is logged with its traceback and sent without any detail.
    """
    if isinstance(error, flight.FlightError):
        return error
    if isinstance(error, StellarArrowError):
        told, message = error, str(error)
    else:
        _log.error("unexpected failure", exc_info=error, request=request)
        told, message = StellarArrowError(), INTERNAL_MESSAGE + (f" (request {request})" if request else "")
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[: MAX_MESSAGE_CHARS - 1]}…"
    # An error of the same class with only a message, whatever its constructor takes.
    sent = BaseException.__new__(type(told), message)
    sent.retry_after = told.retry_after
    return _flight_class(error)(message, error_payload(sent, resume))


def _flight_class(error: Exception) -> Any:
    match error:
        case UnavailableError():
            return flight.FlightUnavailableError
        case PermissionDeniedError():
            return flight.FlightUnauthorizedError
        case AuthenticationError():
            return flight.FlightUnauthenticatedError
        case StellarArrowError():
            return flight.FlightServerError
        case _:
            return flight.FlightInternalError


def guarded(handler: _Handler) -> _Handler:
    """Wrap a handler method of a server that has ``enter(context)`` and ``refused(error, handler, context)``.

    Only callers that ``enter`` lets in reach the handler, and only Flight errors get out.
    """

    @functools.wraps(handler)
    def guard(self: Any, context: flight.ServerCallContext, *args: Any) -> Any:
        try:
            self.enter(context)
            return handler(self, context, *args)
        except Exception as error:  # those that are not expected are logged with their traceback
            self.refused(error, handler.__name__, context)
            refusal = to_flight_error(error, request=call_of(context).id)
        if handler.__name__ == "get_schema":
            raise UntracedError(str(refusal))
        raise refusal

    return guard  # type: ignore[return-value]


class UntracedError(Exception):
    """A failure of ``get_schema``, the one handler whose Flight errors pyarrow treats like any other exception.

    Of such an exception it sends message and formatted traceback; the traceback is left out when it cannot
    be formatted, so this cannot.
    """

    @property
    def __cause__(self) -> BaseException | None:  # type: ignore[override]
        raise RuntimeError("not to be formatted")
