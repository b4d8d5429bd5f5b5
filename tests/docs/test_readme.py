"""What README.md tells a newcomer to type works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from stellar_arrow_client import Client
from stellar_arrow_client.errors import AuthenticationError
from tests.docs import blocks
from tests.docs.blocks import ROOT, Newcomer
from tests.ledgers.stores import Store, made
from tests.support.object_storage import requires_s3, s3_server

WAYS = {"demo", "installed", "background", "python", "shell", "sql", "store commands", "follow", "this"}


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_every_block_says_how_it_is_tested() -> None:
    untested = [block for block in blocks.blocks() if block.language and block.test not in WAYS]
    assert not untested
    assert {block.test for block in blocks.blocks() if block.language} == WAYS
    assert blocks.README.count("```") == 2 * len(blocks.blocks())


def test_demo_and_test_commands_are_there() -> None:
    [two_commands] = blocks.of("Try it", "demo")
    assert two_commands.splitlines()[1] == "stellar-arrow/scripts/demo"
    [test] = blocks.of("Tests", "this")
    for script in ("scripts/demo", test.strip(), ".ci/run"):
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be run"
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_what_is_installed_is_there() -> None:
    [install] = blocks.of("Install", "installed")
    *_, pip = install.splitlines()
    folders = shlex.split(pip)[3::2]
    names = ("parquet", "analytics", "ttp", "postgres", "kafka", "elasticsearch")
    assert folders == [".", *(f"consumers/{name}" for name in names)]
    for folder in folders:
        assert (ROOT / folder / "pyproject.toml").exists()
    commands = re.findall(r"`((?:stellar|parquet|postgres|kafka|elasticsearch|analytics|ttp)-[a-z-]+)`", blocks.README)
    assert len(set(commands)) == 9
    for command in commands:
        assert Path(sys.executable).with_name(command).exists(), f"{command} is not installed"


def test_first_rows(newcomer: Newcomer) -> None:
    [look] = blocks.of("First rows", "shell")
    rows = [json.loads(line) for line in newcomer.run(look).splitlines()]
    assert len(rows) == 5
    assert all(row["amount"] > 0 for row in rows)
    assert list(rows[0]) == ["ledger_sequence", "asset_code", "amount", "destination"]


def test_first_stream_archive_and_analysis(newcomer: Newcomer) -> None:
    [serve] = blocks.of("First stream in Python", "background")
    [ours, filtered, plain_flight] = blocks.of("First stream in Python", "python")
    [sql] = blocks.of("SQL and data frames", "python")
    [archive] = blocks.of("Archive and query", "shell")
    [query] = blocks.of("Archive and query", "sql")
    [analyse] = blocks.of("Live analytics", "shell")
    [serve_transfers] = blocks.of("Token transfers", "background")
    [count_transfers] = blocks.of("Token transfers", "python")
    [add_up] = blocks.of("Token transfers", "shell")
    with newcomer.running(serve):
        newcomer.wait_until_ready()
        said = newcomer.run(ours, sys.executable, "-c")
        assert said.startswith("ledgers 2 to ")
        assert 0 < int(newcomer.run(filtered, sys.executable, "-c")) < 1000
        assert int(newcomer.run(plain_flight, sys.executable, "-c")) > 100
        answered = newcomer.run(sql, sys.executable, "-c")
        pattern = newcomer.run(archive).strip()
        *_, final = newcomer.run(analyse).splitlines()
        with newcomer.running(serve_transfers):
            newcomer.wait_until_open("50051")
            transfers = int(newcomer.run(count_transfers, sys.executable, "-c"))
        header, *balances = newcomer.run(add_up).splitlines()
    chosen = [json.loads(line) for line in (newcomer.folder / "transfers.jsonl").read_text().splitlines()]
    assert transfers > len(chosen) > 0
    assert all(int(event["transfer"]["amount"]) >= 10_000_000 for event in chosen)
    assert header.split() == ["holder", "asset", "received", "sent", "fees", "change"]
    assert all(line.split()[1] == "native" for line in balances)
    assert f"'./{pattern}'" in query
    here = query.replace("./stellar-archive", str(newcomer.folder / "stellar-archive"))
    volumes: dict[str, int] = {}
    for day in duckdb.sql(here).to_arrow_table().to_pylist():
        volumes[day["asset_code"]] = volumes.get(day["asset_code"], 0) + int(day["daily_volume"])
    assert volumes["XLM"] > 0
    assert dict(re.findall(r"^(\w+) +(\d+)$", answered, re.M)) == {code: str(sum_) for code, sum_ in volumes.items()}
    for code, volume in volumes.items():
        assert re.search(rf"\b{volume}\b", said), f"the first stream and the archive differ in {code}"
    result = json.loads(final)
    assert result["final"]
    assert (result["from_ledger"], result["to_ledger"]) == (2, 501)
    assert sum(int(row["amount"]) for row in result["rows"]) == sum(volumes.values())


@requires_s3
def test_a_store_is_verified_served_and_archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As README.md says it, but with a store of the same name and layout on a server of this machine."""
    [verify_and_serve, archive] = blocks.of("Real ledgers", "store commands")
    name_it, verify, serve = verify_and_serve.splitlines(keepends=True)
    Store(tmp_path / "pubnet", per_partition=64_000).write(53_312_000, made(53_312_000, 53_312_099))
    (tmp_path / "server").mkdir()
    (tmp_path / "newcomer").mkdir()
    with s3_server(tmp_path / "server", public_bucket="aws-public-blockchain") as server:
        server.upload(tmp_path / "pubnet", "aws-public-blockchain", "v1.1/stellar/ledgers/pubnet")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        newcomer = Newcomer(tmp_path / "newcomer")
        assert "verified 100 ledgers" in newcomer.run(name_it + verify)
        with newcomer.running(name_it + serve):
            newcomer.wait_until_ready()
            newcomer.run(archive)
    assert pq.read_table(newcomer.folder / "pubnet-archive").num_rows > 0


def test_the_system_runs_as_told(newcomer: Newcomer) -> None:
    [serve_ledgers, serve] = blocks.of("Running the system", "background")
    [archive, analyse] = blocks.of("Running the system", "follow")
    [look] = blocks.of("Running the system", "shell")
    with newcomer.running(serve_ledgers), newcomer.running(serve):
        newcomer.wait_until_ready()
        with newcomer.running(archive), newcomer.running(analyse):
            time.sleep(4)
        _wait_for(lambda: any((newcomer.folder / "live-archive").glob("*/*/*/*.parquet")))
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed, so that the last block was not run")
        assert "stellar_arrow_" in newcomer.run(look)


def test_who_may_connect(newcomer: Newcomer) -> None:
    [make, use] = blocks.of("Who may connect", "shell")
    [serve] = blocks.of("Who may connect", "background")
    newcomer.run(make)
    with newcomer.running(serve):
        newcomer.wait_until_ready()
        newcomer.run(use)
        with Client(newcomer.here("localhost:8815")) as nobody, pytest.raises(AuthenticationError):
            nobody.health()
    assert pq.read_table(newcomer.folder / "alice-archive").num_rows > 0


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
