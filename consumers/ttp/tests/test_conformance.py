"""The SDK's conformance suite, on the command that writes events: into a file and to stdout.

Parquet files are written by parquet-consumer's own sink, which its tests put through the suite.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from consumers.ttp.tests.made import SCHEMA, made_table
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest, PrinterConformance

PROGRAM = (str(Path(sys.executable).with_name("ttp-processor")), "events")
KEPT = pa.schema(
    [SCHEMA.field(name) for name in ("ledger_sequence", "transaction_index", "operation_index")]
    + [SCHEMA.field(name) for name in ("event_type", "from_address", "to_address", "amount_raw")]
)
"""Columns that are read back from JSON; what messages look like is tested elsewhere."""


class Json(ConsumerUnderTest):
    stream = "ttp_events"

    def program(self) -> Sequence[str]:
        return PROGRAM

    def table(self, first: int, last: int) -> pa.Table:
        return made_table(first, last)

    def read(self, output: Path) -> pa.Table:
        lines = output.read_text().splitlines() if output.exists() else []
        return pa.Table.from_pylist([_row(json.loads(line)) for line in lines], KEPT)

    def expected(self, table: pa.Table) -> pa.Table:
        return table.select(KEPT.names)


class JsonFile(Json):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        return [*PROGRAM, server, str(start), str(end or 0), "--output", str(output), "--interval", "0.001"]


class Stdout(Json):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        return [*PROGRAM, server, str(start), str(end or 0)]


def _row(event: dict[str, Any]) -> dict[str, Any]:
    meta = event.pop("meta")
    [(kind, body)] = event.items()
    return {
        "ledger_sequence": meta["ledgerSequence"],
        "transaction_index": meta["transactionIndex"],
        "operation_index": meta.get("operationIndex"),
        "event_type": kind,
        "from_address": body.get("from"),
        "to_address": body.get("to"),
        "amount_raw": body["amount"],
    }


class TestFile(ConsumerConformance):
    consumer = JsonFile()


class TestStdout(PrinterConformance):
    consumer = Stdout()
