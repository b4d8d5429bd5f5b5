"""The tab key in a real bash; zsh and fish read their scripts."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stellar_arrow_client.cli import command
from stellar_arrow_client.completion import SHELLS, installed_commands
from tests.support.serving import serving

BIN = Path(sys.executable).parent

requires_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


class Terminal:
    """An interactive bash that has read the script."""

    def __init__(self) -> None:
        self._process, self._tty = pty.fork()
        if self._process == 0:
            termios.tcsetwinsize(0, (50, 300))
            environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb", "HOME": "/nonexistent"}
            os.execve(shutil.which("bash") or "", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.type("bind 'set bell-style none' 'set enable-bracketed-paste off'\n")
        self.type("bind 'set completion-query-items 0'; bind 'set page-completions off'\n")
        self.type('eval "$(stellar-arrow completion bash)"; echo re""ady\n')
        self.wait_for("ready\r\n")

    def type(self, text: str) -> None:
        os.write(self._tty, text.encode())

    def wait_for(self, text: str, timeout: float = 30) -> str:
        """All that came up to this text."""
        seen, deadline = "", time.monotonic() + timeout
        while text not in seen:
            assert time.monotonic() < deadline, f"{text!r} did not come, but {seen!r}"
            if select.select([self._tty], [], [], 0.1)[0]:
                seen += os.read(self._tty, 4096).decode()
        return seen

    def line(self, begun: str, completed: str) -> None:
        """Type the beginning of a line and the tab key; the line must become that, and is taken back."""
        self.type(f"{begun}\t")
        self.wait_for(completed)
        self.type("\x15")

    def choices(self, begun: str, *offered: str) -> None:
        """The same where the tab key, pressed twice, offers several words."""
        self.type(f"{begun}\t\t")
        seen = self.wait_for(offered[-1])
        assert all(word in seen for word in offered), seen
        self.type("\x15")

    def close(self) -> None:
        os.close(self._tty)
        os.waitpid(self._process, 0)


@pytest.fixture(scope="module")
def bash() -> Iterator[Terminal]:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_commands_options_and_choices(bash: Terminal) -> None:
    bash.line("stellar-arrow-source doc", "doctor ")
    bash.line("stellar-arrow-source config ex", "example ")
    bash.line("stellar-arrow-source --drain", "--drain-seconds ")
    bash.line("stellar-arrow-source --log-level w", "warning ")
    bash.line("stellar-ledger-source ver", "verify ")


def test_commands_beside_another(bash: Terminal) -> None:
    bash.choices("parquet-consumer ", "gaps", "info", "optimize", "prune", "vacuum", "verify")
    bash.line("parquet-consumer verify --log-f", "--log-format ")
    bash.line("kafka-consumer sch", "schema ")
    bash.line("kafka-consumer schema --enc", "--encoding ")
    bash.line("kafka-consumer schema localhost:1 out --encoding av", "avro ")
    bash.line("elasticsearch-consumer dash", "dashboard ")
    bash.line("elasticsearch-consumer --stream payments dash", "dash")


def test_endpoints(bash: Terminal) -> None:
    bash.line("stellar-arrow-source --source synth", "synthetic://")
    bash.choices("stellar-arrow-source --live g", "grpc://", "grpcs://", "gs://")
    bash.line("stellar-ledger-source verify syn", "synthetic://")


def test_what_comes_after_an_endpoint_with_colons(bash: Terminal) -> None:
    bash.line("stellar-arrow-source --source grpc://localhost:1 --drain", "--drain-seconds ")
    bash.line("stellar-arrow-source --source=grpc://localhost:1 --source=synth", "synthetic://")
    bash.choices("stellar-arrow-source --source rpc+", "rpc+https://")


def test_streams_and_columns_of_the_catalog(bash: Terminal) -> None:
    bash.line("stellar-arrow-source schema pay", "payments ")
    bash.line("stellar-arrow-source head payments --columns ledger_sequence,transaction_id", "transaction_id ")
    bash.line("stellar-arrow-source token new me --stream ledgers", "ledgers ")


def test_columns_that_a_server_tells(bash: Terminal) -> None:
    with serving() as service:
        address = service.location.removeprefix("grpc://")
        bash.line(f"parquet-consumer {address} out --stream numbers --columns te", "text ")


def test_a_server_that_is_away_completes_nothing(bash: Terminal) -> None:
    began = time.monotonic()
    bash.line("parquet-consumer localhost:1 out --stream numbers --columns te", "te")
    bash.line("parquet-consumer localhost:1 out --prog", "--progress ")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_every_installed_command_and_are_read(shell: str) -> None:
    result = CliRunner().invoke(command, ["completion", shell])
    assert result.exit_code == 0
    assert {"stellar-arrow", "stellar-arrow-source", "stellar-ledger-source"} <= set(installed_commands())
    for name in installed_commands():
        assert name in result.stdout
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    before = "autoload -Uz compinit && compinit -u -D\n" if shell == "zsh" else ""
    done = subprocess.run([program], input=before + result.stdout, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_shells_are_refused() -> None:
    result = CliRunner().invoke(command, ["completion", "bsh"])
    assert result.exit_code == 2
    assert "did you mean 'bash'?" in result.stderr
