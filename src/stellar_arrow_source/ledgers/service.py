"""RawLedgerService over any source, so that other processes can read its ledgers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType

import grpc

from stellar_arrow_client.errors import (
    GapError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.grpc import MAX_MESSAGE, SERVICE
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger
from stellar_arrow_source.ledgers.wire import encode_ledger, encode_range
from stellar_arrow_source.tls import Identity

ANSWER_BYTES = 8 << 20
"""A GetLedgerRange answer is cut after the ledger that takes it to this size."""

_LATEST_SECONDS = 1.0

_STATUS: tuple[tuple[type[StellarArrowError], grpc.StatusCode], ...] = (
    (GapError, grpc.StatusCode.OUT_OF_RANGE),
    (IntegrityError, grpc.StatusCode.DATA_LOSS),
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
)

_log = logging.getLogger(__name__)


class RawLedgerServer:
    """A gRPC server of RawLedgerService; a context manager that serves between start and stop.

    Args:
        source: where the ledgers come from.
        host, port: address to listen at; port 0 takes a free one.
        max_calls: calls served at the same time; one more is refused with RESOURCE_EXHAUSTED.
        identity: certificate and key to serve TLS with; None serves without.
        client_ca: PEM certificates of authorities; with them, only clients that show one of theirs are served.

    Attributes:
        port: the port that is listened at.

    Raises:
        UnavailableError: the address cannot be listened at, such as a port in use.
    """

    def __init__(
        self,
        source: LedgerSource,
        host: str,
        port: int,
        *,
        max_calls: int = 64,
        identity: Identity | None = None,
        client_ca: bytes | None = None,
    ) -> None:
        self._source = source
        self._stopping = threading.Event()
        self._calls: set[threading.Event] = set()
        self._latest = (0, 0.0)  # newest ledger, and when that was looked up
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=max_calls, thread_name_prefix="raw-ledgers"),
            maximum_concurrent_rpcs=max_calls,
            options=[("grpc.max_send_message_length", MAX_MESSAGE), ("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers([self._handlers()])
        address = f"{host}:{port}"
        try:
            self.port: int = self._listen(address, identity, client_ca)
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot listen at {address}: the port is in use or not ours; choose another with --port"
            ) from error

    def __enter__(self) -> RawLedgerServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float = 5.0) -> None:
        """End all streams after the ledger they are at, then wait up to ``grace`` seconds for calls."""
        self._stopping.set()
        for call in tuple(self._calls):
            call.set()
        self._server.stop(grace).wait()

    def _listen(self, address: str, identity: Identity | None, client_ca: bytes | None) -> int:
        if identity is None:
            return int(self._server.add_insecure_port(address))
        pair = (identity.key, identity.chain)
        credentials = grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
        return int(self._server.add_secure_port(address, credentials))

    def _handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamRawLedgers": grpc.unary_stream_rpc_method_handler(
                    self._stream_raw_ledgers,
                    request_deserializer=pb.StreamLedgersRequest.FromString,
                ),
                "GetLedgerRange": grpc.unary_unary_rpc_method_handler(
                    self._get_ledger_range,
                    request_deserializer=pb.GetLedgerRangeRequest.FromString,
                ),
            },
        )

    def _stream_raw_ledgers(self, request: pb.StreamLedgersRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._call(context) as stop:
            for ledger in self._source.ledgers(request.start_ledger, None, stop):
                yield encode_ledger(ledger)
        if self._stopping.is_set():
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")

    def _get_ledger_range(self, request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> bytes:
        """Ledgers from ``start_ledger`` on that are there now; an empty range asks for ``latest_ledger`` only."""
        with self._call(context) as stop:
            latest = self._newest(request)
            ledgers: list[RawLedger] = []
            end = min(request.end_ledger - 1, latest)
            if request.start_ledger <= end:
                self._fill(ledgers, self._source.ledgers(request.start_ledger, end, stop))
        if self._stopping.is_set():  # the answer may be cut short, even empty
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")
        return encode_range(ledgers, latest)

    def _newest(self, request: pb.GetLedgerRangeRequest) -> int:
        """The newest ledger; for a page of history it may be a second old, since a store must list its names."""
        known, looked = self._latest
        if request.start_ledger < request.end_ledger <= known and time.monotonic() < looked + _LATEST_SECONDS:
            return known
        self._latest = self._source.bounds().latest or 0, time.monotonic()
        return self._latest[0]

    @staticmethod
    def _fill(answer: list[RawLedger], ledgers: Iterator[RawLedger]) -> None:
        """Take ledgers up to the size of an answer; what goes wrong after the first is told by the next call."""
        size = 0
        try:
            for ledger in ledgers:
                answer.append(ledger)
                size += len(ledger.xdr)
                if size >= ANSWER_BYTES:
                    return
        except StellarArrowError:
            if not answer:
                raise

    @contextmanager
    def _call(self, context: grpc.ServicerContext) -> Iterator[threading.Event]:
        """The stop event of one call, set when its client goes or the server stops; errors become a status."""
        stop = threading.Event()
        self._calls.add(stop)
        if self._stopping.is_set() or not context.add_callback(stop.set):
            stop.set()
        try:
            yield stop
        except StellarArrowError as error:
            _log.warning("%s", error)
            code = next((code for kind, code in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
            context.abort(code, str(error))
        finally:
            self._calls.discard(stop)
