"""grpclib's server, bounded against hostile clients, with an orderly end, and with many messages sent at one go.

grpclib writes each message by itself. An event has some 260 bytes, so that this would be most of the work: here many
messages go into one HTTP/2 frame (``benchmarks/ttp.py`` measures it). What of grpclib is not public and is used here,
is used nowhere else.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from asyncio import BaseTransport, Transport
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from grpclib.config import Configuration
from grpclib.protocol import EventsProcessor, H2Protocol
from grpclib.server import Server, Stream
from h2.events import DataReceived, Event, StreamReset, UnknownFrameReceived

from stellar_arrow_client.errors import InvalidRequestError

MAX_REQUEST_BYTES: Final = 64 * 1024
"""Most that a client may send in one call; requests have a few bytes."""

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Most that a connection may leave unread of what is sent without regard to windows, such as answers to pings."""

_PIECE: Final = 16 * 1024
_POLL_SECONDS: Final = 0.02
_CONFIGURATION: Final = Configuration(http2_connection_window_size=1 << 20, http2_stream_window_size=MAX_REQUEST_BYTES)

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


async def send_framed(stream: Stream[_Request, _Reply], messages: memoryview) -> None:
    """Send messages that have gRPC's prefix already; waits while the client does not read."""
    for start in range(0, len(messages), _PIECE):
        await stream._stream.send_data(cast(bytes, messages[start : start + _PIECE]))


class _Processor(EventsProcessor):
    """Ends connections whose client sends too much, and passes over frames that it does not know (RFC 9113, 5.5)."""

    def process(self, event: Event) -> None:
        if not isinstance(event, UnknownFrameReceived):
            super().process(event)

    def process_data_received(self, event: DataReceived) -> None:
        super().process_data_received(event)
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.data_received > MAX_REQUEST_BYTES:
            self.close(f"a call sends more than {MAX_REQUEST_BYTES} bytes")

    def process_stream_reset(self, event: StreamReset) -> None:
        with suppress(KeyError):  # its call has been cancelled already
            super().process_stream_reset(event)


class _Protocol(H2Protocol):
    """A connection of :class:`BoundedServer`."""

    transport: Transport

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport = cast(Transport, transport)
        self.processor = _Processor(self.handler, self.connection)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()

    @property
    def unsent(self) -> int:
        """Bytes that the client has not let us send yet."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def say_goodbye(self) -> None:
        """Tell the client that the connection ends, and end it."""
        if not self.transport.is_closing():
            self.connection._connection.close_connection()
            self.connection.flush()
            self.transport.close()


class BoundedServer(Server):
    """A gRPC server; see :mod:`ttp_processor.transport`."""

    def __init__(self, handlers: Any) -> None:
        super().__init__(handlers, config=_CONFIGURATION)
        self._protocols: WeakSet[_Protocol] = WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        made = super()._protocol_factory()
        protocol = _Protocol(made.handler, made.config, made.h2_config)
        self._protocols.add(protocol)
        return protocol

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(cast(asyncio.Server, self._server).sockets[0].getsockname()[1])

    async def finish(self, deadline: float) -> None:
        """End all connections, after what was written has been sent, or at ``deadline`` (of time.monotonic)."""
        while any(protocol.unsent for protocol in self._protocols) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        for protocol in tuple(self._protocols):
            protocol.say_goodbye()
        self.close()
        await asyncio.sleep(_POLL_SECONDS)  # let the goodbyes out


def tls_context(certificate: Path, key: Path, client_authority: Path | None) -> ssl.SSLContext:
    """TLS for a server.

    Args:
        certificate, key: PEM files.
        client_authority: PEM file of the authorities that a client's certificate must lead to; None asks for none.

    Raises:
        InvalidRequestError: a file is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(certificate, key)
        if client_authority is not None:
            context.load_verify_locations(client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        given = ", ".join(str(path) for path in (certificate, key, client_authority) if path is not None)
        raise InvalidRequestError(
            f"cannot use {given} for TLS ({error}); give PEM files that belong together"
        ) from None
    return context
