"""scripts/demo does all it promises and leaves nothing running; only the installation is left out here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.docs.blocks import ROOT
from tests.support import corpus

QUERY = (
    "SELECT date_trunc('day', ledger_close_time) AS day, asset_code, SUM(amount) AS daily_volume "
    "FROM '{}/*/*.parquet' WHERE successful = true GROUP BY 1, 2 ORDER BY 1, 2;"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the demo in it, where the environment of this test is found installed."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/demo", tmp_path / "scripts/demo")
    installer = tmp_path / "scripts/environment"
    installer.write_text("#!/bin/sh\nexit 0\n")
    installer.chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != "STELLAR_LEDGER_CORPUS"}
    return subprocess.run(
        [project / "scripts/demo", *arguments],
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def check(project: Path, done: subprocess.CompletedProcess[str], first: int, last: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    archive = project / "demo-archive"
    assert QUERY.format(archive) in done.stdout
    assert "daily_volume" in done.stdout.split(QUERY.format(archive))[1]
    for analysis in ("payment-volume", "high-value", "account-activity"):
        result = done.stdout.split("\n$ analytics-consumer 127.0.0.1:")[1:]
        [mine] = [part for part in result if part.split()[1] == analysis]
        assert f"ledgers {first} to {last}, {last - first + 1} of them" in mine
    assert f"The archive lies in {archive}\n" in done.stdout
    ledgers = pq.read_table(archive, columns=["ledger_sequence"])["ledger_sequence"].to_pylist()
    assert first <= min(ledgers) <= max(ledgers) <= last
    for port in set(re.findall(r"127\.0\.0\.1:\d+", done.stdout)):
        assert not _is_served(port), f"something still listens at {port}"


def test_synthetic_ledgers(project: Path) -> None:
    check(project, run(project), 2, 501)


@corpus.requires_corpus
def test_the_store_of_the_corpus(project: Path) -> None:
    check(project, run(project, STELLAR_LEDGER_CORPUS=str(corpus.ROOT)), 1_410_048, 1_410_303)


def test_a_source_and_a_range(project: Path) -> None:
    check(project, run(project, "synthetic://?start=1000", "1100", "1150"), 1100, 1150)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "'nonsense' is no endpoint"),
        (["/no/such/folder"], "/no/such/folder"),
        (["127.0.0.1:1"], "127.0.0.1:1 is not available"),
        (["synthetic://", "5"], "ENDPOINT START END"),
        (["synthetic://?ledgers=3", "1000000000", "1"], "start 1000000000 is after end 1"),
    ],
)
def test_what_cannot_be_done_is_said(project: Path, arguments: list[str], complaint: str) -> None:
    done = run(project, *arguments)
    assert done.returncode > 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_corpus_without_its_store_is_said(project: Path) -> None:
    done = run(project, STELLAR_LEDGER_CORPUS=str(project))
    assert done.returncode == 1
    assert f"there is no store {project}/testnet-2022" in done.stderr


def test_an_interrupt_stops_everything(project: Path) -> None:
    process = subprocess.Popen(
        [project / "scripts/demo", "synthetic://?ledgers=5", "2", "1000"],  # the last ones never come
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("$ parquet-consumer"):
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    said += process.stdout.read()
    assert process.wait(timeout=60) == 130, said
    addresses = set(re.findall(r"127\.0\.0\.1:\d+", said))
    assert len(addresses) == 2
    assert not any(map(_is_served, addresses))


def _is_served(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
