"""EventService as clients of gRPC's own library see it; the Flight server breaks and stops on demand."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from ttp_processor.protos.event_service_pb2 import GetEventsRequest
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent

from consumers.ttp.tests.made import SCHEMA, made_table
from consumers.ttp.tests.processes import BIN, ENV, SECONDS, Process, Processor, call, wait_until
from consumers.ttp.tests.test_messages import built
from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_client.testing import FakeServer, Fault

FIRST, LAST = 1000, 1199
SERVICE = "token_transfer_service.EventService"


def expected(first: int, last: int) -> list[TokenTransferEvent]:
    return [built(row) for row in made_table(first, last).to_pylist()]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeServer, Processor]]:
    """A Flight server and a processor for most of the tests."""
    with (
        FakeServer({"ttp_events": made_table(FIRST, LAST)}, FIRST, LAST) as server,
        Processor(server.address) as process,
    ):
        yield server, process


@pytest.fixture
def upstream(shared: tuple[FakeServer, Processor]) -> FakeServer:
    """The Flight server as it was at first."""
    server, _ = shared
    server.tables, server.last = {"ttp_events": made_table(FIRST, LAST)}, LAST
    server.faults, server.requests = [], []
    server.delay, server.ledgers_per_batch, server.split_rows = 0, 10, None
    return server


@pytest.fixture
def processor(shared: tuple[FakeServer, Processor], upstream: FakeServer) -> Processor:
    return shared[1]


@pytest.fixture
def own(upstream: FakeServer) -> Iterator[Processor]:
    """A processor that the test may end."""
    with Processor(upstream.address) as process:
        yield process


def refused(calling: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        list(calling)
    return error.value.code(), error.value.details()


def test_ranges(processor: Processor, upstream: FakeServer) -> None:
    with processor.channel() as channel:
        assert list(call(channel, FIRST, LAST)) == expected(FIRST, LAST)
        assert list(call(channel, 1050, 1050)) == []  # its ledger has no row
        assert list(call(channel, 1051, 1051)) == expected(1051, 1051)
    assert {request.stream for request in upstream.requests} == {"ttp_events"}


@pytest.mark.parametrize("end", [0, 7])
def test_an_end_before_the_start_follows_the_network(processor: Processor, upstream: FakeServer, end: int) -> None:
    with processor.channel() as channel:
        events = call(channel, LAST - 1, end)
        wanted = expected(LAST - 1, LAST)
        assert [next(events) for _ in wanted] == wanted
        upstream.publish(LAST + 5, {"ttp_events": made_table(LAST + 1, LAST + 5)})
        wanted = expected(LAST + 1, LAST + 5)
        assert [next(events) for _ in wanted] == wanted
        events.cancel()
    upstream.wait_until_idle(SECONDS)


def test_no_start_is_the_newest_ledger(processor: Processor) -> None:
    with processor.channel() as channel:
        events = call(channel, 0, 0)
        wanted = expected(LAST, LAST)
        assert [next(events) for _ in wanted] == wanted
        code, details = refused(call(channel, 0, LAST))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "name the first ledger" in details


def test_a_start_for_calls_that_name_none(upstream: FakeServer) -> None:
    with Processor(upstream.address, 1190) as process, process.channel() as channel:
        assert list(call(channel, 0, LAST)) == expected(1190, LAST)


def test_breaks_lose_and_double_nothing(processor: Processor, upstream: FakeServer) -> None:
    upstream.split_rows = 2
    upstream.faults = [Fault(3), Fault(0), Fault(7, "end"), Fault(1)]
    with processor.channel() as channel:
        assert list(call(channel, FIRST, LAST)) == expected(FIRST, LAST)
    assert not upstream.faults


def test_the_flight_server_restarts(processor: Processor, upstream: FakeServer) -> None:
    upstream.ledgers_per_batch, upstream.delay = 5, 0.03
    with processor.channel() as channel:
        events = call(channel, FIRST, LAST)
        got = [next(events) for _ in range(100)]
        upstream.stop()
        time.sleep(0.5)
        upstream.start()
        assert got + list(events) == expected(FIRST, LAST)


@pytest.mark.parametrize(
    ("error", "after", "code"),
    [
        (GapError("ledger 1 is not there: the source begins with ledger 1000"), 0, grpc.StatusCode.OUT_OF_RANGE),
        (GapError("ledger 1020 is missing"), 2, grpc.StatusCode.DATA_LOSS),
        (IntegrityError("ledger 1020 is damaged"), 2, grpc.StatusCode.DATA_LOSS),
    ],
)
def test_errors_have_a_status(
    processor: Processor, upstream: FakeServer, error: IntegrityError, after: int, code: grpc.StatusCode
) -> None:
    upstream.faults = [Fault(after, "error", error)]
    with processor.channel() as channel:
        events, got = call(channel, FIRST, LAST), []
        with pytest.raises(grpc.RpcError) as failed:
            got.extend(events)
        assert (failed.value.code(), failed.value.details()) == (code, str(error))


def test_no_flight_server(upstream: FakeServer) -> None:
    """The processor starts without it, says so, and serves when it comes."""
    upstream.stop()
    with Processor(upstream.address) as process, process.channel() as channel:
        code, details = refused(call(channel, FIRST, LAST))
        assert code == grpc.StatusCode.UNAVAILABLE
        assert "is stellar-arrow-source running there?" in details
        assert health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        upstream.start()
        assert list(call(channel, FIRST, 1010)) == expected(FIRST, 1010)
        wait_until(lambda: health(channel) == health_pb2.HealthCheckResponse.SERVING)


def health(channel: grpc.Channel, service: str = SERVICE) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
    return int(answer.status)


def test_health(processor: Processor, upstream: FakeServer) -> None:
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with processor.channel() as channel:
        wait_until(lambda: health(channel, "") == serving)
        assert health(channel) == serving
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert next(watch).status == serving
        upstream.stop()
        assert next(watch).status == not_serving
        upstream.start()
        assert next(watch).status == serving
        with pytest.raises(grpc.RpcError) as error:
            health(channel, "no.such.Service")
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection(processor: Processor) -> None:
    """A client that has no .proto file learns all of them from the server."""
    with processor.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in database.get_services()
        [service] = database.FindFileContainingSymbol(SERVICE).service
        [method] = service.method
        assert (method.name, method.output_type) == ("GetTTPEvents", ".token_transfer.TokenTransferEvent")
        assert method.server_streaming
        file = database.FindFileContainingSymbol("token_transfer.TokenTransferEvent")
        meta = next(message for message in file.message_type if message.name == "EventMeta")
        assert [(field.name, field.number) for field in meta.field] == [
            ("ledger_sequence", 1),
            ("closed_at", 2),
            ("tx_hash", 3),
            ("transaction_index", 4),
            ("operation_index", 5),
            ("contract_address", 6),
            ("to_muxed_info", 7),
        ]
        assert database.FindFileContainingSymbol("asset.Asset").package == "asset"


def test_many_clients(processor: Processor) -> None:
    with processor.channel() as channel:
        calls = [call(channel, FIRST + number, LAST) for number in range(20)]
        for number, events in enumerate(calls):
            assert list(events) == expected(FIRST + number, LAST)


def send_call(client: socket.socket, start: int, end: int) -> H2Connection:
    """Ask over a plain connection for a range of ledgers; nothing of the answer is read."""
    http = H2Connection(H2Configuration(client_side=True))
    http.initiate_connection()
    path = [(":method", "POST"), (":scheme", "http"), (":path", f"/{SERVICE}/GetTTPEvents"), (":authority", "us")]
    http.send_headers(1, [*path, ("content-type", "application/grpc"), ("te", "trailers")])
    message = GetEventsRequest(start_ledger=start, end_ledger=end).SerializeToString()
    http.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    client.sendall(http.data_to_send())
    return http


def received(client: socket.socket, http: H2Connection) -> int:
    """Bytes of the whole answer, read as fast as they come."""
    count, ended = 0, False
    while not ended:
        for event in http.receive_data(client.recv(1 << 20)):
            if isinstance(event, DataReceived):
                count += len(event.data or b"")
                http.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            ended |= isinstance(event, StreamEnded)
        client.sendall(http.data_to_send())
    return count


def test_a_slow_client_slows_only_itself(upstream: FakeServer, processor: Processor) -> None:
    """One that reads nothing holds up neither others nor the memory; later it gets everything."""
    rows = made_table(FIRST, LAST, rows_per_ledger=40)
    texts = pa.array([str(number).zfill(6) * 500 for number in range(rows.num_rows)])
    rows = rows.set_column(SCHEMA.get_field_index("to_muxed_id"), "to_muxed_id", texts)
    kinds = pa.array(["text"] * rows.num_rows)
    upstream.tables = {"ttp_events": rows.set_column(SCHEMA.get_field_index("to_muxed_kind"), "to_muxed_kind", kinds)}
    upstream.ledgers_per_batch = 1
    before = upstream.batches
    host, port = processor.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as slow, processor.channel() as channel:
        http = send_call(slow, FIRST, LAST)
        wait_until(lambda: upstream.batches > before)
        time.sleep(1)
        ahead = upstream.batches - before
        assert ahead < (LAST - FIRST) / 2, "much was read for a client that reads nothing"
        quick = list(call(channel, FIRST, LAST))
        assert len(quick) == rows.num_rows
        assert received(slow, http) == sum(5 + message.ByteSize() for message in quick)


def test_cancelled_calls_give_everything_back(upstream: FakeServer) -> None:
    with Processor(upstream.address, "--max-calls", 2) as process, process.channel() as channel:
        for _ in range(3):
            calls = [call(channel, LAST, 0) for _ in range(2)]
            for events in calls:
                next(events)
            code, details = refused(call(channel, FIRST, LAST))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "--max-calls" in details
            for events in calls:
                events.cancel()
            wait_until(lambda: _is_free(channel))


def _is_free(channel: grpc.Channel) -> bool:
    events = call(channel, LAST, LAST)
    with suppress(grpc.RpcError):
        list(events)
    assert events.code() in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return bool(events.code() == grpc.StatusCode.OK)


def test_deadline(processor: Processor) -> None:
    with processor.channel() as channel:
        events = call(channel, LAST, 0, timeout=0.5)
        code, _ = refused(events)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_calls_end_with_a_whole_ledger(
    own: Processor, upstream: FakeServer, number: signal.Signals
) -> None:
    upstream.ledgers_per_batch, upstream.delay = 3, 0.05
    with own.channel() as channel:
        events = call(channel, FIRST, LAST)
        got = [next(events) for _ in range(40)]
        own.popen.send_signal(number)
        with pytest.raises(grpc.RpcError) as ended:
            got.extend(events)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    next_ledger = int(ended.value.details().split("ledger ")[1].split(" ")[0])
    assert got == expected(FIRST, next_ledger - 1)
    assert own.popen.wait(SECONDS) == 0


def test_a_second_signal_kills(own: Processor) -> None:
    """A client that does not read keeps the first signal waiting."""
    with own.channel() as channel:
        next(call(channel, LAST, 0))
        own.popen.send_signal(signal.SIGTERM)
        own.wait_for("SIGTERM: letting calls end; again to stop at once")
        own.popen.send_signal(signal.SIGTERM)
        assert own.popen.wait(SECONDS) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"x" * 200_000, None),
    ],
)
def test_hostile_requests(processor: Processor, request_bytes: bytes, code: grpc.StatusCode | None) -> None:
    with processor.channel() as channel:
        method = channel.unary_stream(f"/{SERVICE}/GetTTPEvents")
        found, _ = refused(method(request_bytes, timeout=SECONDS))
        assert found == code or (code is None and found != grpc.StatusCode.DEADLINE_EXCEEDED)
    with processor.channel() as channel:
        assert list(call(channel, FIRST, 1010)) == expected(FIRST, 1010)
    assert "Traceback" not in str(processor.said)


def test_noise_instead_of_http2(processor: Processor) -> None:
    host, port = processor.address.split(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)) * 40):
        with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
            client.sendall(noise)
            client.settimeout(SECONDS)
            while client.recv(65536):
                pass
    with processor.channel() as channel:
        assert list(call(channel, FIRST, 1010)) == expected(FIRST, 1010)
    assert "Traceback" not in str(processor.said), "strangers fill the log"


def test_unknown_frames_are_passed_over(processor: Processor) -> None:
    host, port = processor.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        client.sendall(b"\0\0\4\xbb\0\0\0\0\0abcd")
        client.sendall(b"\0\0\x08\6\0\0\0\0\0" + b"12345678")
        received = b""
        while b"12345678" not in received:
            data = client.recv(4096)
            assert data, "the connection was closed"
            received += data


def test_metrics(upstream: FakeServer) -> None:
    upstream.faults = [Fault(2)]
    with Process("ttp-processor", "serve", upstream.address, "--port", 0, "--metrics-port", 0) as process:
        url = next(said["url"] for said in process.said if "url" in said)
        with grpc.insecure_channel(process.serving["grpc"].partition("://")[2]) as channel:
            count = len(list(call(channel, FIRST, LAST)))
            refused(call(channel, 0, LAST))
        page = urllib.request.urlopen(url, timeout=SECONDS).read().decode().splitlines()
    assert f"ttp_processor_events_total {float(count)}" in page
    assert 'ttp_processor_calls_total{status="OK"} 1.0' in page
    assert 'ttp_processor_calls_total{status="INVALID_ARGUMENT"} 1.0' in page
    assert "ttp_processor_reconnects_total 1.0" in page
    assert "ttp_processor_active_calls 0.0" in page
    assert "ttp_processor_server_reachable 1.0" in page


def test_a_port_in_use_is_said(upstream: FakeServer) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = subprocess.run(
            [str(BIN / "ttp-processor"), "serve", upstream.address, "--port", port],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=ENV,
            check=False,
        )
    assert done.returncode == 3
    assert f"error: cannot listen at 127.0.0.1:{port}" in done.stderr
