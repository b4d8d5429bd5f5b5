"""docs/tutorial-consumer.md, followed to the letter: each block in turn, and what a reader would see."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs import blocks
from tests.docs.blocks import ROOT, Block, Newcomer
from tests.support.environments import new_environment

PAGE = (ROOT / "docs/tutorial-consumer.md").read_text()
WAYS = {"background", "shell", "file", "kill", "python", "suite"}


def test_every_block_says_how_it_is_tested() -> None:
    found = blocks.blocks(PAGE)
    assert {block.test for block in found} == WAYS
    assert PAGE.count("```") == 2 * len(found)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, new_environment(tmp_path / "environment"))
    serve, *rest = blocks.blocks(PAGE)
    with newcomer.running(serve.code):
        newcomer.wait_until_ready()
        said = [follow(newcomer, block) for block in rest]
    streams, _created, first_try, _sink, _killed, came, completed, counted, most, _test, suite, _checks = said
    assert '"name": "payments"' in streams
    assert '"ledger_sequence": 2' in first_try
    assert '"command": "payments-db"' in first_try
    assert completed == ""
    ours, theirs = (list(map(int, line.split())) for line in counted.splitlines())
    rows, distinct, total = ours
    assert rows == distinct > 4000
    assert total > 0
    assert theirs == ours
    held, _last = came.split()
    assert int(held) <= rows
    assert len(re.findall(r"^G[A-Z2-7]{55}: \d+ payments, \d+\.\d{7} XLM$", most, re.M)) == 3
    assert re.search(r" \d\d passed", suite)
    assert not re.search("failed|skipped|deselected", suite)


def follow(newcomer: Newcomer, block: Block) -> str:
    """Do what a block says; what it prints."""
    if block.test == "file":
        path = newcomer.folder / block.code.splitlines()[0].removeprefix("# ")
        assert path.exists(), "a file of the template is replaced"
        path.write_text(block.code)
        return ""
    if block.test == "python":
        return newcomer.run(block.code, "python", "-c")
    said = newcomer.run(block.code)
    for folder in re.findall(r"^cd (.*)$", block.code, re.M):
        newcomer.folder /= folder
    return said
