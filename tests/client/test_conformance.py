"""The conformance suite holds for the smallest whole consumer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from stellar_arrow_client.checkpoint import load_checkpoint
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest

SCRIPT = str(Path(__file__).with_name("jsonl_consumer.py"))
COLUMNS = ["ledger_sequence", "transaction_id", "source_account", "memo", "successful"]


class JsonLines(ConsumerUnderTest):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        return [
            *(sys.executable, SCRIPT, server, str(output), str(start), str(end or 0)),
            *("--checkpoint-seconds", "0.1", "--progress", "log"),
        ]

    def program(self) -> Sequence[str]:
        return [sys.executable, SCRIPT]

    def read(self, output: Path) -> pa.Table:
        checkpoint = load_checkpoint(output / "checkpoint.json")
        assert checkpoint is not None
        rows = [
            json.loads(line) for name in checkpoint.state["files"] for line in (output / name).read_text().splitlines()
        ]
        return pa.Table.from_pylist(rows, schema=self.table(1, 1).select(COLUMNS).schema)

    def expected(self, table: pa.Table) -> pa.Table:
        return table.select(COLUMNS)


class TestConformance(ConsumerConformance):
    consumer = JsonLines()
