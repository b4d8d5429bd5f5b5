"""What docs/client.md says can be typed as it stands there, and keeps its promises."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator

import pytest

from stellar_arrow_client import Client, StreamRequest, errors
from stellar_arrow_client.transport import Address
from tests.docs import blocks
from tests.docs.blocks import ROOT, Newcomer

PAGE = (ROOT / "docs/client.md").read_text()
BLOCKS = [block for block in blocks.blocks(PAGE) if block.language]
EXAMPLES = [block for block in BLOCKS if block.test == "python"]
COLUMNS = ("ledger_sequence", "asset_code", "amount")

KILLED = """
import os, signal
from stellar_arrow_client import checkpointed
original, left = checkpointed.save_checkpoint, {acks}
def save_checkpoint(path, checkpoint):
    global left
    if left == 0 and not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    original(path, checkpoint)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
checkpointed.save_checkpoint = save_checkpoint
"""

PYARROW_ALONE = """
import sys
known = {"pyarrow", "stellar_arrow_client", *sys.stdlib_module_names}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in known and not name.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path_factory.mktemp("page"))
    [serve] = [block.code for block in BLOCKS if block.test == "background"]
    with newcomer.running(serve):
        newcomer.wait_until_ready()
        yield newcomer


@pytest.fixture(scope="module")
def payments(newcomer: Newcomer) -> list[dict[str, object]]:
    """Every payment of the ledgers that the first examples read."""
    with Client(newcomer.here("localhost:8815")) as client:
        rows: list[dict[str, object]] = client.read_table(StreamRequest("payments", 2, 501, COLUMNS)).to_pylist()
    assert len(rows) > 1000
    return rows


def run(newcomer: Newcomer, code: str) -> str:
    return newcomer.run(code, sys.executable, "-c")


def test_every_block_says_how_it_is_tested() -> None:
    assert {block.test for block in BLOCKS} == {"background", "python", "extras", "light", "elsewhere"}
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert EXAMPLES[0].section == "Exactly once, in ten lines"
    assert len(re.findall(r"^\s*\S", EXAMPLES[0].code, re.M)) <= 10


@pytest.mark.parametrize("block", EXAMPLES[2:], ids=[f"{i} {block.section}" for i, block in enumerate(EXAMPLES[2:])])
def test_examples_run(newcomer: Newcomer, block: blocks.Block) -> None:
    assert run(newcomer, block.code)


def test_exactly_once_across_kills(newcomer: Newcomer, payments: list[dict[str, object]]) -> None:
    code = EXAMPLES[0].code
    for name in ("payments.checkpoint", "payments.jsonl"):
        (newcomer.folder / name).unlink(missing_ok=True)
    for acks, after in ((0, False), (0, True), (1, False), (1, True), (0, False)):
        with pytest.raises(AssertionError, match="ended with -9"):
            run(newcomer, KILLED.format(acks=acks, after=after) + code)
        assert (newcomer.folder / "payments.jsonl").stat().st_size > 0
    for _ in range(2):
        run(newcomer, code)
        written = (newcomer.folder / "payments.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in written] == payments


def test_the_position_in_a_database(newcomer: Newcomer, payments: list[dict[str, object]]) -> None:
    code = EXAMPLES[1].code
    database = newcomer.folder / "payments.db"
    database.unlink(missing_ok=True)
    broken = code.replace(
        'db.execute("INSERT INTO position', 'assert cursor.last < 250; db.execute("INSERT INTO position'
    )
    assert broken != code
    with pytest.raises(AssertionError, match="ended with 1"):
        run(newcomer, broken)
    with sqlite3.connect(database) as db:
        [(kept,)] = db.execute("SELECT count(*) FROM payments").fetchall()
    assert 0 < kept < len(payments)
    for _ in range(2):
        run(newcomer, code)
        with sqlite3.connect(database) as db:
            found = db.execute("SELECT * FROM payments ORDER BY rowid").fetchall()
        assert found == [tuple(row.values()) for row in payments]


def test_answers_agree(newcomer: Newcomer, payments: list[dict[str, object]]) -> None:
    """pandas, DuckDB and plain Python give the same sums."""
    [frames] = [block.code for block in EXAMPLES if block.section.startswith("Into") and "to_pandas" in block.code]
    said = run(newcomer, frames)
    totals: dict[object, int] = {}
    for row in payments:
        totals[row["asset_code"]] = totals.get(row["asset_code"], 0) + int(str(row["amount"] or 0))
    assert len(totals) > 2
    for asset, total in totals.items():
        assert len(re.findall(rf"{asset}\W+{total}\b", said)) == 2, f"{asset} {total}\n{said}"


def test_extras_are_those_of_the_distribution() -> None:
    [install] = [block.code for block in BLOCKS if block.test == "extras"]
    named = re.findall(r"\[(.*)\]", install)[0].split(",")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(named) == set(extras) - {"test", "lint", "otel"}  # otel is for servers


def test_streams_need_nothing_but_pyarrow(newcomer: Newcomer) -> None:
    [install] = [block.code for block in BLOCKS if block.test == "light"]
    assert install.split()[2:] == ["--no-deps", "-e", ".", "pyarrow"]
    light = [b for b in EXAMPLES if b.section in ("Exactly once, in ten lines", "Requests", "asyncio", "Errors")]
    assert len(light) == 5
    for name in ("payments.checkpoint", "payments.jsonl"):
        (newcomer.folder / name).unlink(missing_ok=True)
    for block in light:
        run(newcomer, PYARROW_ALONE + block.code)
    with pytest.raises(AssertionError, match="needs pandas, which is not installed: pip install"):
        run(newcomer, PYARROW_ALONE + 'from stellar_arrow_client.extras import load; load("pandas", "reading")')


def test_a_server_elsewhere_is_named(newcomer: Newcomer) -> None:
    [code] = [block.code for block in BLOCKS if block.test == "elsewhere"]
    (newcomer.folder / "roots.pem").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    said = newcomer.run(code.replace('"…"', '"token"') + "\nprint(client.address)", sys.executable, "-c")
    assert Address.parse(re.findall(r'"(grpc\+tls://[^"]*)"', newcomer.here(code))[0]) == Address.parse(
        f"grpc+tls://{said.strip()}"
    )


def test_every_kind_of_error_is_named() -> None:
    named = set(re.findall(r"`([A-Z]\w+Error)`", PAGE.partition("## Errors")[2]))
    assert named == {name for name in vars(errors) if name.endswith("Error")}


def test_the_readme_leads_here() -> None:
    assert "](docs/client.md" in blocks.README
