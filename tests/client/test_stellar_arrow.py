"""The command ``stellar-arrow``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from stellar_arrow_client.cli import command
from stellar_arrow_client.discovery import InstalledConsumer, installed_consumers
from stellar_arrow_client.testing import FakeServer, sample_table

PROGRAM = Path(sys.executable).with_name("stellar-arrow")


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def on_a_terminal(*arguments: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen([PROGRAM, *arguments], stdout=theirs, env=os.environ | {"COLUMNS": "160"}) as process:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # the other side has closed the terminal
            pass
        assert process.wait(60) == 0
    os.close(ours)
    return shown.decode()


def distribution(folder: Path, name: str, entries: str) -> None:
    """What pip leaves of an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 2.5\nSummary: Sends [mail]\n")
    (info / "entry_points.txt").write_text(entries)


def test_consumers_of_the_repository_are_found() -> None:
    found = {record["command"]: record for record in map(json.loads, run("consumers").stdout.splitlines())}
    for name in ("parquet-consumer", "analytics-consumer", "ttp-processor"):
        assert found[name]["distribution"] == name
        assert found[name]["version"]
        assert found[name]["summary"]
        assert PROGRAM.with_name(name).exists(), "what is listed can be typed"


def test_a_table_on_a_terminal() -> None:
    shown = on_a_terminal("consumers")
    assert "summary" in shown
    assert "┃" in shown
    assert "parquet-consumer" in shown


def test_consumers_are_found_without_running_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "mail-consumer", "[stellar_arrow.consumers]\nmail-stellar = broken_module:command\n")
    distribution(tmp_path, "no-consumer", "[console_scripts]\nsomething = other:main\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = [consumer for consumer in installed_consumers() if consumer.distribution in ("mail-consumer", "no-consumer")]
    assert ours == [InstalledConsumer("mail-stellar", "mail-consumer", "2.5", "Sends [mail]")]


def test_no_consumer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("stellar_arrow_client.cli.installed_consumers", list)
    with pytest.raises(SystemExit) as left:
        command.main(["consumers"])
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (0, "")
    assert "stellar-arrow new-consumer NAME" in err


def test_streams_of_a_server() -> None:
    with FakeServer({name: sample_table(1, 5, stream=name) for name in ("samples", "more")}, 1, 5) as server:
        records = list(map(json.loads, run("streams", server.address).stdout.splitlines()))
        shown = on_a_terminal("streams", server.address)
    assert records == [
        {"name": name, "aliases": [], "description": f"rows of {name}", "schema_version": 1}
        for name in ("samples", "more")
    ]
    assert "rows of samples" in shown


def test_a_server_that_is_not_there() -> None:
    assert "cannot reach" in run("streams", "127.0.0.1:1", code=3).stderr


def test_every_option_is_explained() -> None:
    for name, sub in command.commands.items():
        for parameter in sub.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_neither_numba_nor_pyarrow_is_loaded() -> None:
    """What needs no server starts fast; that pytest loads the plugin costs a run nothing."""
    code = (
        "import sys, stellar_arrow_client.cli, stellar_arrow_client.scaffold, stellar_arrow_client.testing.plugin; "
        "print({'numba', 'pyarrow', 'stellar_sdk', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
