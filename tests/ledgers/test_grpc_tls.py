"""Ledgers over gRPC with TLS: real certificates, and each way in which they do not fit is one plain sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledger_cli import command
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.service import RawLedgerServer
from stellar_arrow_source.ledgers.source import RawLedger, RetryPolicy
from stellar_arrow_source.ledgers.synthetic import SyntheticSource
from stellar_arrow_source.tls import SourceTls, read_authorities, read_identity
from tests.faults.test_source_processes import start
from tests.ledgers.stores import NEVER, made
from tests.support.clients import Authority, Certificate
from tests.support.programs import free_port

PATIENT = RetryPolicy(attempts=1000, initial=0.01, maximum=0.1)
"""Whoever waits for what cannot get better, waits for minutes."""


class Certificates(NamedTuple):
    ours: Authority
    others: Authority
    server: Certificate
    client: Certificate

    @property
    def trust(self) -> SourceTls:
        return SourceTls(ca=self.ours.own.cert)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ours = Authority(folder)
    return Certificates(ours, Authority(folder, "others"), ours.sign("server"), ours.sign("client"))


@contextmanager
def serving(server: Certificate | None = None, client_ca: Path | None = None) -> Iterator[str]:
    """``host:port`` of a server of synthetic ledgers."""
    with RawLedgerServer(
        SyntheticSource.from_endpoint("synthetic://?start=100&ledgers=40&transactions=2"),
        "127.0.0.1",
        0,
        identity=read_identity(*server) if server else None,
        client_ca=read_authorities(client_ca) if client_ca else None,
    ) as running:
        yield f"localhost:{running.port}"


def read(endpoint: str, tls: SourceTls | None = None) -> tuple[bytes, ...]:
    source = open_source(endpoint, tls=tls, retry=PATIENT)
    try:
        source.bounds()
        return tuple(bytes(ledger.xdr) for ledger in source.ledgers(100, 139, NEVER))
    finally:
        source.close()


def refusal(endpoint: str, tls: SourceTls | None = None) -> str:
    """The one sentence that both ways of asking give, at once."""
    source = open_source(endpoint, tls=tls, retry=PATIENT)
    with pytest.raises(SourceUnavailableError) as of_ledgers:
        next(iter(source.ledgers(100, None, NEVER)))
    with pytest.raises(SourceUnavailableError) as of_bounds:
        source.bounds()
    source.close()
    assert str(of_ledgers.value) == str(of_bounds.value)
    assert "\n" not in str(of_bounds.value)
    return str(of_bounds.value).removeprefix(f"no connection to the ledger source {endpoint}: ")


def test_ledgers_come_over_tls(certificates: Certificates) -> None:
    with serving(certificates.server) as where:
        assert read(f"grpcs://{where}", certificates.trust) == made(100, 139)


def test_the_stream_of_the_tip_comes_over_tls(certificates: Certificates) -> None:
    with serving(certificates.server) as where:
        stop = threading.Event()
        source = open_source(f"grpcs://{where}", tls=certificates.trust)
        ledgers = source.ledgers(138, None, stop)
        taken: list[RawLedger] = [next(ledgers), next(ledgers)]
        threading.Timer(0.3, stop.set).start()
        taken += ledgers
        source.close()
    assert [ledger.sequence for ledger in taken] == [138, 139]


def test_a_client_shows_its_certificate(certificates: Certificates) -> None:
    with serving(certificates.server, certificates.ours.own.cert) as where:
        shown = SourceTls(certificates.ours.own.cert, *certificates.client)
        assert read(f"grpcs://{where}", shown) == made(100, 139)


def test_without_the_certificate_asked_for(certificates: Certificates) -> None:
    with serving(certificates.server, certificates.ours.own.cert) as where:
        assert refusal(f"grpcs://{where}", certificates.trust) == (
            "it may ask for a certificate of its clients: give --source-tls-cert and --source-tls-key"
        )
        foreign = SourceTls(certificates.ours.own.cert, *certificates.others.sign("client"))
        assert refusal(f"grpcs://{where}", foreign).startswith("it may ask for another certificate of its clients")


def test_a_server_of_another_authority(certificates: Certificates) -> None:
    with serving(certificates.server) as where:
        for tls in (SourceTls(ca=certificates.others.own.cert), SourceTls()):
            assert refusal(f"grpcs://{where}", tls) == (
                "its certificate is not trusted (unable to get local issuer certificate): "
                "give its authority's with --source-tls-ca"
            )


def test_an_expired_certificate(certificates: Certificates) -> None:
    with serving(certificates.ours.sign("old", days=-1)) as where:
        assert refusal(f"grpcs://{where}", certificates.trust) == (
            "its certificate is not valid now (certificate has expired): have it renewed, or set this clock"
        )


def test_a_certificate_for_another_name(certificates: Certificates) -> None:
    with serving(certificates.ours.sign("other", names="DNS:ledgers.example")) as where:
        assert refusal(f"grpcs://{where}", certificates.trust) == (
            "Hostname mismatch, certificate is not valid for 'localhost': "
            "use the name it is for, or give that with --source-tls-name"
        )
        named = SourceTls(ca=certificates.ours.own.cert, name="ledgers.example")
        assert read(f"grpcs://{where}", named) == made(100, 139)


def test_a_client_without_tls_at_a_server_with(certificates: Certificates) -> None:
    with serving(certificates.server) as where:
        for endpoint in (f"grpc://{where}", where):
            assert refusal(endpoint) == f"it speaks TLS: write grpcs://{where}"


def test_a_client_with_tls_at_a_server_without(certificates: Certificates) -> None:
    with serving() as where:
        assert refusal(f"grpcs://{where}", certificates.trust) == f"it speaks no TLS: write grpc://{where}"


def test_a_server_that_is_away_is_waited_for(certificates: Certificates) -> None:
    """No connection at all is no matter of TLS."""
    source = open_source(
        f"grpcs://localhost:{free_port()}", tls=certificates.trust, retry=RetryPolicy(attempts=3, initial=0.01)
    )
    with pytest.raises(SourceUnavailableError, match=r"is not available .*: is it running there"):
        next(iter(source.ledgers(100, None, NEVER)))
    source.close()


def test_the_command_serves_and_reads_with_tls(certificates: Certificates) -> None:
    port = free_port()
    process = start(
        "synthetic://?start=100&ledgers=40&transactions=2", port,
        "--tls-cert", str(certificates.server.cert), "--tls-key", str(certificates.server.key),
        "--tls-client-ca", str(certificates.ours.own.cert),
    )  # fmt: skip
    environment = {
        "SOURCE_TLS_CA": str(certificates.ours.own.cert),
        "SOURCE_TLS_CERT": str(certificates.client.cert),
        "SOURCE_TLS_KEY": str(certificates.client.key),
    }
    arguments = ["verify", f"grpcs://localhost:{port}", "--start", "100", "--end", "139", "-q"]
    try:
        result = CliRunner().invoke(command, arguments, env=environment)
        assert result.exit_code == 0, result.stderr
        assert "verified 40 ledgers from 100 on" in result.stdout
        refused = CliRunner().invoke(command, [*arguments, "--source-tls-ca", str(certificates.others.own.cert)])
        assert refused.exit_code != 0
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_files_that_cannot_be_used(certificates: Certificates, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(InvalidRequestError, match=r"cannot use .*broken.pem as certificates of authorities"):
        open_source("grpcs://localhost:1", tls=SourceTls(ca=broken))
    mismatched = SourceTls(cert=certificates.client.cert, key=certificates.server.key)
    with pytest.raises(InvalidRequestError, match="the key that of the certificate"):
        open_source("grpcs://localhost:1", tls=mismatched)
    with pytest.raises(InvalidRequestError, match="needs both --source-tls-cert and --source-tls-key"):
        ServerConfig(source_tls_cert=certificates.client.cert)
    for half in (["--tls-cert", str(certificates.server.cert)], ["--tls-client-ca", str(certificates.ours.own.cert)]):
        result = CliRunner().invoke(command, ["serve", "synthetic://", *half])
        assert result.exit_code == 2 or isinstance(result.exception, InvalidRequestError)


def test_certificates_that_are_renewed_are_used_without_a_restart(certificates: Certificates, tmp_path: Path) -> None:
    """A source is asked for a year, a certificate lasts for weeks."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    strange = certificates.others.sign("client")
    with serving(certificates.server, certificates.ours.own.cert) as where:
        for old, new in ((strange.cert, cert), (strange.key, key)):
            new.write_bytes(old.read_bytes())
        source = open_source(
            f"grpcs://{where}", tls=SourceTls(certificates.ours.own.cert, cert, key), retry=RetryPolicy(attempts=2)
        )
        with pytest.raises(SourceUnavailableError, match="it may ask for another certificate"):
            source.bounds()
        cert.write_bytes(certificates.client.cert.read_bytes())
        with pytest.raises(SourceUnavailableError):  # the key is still that of the other one
            source.bounds()
        key.write_bytes(certificates.client.key.read_bytes())
        assert source.bounds().latest == 139
        assert tuple(bytes(ledger.xdr) for ledger in source.ledgers(100, 139, NEVER)) == made(100, 139)
        source.close()
