"""Only clients with a certificate of the right authority connect, and each failure says what to look at."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from stellar_arrow_client import Client, RetryPolicy
from stellar_arrow_client.errors import AuthenticationError, InvalidRequestError, UnavailableError
from stellar_arrow_client.options import Command, client_options
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.service import Service
from tests.support.clients import Authority, Certificate, ClientsFile
from tests.support.serving import serving

ONCE = RetryPolicy(retry_for=0.0, first_tries=1)


class World(NamedTuple):
    service: Service
    roots: bytes
    good: Certificate
    foreign: Certificate


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("certificates")
    ours, others = Authority(folder), Authority(folder, "others")
    server = ours.sign("server")
    clients = ClientsFile(folder / "clients.json")
    clients.add("alice")
    with serving(
        tls_cert=server.cert, tls_key=server.key, tls_client_ca=ours.own.cert, auth_file=clients.path
    ) as service:
        yield World(service, ours.own.cert.read_bytes(), ours.sign("client"), others.sign("client"))


def client(world: World, certificate: Certificate | None, token: str | None = "token-of-alice") -> Client:
    cert, key = (part.read_bytes() for part in certificate) if certificate else (None, None)
    return Client(
        world.service.location, token=token, tls_roots=world.roots, client_cert=cert, client_key=key, retry=ONCE
    )


def test_the_right_certificate_and_token(world: World) -> None:
    with client(world, world.good) as good:
        assert good.read_table("numbers:1:10").num_rows == 20


def test_a_certificate_does_not_stand_in_for_a_token(world: World) -> None:
    for token in (None, "token-of-mallory"):
        with client(world, world.good, token) as half, pytest.raises(AuthenticationError):
            half.health()


@pytest.mark.parametrize("of", [lambda world: None, lambda world: world.foreign], ids=["none", "foreign"])
def test_without_the_right_certificate_nobody_connects(world: World, of: Callable[[World], Certificate | None]) -> None:
    with (
        client(world, of(world)) as wrong,
        pytest.raises(UnavailableError, match=r"may ask for a certificate \(--client"),
    ):
        wrong.health()


def test_without_tls_nobody_connects(world: World) -> None:
    plain = world.service.location.replace("grpc+tls", "grpc")
    with (
        Client(plain, token="token-of-alice", retry=ONCE) as wrong,
        pytest.raises(UnavailableError, match=r"if it speaks TLS, write grpc\+tls://127.0.0.1"),
    ):
        wrong.health()


def test_a_server_of_another_authority_is_not_trusted(world: World, tmp_path: Path) -> None:
    roots = Authority(tmp_path).own.cert.read_bytes()
    with (
        Client(world.service.location, token="token-of-alice", tls_roots=roots, retry=ONCE) as client,
        pytest.raises(
            UnavailableError, match="leads to no authority that is trusted; name the right one with --tls-roots"
        ),
    ):
        client.health()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", world.service.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_the_options_of_consumers_reach_the_server(world: World, tmp_path: Path) -> None:
    @click.command(cls=Command)
    @client_options
    def ask(client: Client) -> None:
        click.echo(client.latest_ledger())

    roots = tmp_path / "roots.pem"
    roots.write_bytes(world.roots)
    environment = {
        "STELLAR_ARROW_TOKEN": "token-of-alice",
        "STELLAR_ARROW_TLS_ROOTS": str(roots),
        "STELLAR_ARROW_CLIENT_CERT": str(world.good.cert),
        "STELLAR_ARROW_CLIENT_KEY": str(world.good.key),
    }
    result = CliRunner().invoke(ask, [world.service.location], env=environment)
    assert (result.output, result.exit_code) == ("1000\n", 0)
    refused = CliRunner().invoke(ask, [world.service.location, "--token", "wrong"], env=environment)
    assert refused.exit_code == 5


@pytest.mark.parametrize(
    ("server", "arguments", "says"),
    [
        ("grpc+tls://localhost", {"client_cert": b"x"}, "give both --client-cert and --client-key"),
        ("grpc+tls://localhost", {"client_key": b"x"}, "give both --client-cert and --client-key"),
        ("localhost:1", {"client_cert": b"x", "client_key": b"x"}, r"over TLS only; write grpc\+tls://localhost:1"),
    ],
)
def test_certificates_that_cannot_be_shown(server: str, arguments: dict[str, bytes], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        Client(server, **arguments)  # type: ignore[arg-type]


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="--tls-client-ca needs TLS"):
        ServerConfig(tls_client_ca=tmp_path / "ca.pem")
    server = Authority(tmp_path).sign("server")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n")
    with (
        pytest.raises(InvalidRequestError, match=r"cannot use .*broken.pem as certificates of authorities"),
        serving(tls_cert=server.cert, tls_key=server.key, tls_client_ca=broken),
    ):
        pass
    with (
        pytest.raises(InvalidRequestError, match=r"cannot read the clients of .*absent.json: No such file"),
        serving(auth_file=tmp_path / "absent.json"),
    ):
        pass
