"""The unit of systemd: what systemd says of it, and that the server speaks to systemd as it promises."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from stellar_arrow_client.errors import ExitCode
from stellar_arrow_source.cli import command
from stellar_arrow_source.config import ServerConfig
from tests.support.server_process import FREE_PORTS, Server

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"
UNIT = FOLDER / "stellar-arrow-source.service"
PROGRAM = "/opt/stellar-arrow/bin/stellar-arrow-source"
MOST_EXPOSED = 20  # of 100, as `systemd-analyze security` rates units

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze of systemd is not installed")


def setting(name: str) -> str:
    """The value of a line of the unit."""
    [value] = re.findall(rf"(?m)^{name}=(.*)$", UNIT.read_text())
    return str(value)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the program of these tests, for systemd looks whether it is there."""
    made = tmp_path / UNIT.name
    program = Path(sys.executable).parent / "stellar-arrow-source"
    text = UNIT.read_text()
    assert text.count(PROGRAM) == 1
    made.write_text(text.replace(PROGRAM, str(program)))
    return made


@needs_systemd
def test_systemd_finds_no_fault(unit: Path) -> None:
    assert ANALYZE is not None
    done = subprocess.run([ANALYZE, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClok=yes"))
    done = subprocess.run([ANALYZE, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert "ProtectClok" in done.stderr


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd does not rate units that are not installed")
    assert done.returncode == 0, done.stdout


def test_the_unit_fits_the_server() -> None:
    assert float(setting("TimeoutStopSec")) >= ServerConfig().drain_seconds + 10
    codes = {int(code) for code in setting("RestartPreventExitStatus").split()}
    assert codes == {ExitCode.USAGE, ExitCode.INTEGRITY}
    known = {"STELLAR_ARROW_CONFIG", "NUMBA_CACHE_DIR"}
    for param in command.params:
        if isinstance(param, click.Option):
            known.update([param.envvar] if isinstance(param.envvar, str) else param.envvar or ())
    named = re.findall(r"(?m)^Environment=([A-Z_]+)=", UNIT.read_text())
    named += re.findall(r"(?m)^#?([A-Z_]+)=", (FOLDER / "source.env").read_text())
    assert {name for name in named if not name.startswith(("AWS_", "OTEL_"))} <= known


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_server_tells_systemd_when_it_serves_and_when_it_ends(tmp_path: Path, abstract: bool) -> None:
    address = f"\0stellar-arrow-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(60)
        server = Server(
            [*FREE_PORTS, "--mock-data"], {"NOTIFY_SOCKET": address.replace("\0", "@")}, tmp_path / "server.log"
        )
        try:
            assert listener.recv(1000).decode().splitlines()[0] == "READY=1"
            assert server.page("/health")[0] == 200
            server.process.send_signal(signal.SIGTERM)
            assert listener.recv(1000).decode().splitlines()[0] == "STOPPING=1"
            assert server.process.wait(30) == 0
        finally:
            server.process.kill()
            server.process.wait()
