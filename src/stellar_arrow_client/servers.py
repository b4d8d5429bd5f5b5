"""The servers that share the work of the one that a client was given."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.flight as flight

from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_client.parallel import LEAST_LEDGERS, MARGIN_LEDGERS, Room, Server, Sharing
from stellar_arrow_client.request import MAX_LEDGER, StreamRequest
from stellar_arrow_client.transport import Address, authorization, connect, typed_error

MAX_SERVERS: Final = 256
ANSWER_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


class Credentials(NamedTuple):
    """What a client shows to servers, and what it trusts; see :class:`~stellar_arrow_client.client.Client`."""

    token: str | None
    tls_roots: bytes | None
    client_cert: bytes | None
    client_key: bytes | None

    def connect(self, address: Address) -> flight.FlightClient:
        return connect(address, self.tls_roots, self.client_cert, self.client_key)

    def headers(self, address: Address) -> list[tuple[bytes, bytes]]:
        return authorization(self.token, address)


class Servers:
    """Connections to the servers that ``asked`` names, made on first use.

    Args:
        asked: address of the server that the client was given, and the connection to it.
        latest: gives its newest ledger.
    """

    def __init__(
        self,
        asked: tuple[Address, flight.FlightClient],
        credentials: Credentials,
        latest: Callable[[], int | None],
    ) -> None:
        self._address, self._flight = asked
        self._credentials = credentials
        self._latest = latest
        self._asked = self._server(*asked, is_asked=True)
        self._others: dict[Address, Server] = {}
        self._connections: list[flight.FlightClient] = []
        self._lock = threading.Lock()
        self._room = Room()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def share(self, request: StreamRequest) -> Sharing | None:
        """How several servers can share a range; None when they cannot: what that comes from shows where it is read."""
        if request.start is None or (request.end or MAX_LEDGER) - request.start < LEAST_LEDGERS:
            return None
        whole = replace(request, end=request.end or MAX_LEDGER)
        options = flight.FlightCallOptions(timeout=ANSWER_SECONDS, headers=self._credentials.headers(self._address))
        try:
            info = self._flight.get_flight_info(flight.FlightDescriptor.for_command(whole.to_ticket()), options)
            servers = self._named(info.endpoints)
            latest = self._latest() if len(servers) > 1 else None
        except (StellarArrowError, flight.FlightError, pa.ArrowException, OSError) as error:
            log.debug("%s is read from one server: %s", request.stream, error)
            return None
        if latest is None:
            return None
        last = min(request.end or MAX_LEDGER, latest - MARGIN_LEDGERS)
        if last - request.start + 1 < LEAST_LEDGERS:
            return None
        return Sharing(last, info.schema, servers, self._asked, self._room)

    def _named(self, endpoints: Sequence[flight.FlightEndpoint]) -> list[Server]:
        """The servers that the endpoints are to be fetched from in the first place."""
        found: dict[Address, None] = {}
        for endpoint in endpoints:
            for location in endpoint.locations[:1]:
                try:
                    address = Address.parse(location.uri.decode())
                except (InvalidRequestError, UnicodeDecodeError):
                    continue  # a way of fetching that this version does not know
                # Who asked over TLS is not led away from it.
                if len(found) < MAX_SERVERS and (address.tls or not self._address.tls):
                    found[address] = None
        with self._lock:
            for address in found.keys() - self._others.keys():
                connection = self._credentials.connect(address)
                self._connections.append(connection)
                self._others[address] = self._server(address, connection)
        return [self._others[address] for address in found]

    def _server(self, address: Address, connection: flight.FlightClient, *, is_asked: bool = False) -> Server:
        headers = self._credentials.headers(address)

        def open_reader(request: StreamRequest) -> flight.FlightStreamReader:
            return connection.do_get(flight.Ticket(request.to_ticket()), flight.FlightCallOptions(headers=headers))

        return Server(address, open_reader, partial(_translated, address), is_asked=is_asked)


def _translated(address: Address, error: Exception) -> StellarArrowError:
    return typed_error(error, address)
