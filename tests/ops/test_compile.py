"""The command that compiles ahead of time, with streams that take no time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stellar_arrow_source.cli import command
from stellar_arrow_source.flight import backend, preparing
from stellar_arrow_source.flight.backend import Tables
from tests.support.serving import STREAMS, PlainDecoder, find

COMPILER = """
import pathlib, sys
ledger = sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "big"))
for line in sys.stdin.buffer:
    name = line.decode().strip()
    if name != "broken":
        (pathlib.Path(sys.argv[1]) / name).write_bytes(ledger)
    sys.stdout.write(f"{name}\\n")
    sys.stdout.flush()
"""


def compile_streams(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Result:
    def unprepared() -> list[str]:
        return [name for name in names if not (folder / name).exists()]

    tables = Tables(STREAMS, find, PlainDecoder, unprepared)  # type: ignore[arg-type]
    monkeypatch.setattr(backend, "ledger_tables", lambda: tables)
    monkeypatch.setattr(
        preparing.Preparation.__init__, "__defaults__", ((sys.executable, "-c", COMPILER, str(folder)),)
    )
    return CliRunner().invoke(command, ["compile"])


def test_all_streams_are_compiled_with_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_streams(tmp_path, monkeypatch, "numbers", "ledgers").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"numbers", "ledgers"}
    assert all(path.stat().st_size > 100 for path in tmp_path.iterdir())
    monkeypatch.setattr(preparing.Preparation, "_run", lambda *_: pytest.fail("there was nothing to do"))
    assert compile_streams(tmp_path, monkeypatch, "numbers", "ledgers").exit_code == 0


def test_what_cannot_be_kept_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compile_streams(tmp_path, monkeypatch, "numbers", "broken")
    assert result.exit_code == 1
    assert "1 decoders are not compiled" in result.stderr
