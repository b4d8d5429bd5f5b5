"""The conformance suite of the SDK, on the real command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from stellar_arrow_client.checkpoint import load_checkpoint
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest

COLUMNS = ["ledger_sequence", "transaction_id", "source_account", "memo", "successful", "amount"]


class Consumer(ConsumerUnderTest):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("template-consumer"))
        settings = ["--stream", self.stream, "--columns", ",".join(COLUMNS), "--checkpoint-seconds", "0.1"]
        return [program, server, str(output), str(start), str(end or 0), *settings]

    def read(self, output: Path) -> pa.Table:
        checkpoint = load_checkpoint(output / "checkpoint.json")
        assert checkpoint is not None
        counted = (output / "rows.jsonl").read_bytes()[: checkpoint.state["bytes"]]
        rows = [json.loads(line) for line in counted.splitlines()]
        return pa.Table.from_pylist(rows, self.table(1, 1).select(COLUMNS).schema)

    def expected(self, table: pa.Table) -> pa.Table:
        return table.select(COLUMNS)


class TestConformance(ConsumerConformance):
    consumer = Consumer()
