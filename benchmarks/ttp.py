"""How many token-transfer events ttp-processor hands to clients, and what it costs it.

    python benchmarks/ttp.py [--ledger 60659332] [--copies 200] [--clients 1 --clients 10] [--rounds 3]

The chain is store → stellar-arrow-source → ttp-processor → clients over HTTP/2 on this machine. Clients of kind
``drain`` take HTTP/2 frames and count the messages in them, so that the processor is what is measured; ``grpcio`` are
gRPC's own for Python, which parse every message and are slower than the processor. Before that, the parts: making
messages of rows, from columns as the processor does or as objects of protobuf; and sending messages, many at a time as
the processor does, or one by one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import grpc
import pyarrow as pa
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from processes import Server, arrow_source, cost_of, ttp_processor
from rich.console import Console
from rich.table import Table
from stores import make_store
from ttp_processor.columns import COLUMNS, STREAM, hexadecimal, seconds
from ttp_processor.protos.event_service_pb2 import GetEventsRequest
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent
from ttp_processor.service import ROWS
from ttp_processor.transport import BoundedServer, send_framed
from ttp_processor.wire import encode, frame

from stellar_arrow_client import Client, StreamRequest

METHOD: Final = "/token_transfer_service.EventService/GetTTPEvents"
WINDOW: Final = 4 << 20
MESSAGE: Final = bytes(260)
MESSAGES: Final = 50_000


class Drain(asyncio.Protocol):
    """A call over HTTP/2 that counts the messages of the answer."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._request = request
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self._messages = self._missing = 0
        self._head = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self._http.increment_flow_control_window(WINDOW)
        headers = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "localhost")]
        self._http.send_headers(1, [*headers, ("content-type", "application/grpc+proto"), ("te", "trailers")])
        self._http.send_data(1, b"\0" + len(self._request).to_bytes(4, "big") + self._request, end_stream=True)
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._http.receive_data(data):
            if isinstance(event, DataReceived) and event.data is not None:
                self._count(event.data)
                self._http.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, StreamEnded | StreamReset) and not self.done.done():
                self.done.set_result(self._messages)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def _count(self, data: bytes) -> None:
        at = self._missing
        while at < len(data):
            head = (self._head + data[at : at + 5 - len(self._head)])[:5]
            if len(head) < 5:
                self._head, self._missing = head, 0
                return
            at += 5 - len(self._head) + int.from_bytes(head[1:], "big")
            self._head = b""
            self._messages += 1
        self._missing = at - len(data)

    def _flush(self) -> None:
        self._transport.write(self._http.data_to_send())


def drain(port: int, requests: list[bytes]) -> int:
    """Messages of calls at the same time, each over a connection of its own."""

    async def one(request: bytes) -> int:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(lambda: Drain(request), "127.0.0.1", port)
        try:
            return await protocol.done
        finally:
            transport.close()

    async def every() -> int:
        return sum(await asyncio.gather(*(one(request) for request in requests)))

    return asyncio.run(every())


def read_with_grpcio(port: int, requests: list[bytes]) -> int:
    """The same with gRPC's client for Python, in threads."""

    def one(request: bytes) -> int:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = channel.unary_stream(METHOD, response_deserializer=TokenTransferEvent.FromString)
            return sum(1 for _ in method(request))

    with ThreadPoolExecutor(len(requests)) as pool:
        return sum(pool.map(one, requests))


KINDS: Final[dict[str, Callable[[int, list[bytes]], int]]] = {"drain": drain, "grpcio": read_with_grpcio}


@dataclass
class Row:
    """One line of the table, with its measurements of all rounds."""

    name: str
    events: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: int = 0

    def cells(self) -> tuple[str, ...]:
        rate = self.events / statistics.median(self.seconds)
        cost = statistics.median(self.cpu) / self.events * 1e6
        return self.name, f"{rate:,.0f}", f"{cost:.2f}", f"{self.peak / 1e6:,.0f}" if self.peak else ""


def served(server: Server, ledgers: range, kind: str, clients: int, row: Row) -> None:
    """All events to some clients at the same time."""
    request = GetEventsRequest(start_ledger=ledgers[0], end_ledger=ledgers[-1]).SerializeToString()
    before, start = server.cost(), time.perf_counter()
    row.events = KINDS[kind](server.port, [request] * clients)
    row.seconds.append(time.perf_counter() - start)
    after = server.cost()
    row.cpu.append(after.cpu - before.cpu)
    row.peak = max(row.peak, after.peak)


def as_objects(batch: pa.RecordBatch) -> list[bytes]:
    """Messages as one makes them with protobuf's classes."""
    values = batch.set_column(3, "transaction_hash", hexadecimal(batch["transaction_hash"]))
    columns = values.set_column(1, "ledger_close_time", seconds(batch["ledger_close_time"])).to_pydict()
    made = []
    for row in zip(*(columns[name] for name in COLUMNS), strict=True):
        sequence, closed, index, digest, operation, kind, giver, getter, *_, asset, code, issuer, contract, amount = row
        event = TokenTransferEvent()
        meta = event.meta
        meta.ledger_sequence, meta.transaction_index, meta.contract_address = sequence, index, contract
        meta.closed_at.seconds, meta.tx_hash = closed, digest.decode()
        if operation is not None:
            meta.operation_index = operation
        body = getattr(event, kind)
        if giver is not None:
            setattr(body, "from", giver)
        if getter is not None:
            body.to = getter
        if asset == "native":
            body.asset.native = True
        elif asset is not None:
            body.asset.issued_asset.asset_code, body.asset.issued_asset.issuer = code, issuer
        body.amount = amount
        made.append(event.SerializeToString())
    return made


def from_columns(batch: pa.RecordBatch) -> memoryview:
    """Messages as the processor makes them."""
    return frame(encode(batch))


def made(batch: pa.RecordBatch, make: Callable[[pa.RecordBatch], Any], row: Row) -> None:
    """Make the messages of a batch, as many rows at a time as the processor."""
    row.events = batch.num_rows
    cpu, start = time.process_time(), time.perf_counter()
    for at in range(0, batch.num_rows, ROWS):
        make(batch.slice(at, ROWS))
    row.seconds.append(time.perf_counter() - start)
    row.cpu.append(time.process_time() - cpu)


class Plain(CodecBase):
    """Messages that are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


def serve_grpcio(told: Any) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_stream_rpc_method_handler(lambda _request, _context: (MESSAGE for _ in range(MESSAGES)))
    service, name = METHOD[1:].split("/")
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: handler})])
    told.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def serve_grpclib(told: Any, at_a_time: int) -> None:
    chunk = memoryview((b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE) * at_a_time)

    async def call(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata()
        for _ in range(MESSAGES // at_a_time):
            await (send_framed(stream, chunk) if at_a_time > 1 else stream.send_message(MESSAGE))

    class Service:
        def __mapping__(self) -> dict[str, Handler]:
            return {METHOD: Handler(call, Cardinality.UNARY_STREAM, bytes, bytes)}

    async def run() -> None:
        server = BoundedServer([Service()])
        server._codec = Plain()
        await server.start("127.0.0.1", 0)
        told.send(server.port)
        await asyncio.Event().wait()

    asyncio.run(run())


WAYS: Final[dict[str, tuple[Callable[..., None], tuple[int, ...]]]] = {
    "grpcio, one by one": (serve_grpcio, ()),
    "grpclib, one by one": (serve_grpclib, (1,)),
    "grpclib, 1000 at a time": (serve_grpclib, (1000,)),
}


@contextmanager
def sender(way: str) -> Iterator[Server]:
    serve, arguments = WAYS[way]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, *arguments), daemon=True)
    process.start()
    try:
        yield Server(process, here.recv())  # type: ignore[arg-type]  # it has a pid, and that is what is looked at
    finally:
        process.kill()
        process.join()


def sent(server: Server, row: Row) -> None:
    """Messages of the usual size, from memory."""
    before, start = cost_of(server.process.pid), time.perf_counter()
    row.events = drain(server.port, [b""])
    row.seconds.append(time.perf_counter() - start)
    row.cpu.append(cost_of(server.process.pid).cpu - before.cpu)


def table(title: str, rows: list[Row]) -> Table:
    """Medians over the rounds."""
    out = Table("what", "events/s", "µs on a core an event", "peak MB", title=title)
    for row in rows:
        out.add_row(*row.cells())
    return out


@click.command(context_settings={"show_default": True})
@click.option("--ledger", type=int, default=60659332, help="Pubnet ledger whose copies are served.")
@click.option("--copies", type=click.IntRange(10, 60_000), default=200, help="Ledgers in the store.")
@click.option("--clients", type=click.IntRange(1), multiple=True, default=(1, 10), help="At the same time; repeatable.")
@click.option("--kind", "kinds", type=click.Choice(list(KINDS)), multiple=True, default=list(KINDS), help="Repeatable.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Times that everything is measured.")
def main(ledger: int, copies: int, clients: tuple[int, ...], kinds: tuple[str, ...], rounds: int) -> None:
    """Measure ttp-processor."""
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="ttp-") as folder, ExitStack() as stack:
        ledgers = make_store(Path(folder), ledger, copies)
        source = stack.enter_context(arrow_source(f"file://{folder}"))
        server = stack.enter_context(ttp_processor(source))
        with Client(f"localhost:{source.port}") as client:
            rows = client.read_table(StreamRequest(STREAM, ledgers[0], ledgers[0] + 9, COLUMNS))
        [batch] = rows.combine_chunks().to_batches()
        makers = {"from columns": from_columns, "as objects": as_objects}
        parts = [(Row(name), make) for name, make in makers.items()]
        ways = [Row(way) for way in WAYS]
        calls = [(Row(f"{number} × {kind}"), kind, number) for kind in kinds for number in clients]
        for _, make in parts:
            made(batch, make, Row("warm-up"))
        for _ in range(rounds):
            for row, make in parts:
                made(batch, make, row)
            for row in ways:
                with sender(row.name) as sending:
                    sent(sending, row)
            for row, kind, number in calls:
                served(server, ledgers, kind, number, row)
    console.print(table("Making messages", [row for row, _ in parts]))
    console.print(table("Sending messages of 260 bytes", ways))
    console.print(table(f"ttp-processor, {copies} times pubnet {ledger}", [row for row, *_ in calls]))


if __name__ == "__main__":
    main()
