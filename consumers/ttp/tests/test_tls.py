"""EventService over TLS: who is let in, and what strangers get."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent

from consumers.ttp.tests.made import made_table
from consumers.ttp.tests.processes import SECONDS, Processor, call
from consumers.ttp.tests.test_messages import built
from stellar_arrow_client.testing import FakeServer
from tests.support.clients import Authority, Certificate

FIRST, LAST = 1000, 1019


@pytest.fixture
def upstream() -> Iterator[FakeServer]:
    with FakeServer({"ttp_events": made_table(FIRST, LAST)}, FIRST, LAST) as server:
        yield server


def expected(first: int, last: int) -> list[TokenTransferEvent]:
    return [built(row) for row in made_table(first, last).to_pylist()]


def secure(address: str, roots: Path, pair: Certificate | None = None) -> grpc.Channel:
    certificate, key = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(
        roots.read_bytes(), key and key.read_bytes(), certificate and certificate.read_bytes()
    )
    return grpc.secure_channel(f"localhost:{address.rpartition(':')[2]}", credentials)


def test_tls(upstream: FakeServer, tmp_path: Path) -> None:
    servers, clients = Authority(tmp_path, "servers"), Authority(tmp_path, "clients")
    certificate, key = servers.sign("server")
    arguments = ("--tls-cert", certificate, "--tls-key", key)
    with Processor(upstream.address, *arguments) as process:
        with secure(process.address, servers.own.cert) as channel:
            assert list(call(channel, FIRST, 1010)) == expected(FIRST, 1010)
        with socket.create_connection(("127.0.0.1", int(process.address.rpartition(":")[2]))) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            plain.settimeout(SECONDS)
            assert b"HTTP" not in plain.recv(100)
        assert "Traceback" not in str(process.said), "strangers fill the log"
    with Processor(upstream.address, *arguments, "--tls-client-ca", clients.own.cert) as process:
        with secure(process.address, servers.own.cert, clients.sign("known")) as channel:
            assert list(call(channel, FIRST, 1010)) == expected(FIRST, 1010)
        for pair in (None, servers.sign("unknown")):
            with secure(process.address, servers.own.cert, pair) as channel, pytest.raises(grpc.RpcError):
                list(call(channel, FIRST, 1010, wait=False))
        assert "Traceback" not in str(process.said), "strangers fill the log"


def test_modern_tls_only(upstream: FakeServer, tmp_path: Path) -> None:
    servers = Authority(tmp_path, "servers")
    certificate, key = servers.sign("server")
    with Processor(upstream.address, "--tls-cert", certificate, "--tls-key", key) as process:
        context = ssl.create_default_context(cafile=str(servers.own.cert))
        context.set_alpn_protocols(["h2"])
        port = int(process.address.rpartition(":")[2])
        with (
            socket.create_connection(("localhost", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            assert wrapped.selected_alpn_protocol() == "h2"
            assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
