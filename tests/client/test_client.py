"""The client's calls: addresses, credentials, TLS, what a server offers, whole tables."""

from __future__ import annotations

import doctest
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest

import stellar_arrow_client
from stellar_arrow_client import Client, RetryPolicy, StreamInfo, StreamRequest
from stellar_arrow_client.client import StreamList
from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
    UnknownColumnError,
    UnknownStreamError,
)
from stellar_arrow_client.testing import FakeServer, sample_table
from stellar_arrow_client.transport import Address, typed_error

QUICK = RetryPolicy(retry_for=5.0, first_tries=2, initial=0.01, maximum=0.05)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"samples": sample_table(10, 60)}, 10, 60) as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, retry=QUICK) as client:
        yield client


@pytest.mark.parametrize(
    ("text", "address", "uri"),
    [
        ("localhost:8815", Address("localhost", 8815), "grpc+tcp://localhost:8815"),
        ("localhost", Address("localhost", 8815), "grpc+tcp://localhost:8815"),
        ("grpc://10.0.0.1:1", Address("10.0.0.1", 1), "grpc+tcp://10.0.0.1:1"),
        ("grpc+tcp://a-b.example:65535/", Address("a-b.example", 65535), "grpc+tcp://a-b.example:65535"),
        ("grpc+tls://example.org:443", Address("example.org", 443, True), "grpc+tls://example.org:443"),
        ("[::1]:8815", Address("[::1]", 8815), "grpc+tcp://[::1]:8815"),
    ],
)
def test_addresses(text: str, address: Address, uri: str) -> None:
    assert Address.parse(text) == address
    assert address.uri == uri


@pytest.mark.parametrize(
    "text",
    ["", ":8815", "a:b", "host:0", "host:65536", "host:123456", "http://host:1", "grpc:/host:1", "::1:8815",
     "host:1/path", "user@host:1", "host :1", "host:1\n", "h" * 600],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="write HOST:PORT such as localhost:8815"):
        Client(text)


def test_what_a_server_offers(client: Client) -> None:
    assert client.streams() == [StreamInfo("samples", (), "rows of samples", 1)]
    assert client.latest_ledger() == 60
    assert client.health() == {"status": "ok"}
    assert client.schema("samples").equals(sample_table(10, 10).schema, check_metadata=True)
    assert client.schema("samples", ["memo", "amount"]).names == ["memo", "amount"]


def test_plan_gives_tickets_of_the_range(client: Client) -> None:
    request = StreamRequest("samples", 10, 60, ("amount",))
    info = client.plan(request)
    assert [StreamRequest.parse(end.ticket.ticket) for end in info.endpoints] == [request]


def test_read_table(client: Client) -> None:
    table = client.read_table(StreamRequest("samples", 10, 60))
    assert table.equals(sample_table(10, 60))
    some = client.read_table(StreamRequest("samples", 15, 20, ("ledger_sequence", "memo")))
    assert some.equals(sample_table(15, 20).select(["ledger_sequence", "memo"]))
    assert client.read_table("samples:15:20").equals(sample_table(15, 20))
    with pytest.raises(InvalidRequestError, match="samples:10: has no end"):
        client.read_table(StreamRequest("samples", 10))


def test_unknown_names(client: Client) -> None:
    with pytest.raises(UnknownStreamError, match="did you mean 'samples'"):
        client.schema("sample")
    with pytest.raises(UnknownStreamError, match="did you mean 'samples'"):
        next(client.stream(StreamRequest("sample", 10)))
    with pytest.raises(UnknownColumnError, match="did you mean 'amount'"):
        client.read_table(StreamRequest("samples", 10, 20, ("amuont",)))


def test_a_server_that_is_not_there(server: FakeServer, client: Client) -> None:
    server.stop()
    with pytest.raises(UnavailableError, match=f"cannot reach {server.address}; is stellar-arrow-source running"):
        client.health()


class _Odd(flight.FlightServerBase):  # type: ignore[misc]
    """Answers every action with the same bodies, or fails."""

    def __init__(self, *bodies: bytes | Exception, **settings: Any) -> None:
        self.bodies = bodies
        super().__init__(**{"location": "grpc://127.0.0.1:0", **settings})

    def do_action(self, _context: object, _action: flight.Action) -> list[flight.Result]:
        for body in self.bodies:
            if isinstance(body, Exception):
                raise body
        return [flight.Result(body) for body in self.bodies]


@pytest.mark.parametrize(
    "bodies",
    [(), (b"{}", b"{}"), (b"",), (b"[]",), (b"\xff",), (b"[" * 100_000,), (b'{"streams": 5}',),
     (b'{"streams": [{}]}',), (b'{"streams": [{"name": "x", "aliases": 5}]}',)],
)  # fmt: skip
def test_answers_of_something_else(bodies: tuple[bytes, ...]) -> None:
    with (
        _Odd(*bodies) as server,
        Client(f"127.0.0.1:{server.port}") as client,
        pytest.raises(IntegrityError, match="is not the answer of stellar-arrow-source"),
    ):
        client.streams()


class _Listing(flight.FlightServerBase):  # type: ignore[misc]
    """Lists flights of the given names."""

    def __init__(self, *names: str) -> None:
        self.names = names
        super().__init__("grpc://127.0.0.1:0")

    def list_flights(self, _context: object, _criteria: bytes) -> Iterator[flight.FlightInfo]:
        for name in self.names:
            yield flight.FlightInfo(sample_table(1, 1).schema, flight.FlightDescriptor.for_path(name), [], -1, -1)


def test_schemas_of_all_streams(client: Client) -> None:
    assert list(client.schemas()) == ["samples"]
    assert client.schemas()["samples"].equals(client.schema("samples"))
    for names in (("a", "a"), ("../a",), ("",), tuple(f"s{number}" for number in range(1025))):
        with (
            _Listing(*names) as server,
            Client(f"127.0.0.1:{server.port}") as other,
            pytest.raises(IntegrityError, match="answers a listing with what is not the answer"),
        ):
            other.schemas()


def test_descriptions_cannot_move_the_cursor() -> None:
    shown = repr(StreamList([StreamInfo("a", (), "rows\x1b[2J\n", 1)]))
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2


def test_a_closed_client_says_so(server: FakeServer) -> None:
    with Client(server.address) as client:
        pass
    with pytest.raises(StellarArrowError, match="is closed; use it inside its with statement"):
        client.streams()
    with pytest.raises(StellarArrowError, match="is closed"):
        next(client.stream("samples:10:20"))


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (flight.FlightUnauthorizedError("x"), AuthenticationError),
        (flight.FlightUnauthenticatedError("x"), AuthenticationError),
        (flight.FlightTimedOutError("x"), UnavailableError),
        (flight.FlightServerError("x"), StellarArrowError),
        (flight.FlightServerError("x", b"not ours"), StellarArrowError),
        (NotImplementedError("x"), StellarArrowError),
    ],
)
def test_errors_of_other_flight_servers(raised: Exception, error: type[StellarArrowError]) -> None:
    with (
        _Odd(raised) as server,
        Client(f"127.0.0.1:{server.port}", retry=QUICK) as client,
        pytest.raises(error) as caught,
    ):
        client.health()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "gRPC client debug context" not in str(caught.value)


class _TokenFactory(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def start_call(self, _info: object, headers: dict[str, list[str]]) -> None:
        if headers.get("authorization") != ["Bearer s3cret"]:
            raise flight.FlightUnauthenticatedError("no")


def test_token() -> None:
    with _Odd(b'{"status": "ok"}', middleware={"token": _TokenFactory()}) as server:
        address = f"127.0.0.1:{server.port}"
        assert Client(address, token="s3cret").health() == {"status": "ok"}
        for token in (None, "wrong"):
            with pytest.raises(AuthenticationError, match="valid token"):
                Client(address, token=token).health()


@pytest.mark.parametrize("token", ["", "a\nb", "é", "a\x00"])
def test_a_token_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="token"):
        Client("localhost", token=token)


def test_a_token_in_the_clear_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Client("localhost", token="t")
        Client("grpc+tls://example.org", token="t")
        assert not caplog.records
        Client("example.org", token="t")
    assert "unencrypted" in caplog.text


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    pair = (certificate.read_bytes(), key.read_bytes())
    with _Odd(b"{}", location="grpc+tls://localhost:0", tls_certificates=[pair]) as server:
        address = f"grpc+tls://localhost:{server.port}"
        assert Client(address, tls_roots=pair[0]).health() == {}
        with pytest.raises(UnavailableError, match="cannot reach localhost"):
            Client(address, retry=QUICK).health()
        with pytest.raises(UnavailableError, match="cannot reach localhost"):
            Client(f"localhost:{server.port}", retry=QUICK).health()


_SERVE = """
import sys, time
from stellar_arrow_client.testing import FakeServer, sample_table
server = FakeServer({"samples": sample_table(1, 300)}, 1, 300, ledgers_per_batch=1, split_rows=2, delay=0.005)
server.port = int(sys.argv[1])
server.start()
print(server.port, flush=True)
time.sleep(600)
"""


def test_a_server_that_is_killed_again_and_again() -> None:
    def serve(port: int) -> tuple[subprocess.Popen[str], int]:
        for _ in range(20):  # others on this machine may hold the port for a moment
            process = subprocess.Popen([sys.executable, "-c", _SERVE, str(port)], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            if answer := process.stdout.readline():
                return process, int(answer)
            end(process)
        pytest.fail(f"no server could be started on port {port}")

    def end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    process, port = serve(0)
    batches, kills = [], 0
    try:
        with Client(f"127.0.0.1:{port}", retry=RetryPolicy(60, initial=0.05, maximum=0.2)) as client:
            for batch, cursor in client.stream(StreamRequest("samples", 1, 300)):
                batches.append(batch)
                if cursor.last // 70 > kills:
                    kills += 1
                    end(process)
                    process, port = serve(port)
    finally:
        end(process)
    assert kills == 4
    assert stellar_arrow_client.client.pa.Table.from_batches(batches).equals(sample_table(1, 300))


def test_the_example_of_the_package_works() -> None:
    table = sample_table(100, 120, stream="payments")
    with FakeServer({"payments": table}, 100, 120) as server:
        names = {"SERVER": server.address}
        result = doctest.testmod(stellar_arrow_client, extraglobs=names)
    assert result.attempted == 3
    assert result.failed == 0


def test_the_sdk_needs_neither_decoder_nor_stellar_sdk() -> None:
    code = """
import json, sys
import stellar_arrow_client.options
light = sorted(sys.modules)
from stellar_arrow_client import AsyncClient, CheckpointedStream, Client, Job, Sink, StreamRequest, run
streaming = sorted(sys.modules)
from stellar_arrow_client import *
print(json.dumps([light, streaming, sorted(sys.modules)]))
"""
    light, streaming, full = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    unwanted = {"numba", "stellar_sdk", "stellar_arrow_source", "structlog", "rich", "prometheus_client", "duckdb"}
    assert not unwanted & set(full)
    assert "pandas" not in streaming  # which pyarrow.dataset imports where it is installed
    assert "pyarrow" not in light


def test_a_fault_of_the_client_is_not_laid_on_the_server() -> None:
    address = Address.parse("grpc://127.0.0.1:1")
    assert str(typed_error(KeyError("x"), address)) == "unexpected KeyError in the client of 127.0.0.1:1: 'x'"
    for error in (flight.FlightError("odd"), pa.ArrowNotImplementedError("odd"), OSError("odd")):
        assert str(typed_error(error, address)) == "the server at 127.0.0.1:1 failed: odd"
