"""What doctor finds on a healthy machine, and in everything that can be wrong."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from stellar_arrow_source.cli import command
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.doctor import access, machine, source
from stellar_arrow_source.doctor.findings import Finding, look
from stellar_arrow_source.ledgers.header import ledger_close_time
from stellar_arrow_source.ledgers.source import Bounds, RawLedger
from stellar_arrow_source.networks import KNOWN_NETWORKS
from tests.ledgers.stores import Store, made
from tests.support.clients import Authority, ClientsFile

FREE = ["--port", "0", "--health-port", "0"]


def doctor(*args: str, env: Mapping[str, str] | None = None, code: int = 0) -> dict[str, dict[str, str]]:
    """The report as JSON: check → its (last) finding."""
    result = CliRunner().invoke(command, [*FREE, *args, "doctor", "--json"], env=dict(env or {}))
    assert result.exit_code == code, result.output
    return {finding["check"]: finding for finding in json.loads(result.stdout)}


def found(check: object, **settings: object) -> dict[str, Finding]:
    config = ServerConfig(**{"port": 0, "health_port": 0, **settings})  # type: ignore[arg-type]
    return {finding.check: finding for finding in look(check, "broken off", config)}  # type: ignore[arg-type]


def test_a_healthy_server_has_no_failure() -> None:
    report = doctor("--mock-data")
    assert {finding["status"] for finding in report.values()} <= {"ok", "warn"}
    assert {"Python", "libraries", "memory", "source", "newest ledger", "network", "port of Flight"} <= set(report)
    assert "hashes" in report["newest ledger"]["message"]
    assert KNOWN_NETWORKS["synthetic"] in report["network"]["message"]
    assert all(finding["fix"] for finding in report.values() if finding["status"] == "warn")


def test_the_report_for_people() -> None:
    result = CliRunner().invoke(command, [*FREE, "--mock-data", "--host", "0.0.0.0", "doctor"])
    assert result.exit_code == 0
    assert "warn  access: anyone who reaches 0.0.0.0 can read all streams\n      → give --auth-file" in result.stdout


def test_a_source_that_is_away_fails() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        report = doctor("--source", endpoint, code=1)
    assert report["source"]["status"] == "fail"
    assert endpoint in report["source"]["message"]


def test_a_store_with_ledgers_of_another_network_fails(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for sequence, ledger in enumerate(made(2, 4), 2):
        store.write(sequence, (ledger,))
    report = doctor("--source", str(tmp_path / "store"))
    assert report["source"]["message"].startswith(f"{tmp_path / 'store'} has ledgers 2 to 4")
    report = doctor("--source", str(tmp_path / "store"), "--network", "pubnet", code=1)
    assert KNOWN_NETWORKS["pubnet"] in report["source"]["message"]


class OneLedger:
    """A source with one ledger."""

    endpoint = "one"
    network_passphrase = None

    def __init__(self, xdr: bytes, answers: threading.Event | None = None) -> None:
        self.xdr, self.answers = xdr, answers

    def bounds(self) -> Bounds:
        if self.answers is not None:
            self.answers.wait(60)
        return Bounds(2, 2)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        yield RawLedger(2, self.xdr)

    def close(self) -> None:
        pass


def test_a_damaged_ledger_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    [xdr] = made(2, 2)
    changed = bytearray(xdr)
    changed[24] ^= 1  # within the hash of the ledger
    monkeypatch.setattr(source, "open_source", lambda *_, **__: OneLedger(bytes(changed)))
    report = found(source.source)
    assert report["source"].status == "fail"
    assert "ledger 2: the ledger hash should be" in report["source"].message


def test_each_of_several_equal_sources_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ANSWER_SECONDS", 20.0)
    Store(tmp_path / "store").write(2, made(2, 4))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = f"127.0.0.1:{silent.getsockname()[1]}"
        endpoints = f"{tmp_path / 'store'}, {tmp_path / 'absent'}, {hung}"
        told = list(source.source(ServerConfig(source_endpoint=endpoints)))
    assert [finding.status for finding in told if finding.check == "source"] == ["ok"]
    equal = [finding for finding in told if finding.check == "equal source"]
    assert [finding.status for finding in equal] == ["ok", "warn", "warn"]
    assert equal[0].message.endswith("has ledgers up to 4")
    assert "absent" in equal[1].message
    assert equal[2].message == f"{hung} does not answer"


def test_a_source_that_hangs_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(source, "open_source", lambda *_, **__: OneLedger(b"", answers))
    monkeypatch.setattr(source, "ANSWER_SECONDS", 0.2)
    report = found(source.source)
    answers.set()
    assert report["source"].status == "fail"
    assert "has not answered" in report["source"].message


def test_a_pipe_is_not_read_from(tmp_path: Path) -> None:
    pipe = tmp_path / "meta.pipe"
    os.mkfifo(pipe)
    assert found(source.source, source_endpoint=f"core://{pipe}")["source"].status == "warn"


@pytest.mark.parametrize(
    ("age", "endpoint", "status"),
    [
        (-60, "localhost:1", "fail"),
        (3, "localhost:1", "ok"),
        (600, "localhost:1", "warn"),
        (600, "file:///data", "ok"),
        (600, "/data/pubnet", "ok"),
        (600, "rpc+https://example.org", "warn"),
        (600, "core:///data/meta.xdr", "warn"),
    ],
)
def test_the_clock_is_compared_with_the_tip(
    age: int, endpoint: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [xdr] = made(2, 2)
    monkeypatch.setattr(time, "time", lambda: ledger_close_time(xdr) + age)
    finding = source._clock(RawLedger(2, xdr), ServerConfig(source_endpoint=endpoint))
    assert finding.status == status
    assert str(abs(age)) in finding.message


def test_a_port_in_use_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        report = doctor("--mock-data", "--port", str(port), code=1)
        assert report["port of Flight"]["status"] == "fail"
        assert "ARROW_PORT" in report["port of Flight"]["message"]
        report = doctor("--mock-data", env={"ARROW_WORKERS": "2", "ARROW_WORKER_PORT": str(port)}, code=1)
        assert report["port of worker 1"]["status"] == "fail"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("days", "status", "says"), [(-1, "fail", "expired"), (2, "warn", "days from now"), (400, "ok", "valid until")]
)
def test_certificates_that_expire(authority: Authority, days: int, status: str, says: str) -> None:
    server = authority.sign(f"server{days}", days=days)
    server.key.chmod(0o600)
    report = found(access.certificates, tls_cert=server.cert, tls_key=server.key)
    assert report["TLS"].status == status
    assert says in report["TLS"].message
    assert set(report) == {"TLS"}


def test_the_key_of_another_certificate_and_one_that_all_can_read(authority: Authority) -> None:
    one, other = authority.sign("one", days=400), authority.sign("other", days=400)
    report = found(access.certificates, tls_cert=one.cert, tls_key=other.key)
    assert report["broken off"].status == "fail"
    assert str(other.key) in report["broken off"].message
    one.key.chmod(0o644)
    report = found(access.certificates, tls_cert=one.cert, tls_key=one.key, tls_client_ca=authority.own.cert)
    assert report["key of TLS"].status == "warn"
    assert report["client authorities"].status == "warn"  # the authority of these tests lasts two days


def test_the_file_of_clients(tmp_path: Path) -> None:
    file = ClientsFile(tmp_path / "clients.json")
    assert found(access.clients) == {}
    assert "nobody" in found(access.clients, auth_file=file.path)["file of clients"].message
    file.add("alice")
    assert found(access.clients, auth_file=file.path)["file of clients"].status == "ok"
    file.add("bob", expires="2020-01-01T00:00:00Z")
    assert "bob" in found(access.clients, auth_file=file.path)["file of clients"].message
    file.write("{")
    assert found(access.clients, auth_file=file.path)["broken off"].status == "fail"
    file.write()
    file.path.chmod(0o644)
    found_open = list(look(access.clients, "x", ServerConfig(auth_file=file.path)))
    assert any("chmod" in (finding.fix or "") for finding in found_open)


def test_the_ledger_cache(tmp_path: Path) -> None:
    assert found(machine.ledger_cache) == {}
    folder = tmp_path / "not" / "yet"
    assert found(machine.ledger_cache, ledger_cache=folder, ledger_cache_bytes=1 << 20)["ledger cache"].status == "ok"
    report = found(machine.ledger_cache, ledger_cache=folder, ledger_cache_bytes=1 << 60)
    assert report["ledger cache"].status == "warn"
    file = tmp_path / "file"
    file.touch()
    assert found(machine.ledger_cache, ledger_cache=file / "x")["ledger cache"].status == "fail"
    assert found(machine.ledger_cache, ledger_cache=Path("/proc/cache"))["ledger cache"].status == "fail"
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == [file]


def test_too_little_of_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{100 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{50 << 20}\n")
    assert found(machine.processors)["processors"].message.startswith("0.5 of")
    assert found(machine.processors)["processors"].status == "warn"
    assert found(machine.memory)["memory"].status == "fail"
    assert "52.4 MB available" in found(machine.memory)["memory"].message
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, 256))
    assert found(machine.open_files)["open files"].status == "warn"


def test_libraries_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.metadata, "requires", lambda _: ["click>=99", "nonesuch", "pytest>=99; extra == 'x'"])
    report = found(machine.versions)
    assert report["libraries"].status == "fail"
    assert "click" in report["libraries"].message
    assert "nonesuch is missing" in report["libraries"].message
    assert "pytest" not in report["libraries"].message


def test_code_that_is_not_compiled_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from stellar_arrow_source.xdr import code_cache

    monkeypatch.setattr(code_cache.numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(code_cache.numba.config, "DISABLE_JIT", 0)
    assert found(machine.kernels)["compiled code"].status == "warn"
    monkeypatch.setattr(code_cache.numba.config, "CACHE_DIR", "/proc/nowhere")
    assert found(machine.kernels)["compiled code"].status == "fail"
