"""The SDK's conformance suite, on the real command; what it prints is its output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.testing import sample_table
from stellar_arrow_client.testing.conformance import ConsumerUnderTest, PrinterConformance
from stellar_arrow_client.testing.trial import FIRST

RESULT = pa.schema(
    [("ledger_sequence", pa.uint32()), ("asset", pa.string()), ("payments", pa.int64()), ("amount", pa.int64())]
)
ISSUER = "G" + "A" * 55
SPACING = 7 * 60 * 10**6
"""Microseconds between two ledgers of the sample."""


class PaymentVolume(ConsumerUnderTest):
    """The volume of each ledger by itself: ledgers close seven minutes apart, and the window is one minute long."""

    stream = "payments"

    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("analytics-consumer"))
        return [program, server, "payment-volume", "1", "--from", str(start), "--to", str(end or 0)]

    def read(self, output: Path) -> pa.Table:
        """The results by their last ledger; the final one stands for the one before if that is of the same ledger."""
        results = {result["to_ledger"]: result for result in map(json.loads, output.read_text().splitlines())}
        rows = [
            (ledger, row["asset"], row["payments"], int(row["amount"]))
            for ledger, result in results.items()
            for row in result["rows"]
        ]
        return pa.Table.from_pylist([dict(zip(RESULT.names, row, strict=True)) for row in rows], RESULT)

    def table(self, first: int, last: int) -> pa.Table:
        """Sample rows as payments: every other one succeeded, some are in lumens and some in another asset."""
        rows = sample_table(first, last)
        native = pc.equal(pc.bit_wise_and(rows["transaction_id"], 3 << 12), 1 << 12)
        none = pa.scalar(None, pa.string())
        assets = {
            "asset_type": pc.if_else(native, "native", "credit_alphanum4"),
            "asset_code": pc.if_else(native, "XLM", "USDC"),
            "asset_issuer": pc.if_else(native, none, ISSUER),
            "amount": rows["transaction_id"],
        }
        kept = ("ledger_sequence", "ledger_close_time", "successful")
        return pa.table({name: rows[name] for name in kept} | assets)

    def further_tables(self, first: int, last: int) -> Mapping[str, pa.Table]:
        """The close times of all ledgers, which the command asks for where a ledger has no payment."""
        ledgers = pa.array(range(first, last + 1), pa.uint32())
        origin = sample_table(FIRST, FIRST)["ledger_close_time"][0].value
        closed = [origin + (ledger - FIRST) * SPACING for ledger in range(first, last + 1)]
        times = pa.array(closed, pa.timestamp("us", "UTC"))
        return {"ledgers": pa.table({"ledger_sequence": ledgers, "ledger_close_time": times})}

    def expected(self, table: pa.Table) -> pa.Table:
        """One row per ledger and asset; a result is given once a minute begins, so not with the first ledger."""
        rows = table.filter(pc.and_(table["successful"], pc.greater(table["ledger_sequence"], FIRST)))
        asset = pc.if_else(pc.equal(rows["asset_type"], "native"), "native", f"USDC:{ISSUER}")
        sums = rows.append_column("asset", asset).group_by(["ledger_sequence", "asset"])
        result = sums.aggregate([("amount", "count"), ("amount", "sum")])
        return result.rename_columns(RESULT.names).cast(RESULT)


class TestConformance(PrinterConformance):
    consumer = PaymentVolume()
