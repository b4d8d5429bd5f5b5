"""RawLedgerService servers that behave as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.grpc import SERVICE, GrpcSource
from stellar_arrow_source.ledgers.source import RetryPolicy

QUICK = RetryPolicy(attempts=4, initial=0.02, maximum=0.1)

Range = Callable[[pb.GetLedgerRangeRequest, grpc.ServicerContext], pb.GetLedgerRangeResponse]
Stream = Callable[[pb.StreamLedgersRequest, grpc.ServicerContext], Iterator[pb.RawLedger]]


def message(sequence: int, xdr: bytes) -> pb.RawLedger:
    return pb.RawLedger(sequence=sequence, ledger_close_meta_xdr=xdr)


@contextmanager
def scripted(
    get_range: Range | None = None, stream: Stream | None = None, handlers: Mapping[str, Any] | None = None
) -> Iterator[GrpcSource]:
    """A client of a server with the calls given, ``handlers`` as gRPC takes them; the others are UNIMPLEMENTED."""
    handlers = dict(handlers or {})
    if get_range is not None:
        handlers["GetLedgerRange"] = grpc.unary_unary_rpc_method_handler(
            get_range,
            request_deserializer=pb.GetLedgerRangeRequest.FromString,
            response_serializer=pb.GetLedgerRangeResponse.SerializeToString,
        )
    if stream is not None:
        handlers["StreamRawLedgers"] = grpc.unary_stream_rpc_method_handler(
            stream,
            request_deserializer=pb.StreamLedgersRequest.FromString,
            response_serializer=pb.RawLedger.SerializeToString,
        )
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    source = GrpcSource(f"127.0.0.1:{port}", endpoint=f"127.0.0.1:{port}", retry=QUICK)
    try:
        yield source
    finally:
        source.close()
        server.stop(0).wait()


def history(start: int, ledgers: tuple[bytes, ...], *, at_most: int = 1 << 30) -> Range:
    """GetLedgerRange of a server that has these ledgers and gives at most so many in one answer."""

    def get_range(request: pb.GetLedgerRangeRequest, _context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        latest = start + len(ledgers) - 1
        until = min(request.end_ledger, latest + 1, request.start_ledger + at_most)
        wanted = range(request.start_ledger, until) if request.start_ledger >= start else range(0)
        return pb.GetLedgerRangeResponse(
            ledgers=[message(number, ledgers[number - start]) for number in wanted], latest_ledger=latest
        )

    return get_range


def endless(start: int, ledgers: tuple[bytes, ...]) -> Stream:
    """StreamRawLedgers that gives what is there and then waits until the client goes."""

    def stream(request: pb.StreamLedgersRequest, context: grpc.ServicerContext) -> Iterator[pb.RawLedger]:
        for number in range(request.start_ledger, start + len(ledgers)):
            yield message(number, ledgers[number - start])
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)

    return stream
