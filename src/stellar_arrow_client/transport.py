"""Flight as the SDK uses it: addresses, connections, and Flight's errors as typed ones."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.request import error_from_payload

# Buffers that Flight gives are slices of gRPC messages, at any address, of which Acero warns at every group_by. The
# processors that Arrow has wheels for read them as they lie; copying them to better places doubles a group_by's time.
os.environ.setdefault("ACERO_ALIGNMENT_HANDLING", "ignore")

DEFAULT_PORT: Final = 8815
MAX_MESSAGE_BYTES: Final = 1 << 30

log = logging.getLogger(__name__)

_ADDRESS = re.compile(
    r"(?:(?P<scheme>grpc|grpc\+tcp|grpc\+tls)://)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, server: str) -> Address:
        """Read ``localhost:8815``, ``grpc://localhost:8815`` or ``grpc+tls://example.org:8815``.

        Raises:
            InvalidRequestError: it is none of these.
        """
        match = _ADDRESS.fullmatch(server) if len(server) <= 512 else None
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        if not match or not 1 <= port <= 65535:
            raise InvalidRequestError(
                f"{server[:80]!r} is not a server address; write HOST:PORT such as localhost:{DEFAULT_PORT}, "
                "or grpc+tls://HOST:PORT"
            )
        return cls(match["host"], port, match["scheme"] == "grpc+tls")

    @property
    def uri(self) -> str:
        return f"grpc+{'tls' if self.tls else 'tcp'}://{self}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "[::1]") or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def connect(
    address: Address, roots: bytes | None, cert: bytes | None = None, key: bytes | None = None
) -> flight.FlightClient:
    """A connection, made on first use.

    Args:
        roots: PEM certificates that the server's certificate must lead to; None for the system's.
        cert, key: PEM certificate chain and private key that the client shows.

    Raises:
        InvalidRequestError: only one of ``cert`` and ``key`` is given, or both without TLS.
    """
    if (cert is None) != (key is None):
        raise InvalidRequestError(
            "a client certificate needs its private key: give both --client-cert and --client-key"
        )
    if cert is not None and not address.tls:
        raise InvalidRequestError(f"a client certificate is shown over TLS only; write grpc+tls://{address}")
    return flight.FlightClient(
        address.uri,
        tls_root_certs=roots,
        cert_chain=cert,
        private_key=key,
        generic_options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A channel backs off by itself, up to two minutes; ours is the policy that counts.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )


def authorization(token: str | None, address: Address) -> list[tuple[bytes, bytes]]:
    """The headers that carry a bearer token.

    Raises:
        InvalidRequestError: it cannot be one.
    """
    if token is None:
        return []
    if not token.isascii() or not token.isprintable() or not token:
        raise InvalidRequestError("the token is not a line of printable ASCII characters")
    if not address.tls and not address.is_loopback:
        log.warning("the token travels to %s unencrypted; use grpc+tls://", address)
    return [(b"authorization", f"Bearer {token}".encode())]


def typed_error(error: Exception, address: Address) -> StellarArrowError:
    """The error of :mod:`stellar_arrow_client.errors` for what pyarrow raised."""
    payload = getattr(error, "extra_info", None)
    detail = _first_line(str(error))
    if payload:
        return error_from_payload(bytes(payload), f"the server at {address} failed: {detail}")
    match error:
        case StellarArrowError():
            return error
        case flight.FlightUnavailableError() | flight.FlightTimedOutError():
            return UnavailableError(f"cannot reach {address}; {_why_unreachable(str(error), address)}")
        case flight.FlightCancelledError() | flight.FlightInternalError():
            return UnavailableError(f"the connection to {address} broke: {detail}")
        case flight.FlightUnauthenticatedError() | flight.FlightUnauthorizedError():
            return AuthenticationError(f"{address} refuses the credentials; give a valid token with --token")
        case pa.ArrowInvalid() if detail == "FlightClient is closed":
            return StellarArrowError(f"the client of {address} is closed; use it inside its with statement")
        case pa.ArrowInvalid() | pa.ArrowKeyError() | pa.ArrowTypeError():
            return IntegrityError(f"{address} sent what is not a valid record batch: {detail}")
        case flight.FlightError() | pa.ArrowException() | OSError():
            return StellarArrowError(f"the server at {address} failed: {detail}")
        case _:
            return StellarArrowError(f"unexpected {type(error).__name__} in the client of {address}: {detail}")


def _why_unreachable(message: str, address: Address) -> str:
    """What to look at when no connection comes about; gRPC tells it at length, in terms of OpenSSL."""
    if "certificate verify failed" in message:
        return "its certificate leads to no authority that is trusted; name the right one with --tls-roots"
    if "wrong version number" in message:
        return f"it does not speak TLS; write grpc://{address} if that is meant"
    if "Ssl handshake failed" in message:
        return "the TLS handshake failed"
    if "Socket closed" in message and address.tls:
        return "it closed the connection; it may ask for a certificate (--client-cert, --client-key)"
    if "Socket closed" in message:
        return f"it closed the connection; if it speaks TLS, write grpc+tls://{address}"
    return "is stellar-arrow-source running there?"


def _first_line(message: str) -> str:
    """Flight's message without the trail that gRPC adds to it."""
    message = re.sub(r"\s*(gRPC client debug context|Client context):.*", "", message, flags=re.DOTALL)
    message = re.sub(r"^Flight (RPC failed|returned [a-z ]+error)(, )?(with message|with code)?:? ?", "", message)
    lines = message.strip().splitlines()
    return lines[0][:300].rstrip(".") if lines else "no reason given"
