"""Nobody gets in without the right credentials, in whatever way they try, nor any further than these reach."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight
from structlog.testing import capture_logs

from stellar_arrow_client import Client, RetryPolicy, StreamRequest
from stellar_arrow_client.errors import (
    AuthenticationError,
    ExitCode,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)
from stellar_arrow_source.access import sessions
from stellar_arrow_source.access.credentials import PasswordHash
from stellar_arrow_source.access.grants import Grant
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight import auth
from stellar_arrow_source.flight.service import Service
from tests.support.clients import Authority, ClientsFile, bearer
from tests.support.serving import ScriptedSource, serving, wait_until

PASSWORD = "correct horse battery"
ONCE = RetryPolicy(retry_for=0.0, first_tries=1)

Call = Callable[[flight.FlightClient, flight.FlightCallOptions], Any]

CALLS: dict[str, Call] = {
    "list_flights": lambda client, options: list(client.list_flights(options=options)),
    "get_flight_info": lambda client, options: client.get_flight_info(
        flight.FlightDescriptor.for_path("numbers:1:10"), options
    ),
    "get_schema": lambda client, options: client.get_schema(flight.FlightDescriptor.for_path("numbers"), options),
    "do_get": lambda client, options: client.do_get(flight.Ticket(b"numbers:1:10"), options).read_all(),
    "list_actions": lambda client, options: client.list_actions(options),
    "health": lambda client, options: list(client.do_action("health", options)),
    "latest-ledger": lambda client, options: list(client.do_action("latest-ledger", options)),
    "streams": lambda client, options: list(client.do_action("streams", options)),
    "do_put": lambda client, options: _put(client, options),
    "do_exchange": lambda client, options: _exchange(client, options),
}


def _put(client: flight.FlightClient, options: flight.FlightCallOptions) -> None:
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("numbers"), pa.schema([]), options)
    writer.close()


def _exchange(client: flight.FlightClient, options: flight.FlightCallOptions) -> None:
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("numbers"), options)
    writer.done_writing()
    reader.read_chunk()


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> ClientsFile:
    file = ClientsFile(tmp_path_factory.mktemp("auth") / "clients.json")
    file.add("alice")
    file.add("bob", password_scrypt=str(PasswordHash.of(PASSWORD)))
    file.add("late", expires=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    file.add("narrow", streams=["digits", "ledgers"], first_ledger=100, last_ledger=200)
    return file


@pytest.fixture(scope="module")
def service(clients: ClientsFile) -> Iterator[Service]:
    with serving(ScriptedSource(latest=1000), auth_file=clients.path) as service:
        yield service


@pytest.fixture
def plain(service: Service) -> Iterator[flight.FlightClient]:
    with flight.FlightClient(service.location) as client:
        yield client


def as_client(service: Service, name: str) -> Client:
    return Client(service.location, token=f"token-of-{name}", retry=ONCE)


def payload(error: flight.FlightError) -> dict[str, Any]:
    assert "Traceback" not in str(error)
    body = json.loads(error.extra_info)
    assert isinstance(body, dict)
    return body


WRONG_HEADERS = {
    "none": [],
    "empty": [b""],
    "no token": [b"Bearer"],
    "empty token": [b"Bearer "],
    "wrong token": [b"Bearer token-of-mallory"],
    "a prefix of the right one": [b"Bearer token-of-alic"],
    "more than the right one": [b"Bearer token-of-alice "],
    "without scheme": [b"token-of-alice"],
    "other scheme": [b"Token token-of-alice"],
    "basic on a call": [b"Basic " + base64.b64encode(f"bob:{PASSWORD}".encode())],
    "name as token": [b"Bearer alice"],
    "long": [b"Bearer " + b"x" * 4000],
    "two, one of them right": [b"Bearer token-of-alice", b"Bearer token-of-mallory"],
    "expired": [b"Bearer token-of-late"],
}


def test_the_right_token_opens_all_calls(plain: flight.FlightClient) -> None:
    for name, call in CALLS.items():
        if name in ("do_put", "do_exchange"):
            with pytest.raises(flight.FlightServerError, match=r"the server (takes|exchanges) no data"):
                call(plain, bearer("token-of-alice"))
        else:
            assert call(plain, bearer("token-of-alice")) is not None
    assert CALLS["do_get"](plain, bearer("token-of-alice")).num_rows == 20


@pytest.mark.parametrize("name", CALLS)
def test_no_call_goes_without_a_token(plain: flight.FlightClient, name: str) -> None:
    with pytest.raises(pa.ArrowException, match="asks for a token; give yours with --token") as caught:
        CALLS[name](plain, flight.FlightCallOptions(timeout=30))
    if name != "get_schema":  # of whose errors pyarrow keeps the message only
        assert isinstance(caught.value, flight.FlightUnauthenticatedError)
        assert payload(caught.value)["exit_code"] == ExitCode.AUTHENTICATION


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
@pytest.mark.parametrize("name", ["health", "do_get"])
def test_wrong_credentials_are_refused(plain: flight.FlightClient, wrong: str, name: str) -> None:
    headers = [(b"authorization", value) for value in WRONG_HEADERS[wrong]]
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        CALLS[name](plain, flight.FlightCallOptions(headers=headers, timeout=30))
    assert payload(caught.value)["code"] == "AuthenticationError"
    assert "token-of" not in str(caught.value)


def test_the_hash_of_a_token_is_no_token(plain: flight.FlightClient, clients: ClientsFile) -> None:
    with pytest.raises(flight.FlightUnauthenticatedError, match="not valid here"):
        CALLS["health"](plain, bearer(clients.entries["alice"]["token_sha256"]))


def test_who_is_late_is_told_so(service: Service) -> None:
    with as_client(service, "late") as client, pytest.raises(AuthenticationError, match=r"late expired at 20.*Z; ask"):
        client.health()


def test_a_server_without_clients_takes_anybody(tmp_path: Path) -> None:
    with serving() as service, Client(service.location, token="whatever") as client:
        assert client.read_table("numbers:1:10").num_rows == 20


# --- scopes


def test_only_streams_of_the_scope_are_seen(service: Service) -> None:
    with as_client(service, "narrow") as client:
        assert [stream.name for stream in client.streams()] == ["numbers", "ledgers"]
        assert list(client.schemas()) == ["numbers", "ledgers"]
        assert client.latest_ledger() == 1000
        assert client.schema("digits").names == ["ledger_sequence", "index", "text"]


@pytest.mark.parametrize("ticket", [b"transactions:100:110", b"transactions"])
def test_streams_out_of_scope_are_refused(plain: flight.FlightClient, ticket: bytes) -> None:
    options = bearer("token-of-narrow")
    for call in (
        lambda: plain.do_get(flight.Ticket(ticket), options),
        lambda: plain.get_flight_info(flight.FlightDescriptor.for_command(ticket), options),
        lambda: list(plain.list_flights(b"transactions", options)),
    ):
        with pytest.raises(flight.FlightUnauthorizedError) as caught:
            call()
        told = payload(caught.value)
        assert (told["code"], told["exit_code"]) == ("PermissionDeniedError", 5)
        assert told["message"] == "narrow may not read transactions, only digits, ledgers"
    with pytest.raises(pa.ArrowException, match="narrow may not read transactions"):
        plain.get_schema(flight.FlightDescriptor.for_command(ticket), options)


@pytest.mark.parametrize(
    ("ledgers", "asked"),
    [
        (":99:200", "ledgers 99 to 200"),
        (":100:201", "ledgers 100 to 201"),
        (":1:5", "ledgers 1 to 5"),
        (":500:600", "ledgers 500 to 600"),
        (":100:", "ledgers from 100 without an end"),
        ("", "ledgers from 1000 without an end"),
    ],
)
def test_ledgers_out_of_scope_are_refused(service: Service, ledgers: str, asked: str) -> None:
    with as_client(service, "narrow") as client:
        with pytest.raises(PermissionDeniedError, match=f"narrow may not read {asked}, only ledgers 100 to 200"):
            next(client.stream(f"numbers{ledgers}"))
        if ledgers:
            with pytest.raises(PermissionDeniedError, match="only ledgers 100 to 200"):
                client.plan(StreamRequest.parse(f"numbers{ledgers}"))


def test_the_scope_itself_is_open(service: Service) -> None:
    with as_client(service, "narrow") as client:
        assert client.read_table("numbers:100:200").num_rows == 202
        assert client.plan(StreamRequest("numbers", 100, 200)).total_records == -1


# --- basic login


def test_a_login_gives_a_token(service: Service, plain: flight.FlightClient) -> None:
    header = plain.authenticate_basic_token("bob", PASSWORD)
    assert header[0] == b"authorization"
    table = plain.do_get(flight.Ticket(b"numbers:1:10"), flight.FlightCallOptions(headers=[header])).read_all()
    assert table.num_rows == 20
    again = plain.authenticate_basic_token("bob", PASSWORD)
    assert again != header


@pytest.mark.parametrize(
    ("name", "password"),
    [("bob", "wrong password"), ("bob", ""), ("", ""), ("nobody", PASSWORD), ("alice", "token-of-alice"),
     ("bob", "x" * 2000), ("bob:x", PASSWORD)],
)  # fmt: skip
def test_wrong_logins_are_refused(plain: flight.FlightClient, name: str, password: str) -> None:
    with pytest.raises(flight.FlightUnauthenticatedError, match=r"name or password|needs a name|must be 'Basic"):
        plain.authenticate_basic_token(name, password)


def test_a_login_is_over_after_its_time(plain: flight.FlightClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSION_SECONDS", 0.0)
    header = plain.authenticate_basic_token("bob", PASSWORD)
    with pytest.raises(flight.FlightUnauthenticatedError, match="not valid here"):
        CALLS["health"](plain, flight.FlightCallOptions(headers=[header]))


def test_the_oldest_of_too_many_logins_ends() -> None:
    known, hash_ = sessions.Sessions(), PasswordHash(2, 1, 1, b"s" * 16, b"k" * 32)
    grant, other = Grant("bob", password_scrypt=hash_), Grant("eve", password_scrypt=hash_)
    tokens = [known.begin(other, hash_), *(known.begin(grant, hash_) for _ in range(sessions.MAX_SESSIONS + 2))]
    alive = [known.of_token(token) is not None for token in tokens]
    assert alive == [True, False, False, *[True] * sessions.MAX_SESSIONS]


def test_guessing_passwords_is_slowed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOGIN_TRIES", 2.0)
    clients = ClientsFile(tmp_path / "clients.json")
    clients.add("bob", password_scrypt=str(PasswordHash.of(PASSWORD)))
    with serving(auth_file=clients.path) as service, flight.FlightClient(service.location) as client:
        header = client.authenticate_basic_token("bob", PASSWORD)
        for _ in range(2):
            with pytest.raises(flight.FlightUnauthenticatedError):
                client.authenticate_basic_token("bob", "a guess")
        with pytest.raises(flight.FlightUnavailableError, match="too many wrong logins") as caught:
            client.authenticate_basic_token("bob", PASSWORD)
        assert 0 < payload(caught.value)["retry_after"] <= 6
        assert CALLS["health"](client, flight.FlightCallOptions(headers=[header]))


# --- changes of the file, while the server runs


def test_a_change_of_the_file_is_in_force_at_once(tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    clients.add("bob", password_scrypt=str(PasswordHash.of(PASSWORD)))
    with serving(auth_file=clients.path) as service, flight.FlightClient(service.location) as plain:

        def enters(options: flight.FlightCallOptions) -> bool:
            try:
                return bool(CALLS["health"](plain, options))
            except flight.FlightUnauthenticatedError:
                return False

        login = flight.FlightCallOptions(headers=[plain.authenticate_basic_token("bob", PASSWORD)])
        assert enters(login)
        token = bearer(clients.add("carol"))
        wait_until(lambda: enters(token), 2)
        assert enters(login)
        clients.remove("carol")
        wait_until(lambda: not enters(token), 2)
        clients.add("bob", password_scrypt=str(PasswordHash.of("another password")))
        wait_until(lambda: not enters(login), 2)
        clients.add("carol", expires=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
        wait_until(lambda: enters(token), 2)


def test_a_broken_file_changes_nothing_but_is_told_loudly(tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    token = clients.add("alice")
    with serving(auth_file=clients.path) as service, Client(service.location, token=token) as client:
        assert client.health()["auth_problem"] is None
        with capture_logs() as logs:
            clients.write('{"version": 1, "clients": [')
            wait_until(lambda: client.health()["auth_problem"], 2)
        assert [entry["log_level"] for entry in logs if entry["event"].startswith("the changed file")] == ["error"]
        assert "not JSON" in client.health()["auth_problem"]
        clients.path.unlink()
        wait_until(lambda: "cannot read" in client.health()["auth_problem"], 2)
        clients.write()
        wait_until(lambda: client.health()["auth_problem"] is None, 2)


# --- beyond this machine


def test_tokens_do_not_travel_in_the_clear(tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    with pytest.raises(InvalidRequestError, match=r"would travel to 0.0.0.0 unencrypted: give --tls-cert"):
        ServerConfig(host="0.0.0.0", auth_file=clients.path)
    assert ServerConfig(host="0.0.0.0", auth_file=clients.path, insecure_auth=True).insecure_auth
    assert ServerConfig(host="127.0.0.1", auth_file=clients.path).loopback_only


@pytest.mark.parametrize("closed", [False, True])
def test_a_server_that_is_open_to_all_says_so_loudly(tmp_path: Path, closed: bool) -> None:
    settings: dict[str, Any] = {"host": "0.0.0.0", "health_host": "127.0.0.1"}
    if closed:
        settings |= {"auth_file": ClientsFile(tmp_path / "clients.json").path, "insecure_auth": True}
    with capture_logs() as logs, serving(**settings):
        pass
    [warning] = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert ("ANYONE who reaches this address" in warning) is not closed
    assert ("tokens travel unencrypted" in warning) is closed


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    clients.path.chmod(0o644)
    with capture_logs() as logs, serving(auth_file=clients.path):
        pass
    assert any("every user of this machine" in entry["event"] for entry in logs if entry["log_level"] == "warning")


def test_who_takes_tls_away_gets_no_token(tmp_path: Path) -> None:
    """Somebody in between answers in place of the server, without TLS, and notes what comes."""
    authority, came = Authority(tmp_path), bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    came.extend(connection.recv(1 << 16))  # first: the client hangs up at what comes back
                    connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # the settings that begin HTTP/2

        threading.Thread(target=answer, daemon=True).start()
        address = f"grpc+tls://127.0.0.1:{listener.getsockname()[1]}"
        with (
            Client(address, token="s3cret", tls_roots=authority.own.cert.read_bytes(), retry=ONCE) as client,
            pytest.raises(UnavailableError, match="it does not speak TLS"),
        ):
            client.health()
        listener.shutdown(socket.SHUT_RDWR)
    assert came
    assert b"s3cret" not in came


# --- nothing secret


def test_nothing_secret_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    token = clients.add("alice")
    clients.add("bob", password_scrypt=str(PasswordHash.of(PASSWORD)))
    secrets = [token, PASSWORD, "token-of-mallory", "a guess", clients.entries["alice"]["token_sha256"],
               clients.entries["bob"]["password_scrypt"].rpartition(":")[2]]  # fmt: skip
    with caplog.at_level(logging.DEBUG), capture_logs() as logs, serving(auth_file=clients.path) as service:
        with flight.FlightClient(service.location) as plain:
            secrets.append(plain.authenticate_basic_token("bob", PASSWORD)[1].decode().removeprefix("Bearer "))
            for wrong in (bearer("token-of-mallory"), bearer(secrets[-1] + "x")):
                with pytest.raises(flight.FlightUnauthenticatedError):
                    CALLS["health"](plain, wrong)
            with pytest.raises(flight.FlightUnauthenticatedError):
                plain.authenticate_basic_token("bob", "a guess")
        with Client(service.location, token=token) as client:
            client.read_table("numbers:1:10")
            report = json.dumps(client.health())
            clients.entries["alice"]["token_sha256"] = clients.entries["alice"]["token_sha256"].upper()
            clients.write()
            wait_until(lambda: client.health()["auth_problem"], 2)
            report += json.dumps(client.health())
    out, err = capfd.readouterr()
    said = repr(logs) + caplog.text + out + err + report
    assert "alice" in said  # who it was is logged
    assert "refused" in said
    for secret in secrets:
        assert secret not in said
        assert base64.b64encode(secret.encode()).decode() not in said
