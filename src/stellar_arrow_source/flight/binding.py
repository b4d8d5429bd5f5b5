"""Addresses that a server listens on: whether they can be had, and what to say when not."""

from __future__ import annotations

import socket

from stellar_arrow_client.errors import StellarArrowError


def require_free(host: str, port: int, what: str, setting: str) -> None:
    """Find out beforehand whether a port can be bound: gRPC tells it on stderr only, at length.

    Raises:
        StellarArrowError: it cannot; names the ``setting`` to change.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise bind_error(host, port, what, setting, error) from None


def bind_error(host: str, port: int, what: str, setting: str, error: OSError) -> StellarArrowError:
    """The error of an address that cannot be bound."""
    return StellarArrowError(
        f"cannot serve {what} on {host}:{port}: {(error.strerror or str(error)).lower()}; set {setting} to another"
    )
