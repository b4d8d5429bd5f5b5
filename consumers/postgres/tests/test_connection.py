"""Reaching the database: libpq's settings, TLS, credentials, and what is said when it fails."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from consumers.postgres.tests.support import Command, Reader
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.clients import Authority
from tests.support.postgres import PostgresServer

PASSWORD = "p%w' \\s3cret"
RANGE = (100, 110, "--stream", "samples")


class Guarded(NamedTuple):
    """A server that wants TLS and a password of everybody but its superuser."""

    server: PostgresServer
    roots: Path
    other_roots: Path


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        here = Path(folder)
        here.chmod(0o755)
        certificates = here / "certificates"
        certificates.mkdir()
        authority = Authority(certificates)
        made = authority.sign("database")
        other = Authority(certificates, "other").own
        server = PostgresServer(here, ["ssl = on"])
        for source, name in ((made.cert, "server.crt"), (made.key, "server.key")):
            shutil.copy(source, server.folder / name)
            server.give(server.folder / name)
        rules = "host all postgres 127.0.0.1/32 trust\nhostssl all alice,guest 127.0.0.1/32 scram-sha-256\n"
        (server.folder / "pg_hba.conf").write_text(rules)
        server.start()
        try:
            with psycopg.connect(server.url, autocommit=True) as connection:
                secret = PASSWORD.replace("'", "''")
                connection.execute(f"CREATE ROLE alice LOGIN PASSWORD '{secret}'")  # type: ignore[call-overload]
                connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
                connection.execute("GRANT CREATE ON DATABASE postgres TO alice")
            yield Guarded(server, authority.own.cert, other.cert)
        finally:
            server.stop("immediate")


@pytest.fixture
def settings(command: Command, guarded: Guarded) -> dict[str, str]:
    """The environment of a user who is let in; ``postgresql://`` means all of it."""
    command.env = {
        "PGHOST": "localhost",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(guarded.server.port),
        "PGDATABASE": "postgres",
        "PGUSER": "alice",
        "PGPASSWORD": PASSWORD,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(guarded.roots),
    }
    command.url = "postgresql://"
    return command.env


def test_environment_with_verified_tls(command, settings, server: FakeServer, guarded: Guarded) -> None:
    command(server.address, *RANGE)
    Reader(guarded.server.url, command.schema).check("samples", sample_table(100, 110))


def test_service_and_password_files(command, settings, server: FakeServer, guarded: Guarded, tmp_path: Path) -> None:
    passwords, services = tmp_path / "passwords", tmp_path / "services.conf"
    escaped = PASSWORD.replace("\\", "\\\\")
    passwords.write_text(f"localhost:{guarded.server.port}:postgres:alice:{escaped}\n")
    passwords.chmod(0o600)
    names = ("host", "hostaddr", "port", "dbname", "user", "sslmode", "sslrootcert")
    values = [settings[name] for name in settings if name != "PGPASSWORD"]
    lines = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    services.write_text("\n".join(["[stellar]", *lines]) + "\n")
    command.env = {"PGSERVICEFILE": str(services), "PGPASSFILE": str(passwords)}
    command(server.address, *RANGE, url="service=stellar")
    Reader(guarded.server.url, command.schema).check("samples", sample_table(100, 110))


def test_usual_settings_of_others(command, reader, server: FakeServer) -> None:
    """What is usual for a user or a database neither changes a value nor stops the run."""
    usual = {
        "DateStyle": "German",
        "TimeZone": "Asia/Kathmandu",
        "client_encoding": "LATIN1",
        "default_transaction_isolation": "serializable",
        "statement_timeout": "50",
        "idle_in_transaction_session_timeout": "50",
        "search_path": "nowhere",
        "bytea_output": "escape",
        "synchronous_commit": "off",
    }
    command.env = {
        "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in usual.items()),
        "PGCLIENTENCODING": "LATIN1",
    }
    server.ledgers_per_batch, server.delay = 5, 0.02
    command(server.address, 100, 399, *RANGE[2:], "--writers", 3, "--commit-seconds", 0.2)
    reader.check("samples", sample_table(100, 399))


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"PGPASSWORD": "wrong-secret"}, 5, "password authentication failed"),
        ({"PGSSLMODE": "disable", "PGSSLROOTCERT": ""}, 5, "no pg_hba.conf entry"),
        ({"PGSSLROOTCERT": "other"}, 5, "certificate verify failed"),
        ({"PGHOST": "example.org"}, 5, "does not match host name"),
        ({"PGUSER": "guest", "PGPASSWORD": "guest"}, 5, "permission denied for database"),
        ({"PGDATABASE": "nowhere"}, 2, 'database "nowhere" does not exist'),
        ({"PGSSLMODE": "quite"}, 2, "sslmode"),
    ],
)
def test_refusals(command, settings, guarded: Guarded, server: FakeServer, changes, code, sentence) -> None:
    settings.update(changes)
    if changes.get("PGSSLROOTCERT") == "other":
        settings["PGSSLROOTCERT"] = str(guarded.other_roots)
    said = command(server.address, *RANGE, code=code).stderr
    assert sentence in said
    assert settings["PGPASSWORD"] not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:s3cr%zzet@localhost/x",
        "postgresql://alice:s3cr@et@localhost/x",
        "postgresql://alice:s3cret@localhost:port/x",
        "postgresql://alice:s3cret@[/x",
        "host=localhost password=s3cret nonsense=1",
        "host=localhost password='s3cret",
    ],
)
def test_connection_strings_that_are_none(command, server: FakeServer, url) -> None:
    """A string that cannot be read is not repeated: part of it may be a password."""
    said = command(server.address, *RANGE, url=url, code=2).stderr
    assert "s3cr" not in said
    assert "et@" not in said


def test_a_database_that_cannot_be_reached(command, server: FakeServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"postgresql://alice:s3cret@127.0.0.1:{silent.getsockname()[1]}/x"
        said = command(server.address, *RANGE, url=url, code=3).stderr
    assert "Connection refused" in said
    assert "s3cret" not in said


def test_another_writer_is_refused(command, reader, server: FakeServer, postgres: PostgresServer) -> None:
    """Also from another machine, and as long as a session of an earlier run is not decided."""
    kinds = {"samples": 0, "others": 1}
    command(server.address, 100, 110, "--stream", ",".join(kinds))
    arguments = {stream: (server.address, 100, 120, "--stream", stream) for stream in kinds}
    with psycopg.connect(postgres.url, autocommit=True) as other, ExitStack() as stack:
        for stream, kind in kinds.items():
            other.execute("SELECT pg_advisory_lock(hashtext(%s), %s)", (f"{reader.schema}.{stream}", kind))
        runs = {stream: stack.enter_context(command.start(*arguments[stream])) for stream in kinds}
        for stream, process in runs.items():
            _, said = process.communicate(timeout=120)
            assert process.returncode == 1, said
            assert f"another process is writing into the table {reader.schema}.{stream}" in said
    for stream in kinds:
        command(*arguments[stream])
        reader.check(stream, sample_table(100, 120, stream=stream))
