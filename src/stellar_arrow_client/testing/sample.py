"""A table with every kind of column that the streams have, made of nothing but the ledger numbers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

SAMPLE_STREAM: Final = "samples"
ROWS_PER_LEDGER: Final = 5

_FIELDS: Final[tuple[tuple[str, pa.DataType, bool], ...]] = (
    ("ledger_sequence", pa.uint32(), False),
    ("ledger_close_time", pa.timestamp("us", "UTC"), False),
    ("transaction_id", pa.int64(), False),
    ("transaction_hash", pa.binary(32), False),
    ("source_account", pa.string(), False),
    ("memo", pa.string(), True),
    ("successful", pa.bool_(), False),
    ("amount", pa.int64(), True),
    ("amount_raw", pa.decimal128(38, 0), True),
    ("fee_rate", pa.uint64(), True),
    ("topics", pa.list_(pa.string()), True),
    ("path", pa.list_(pa.struct([("asset_type", pa.string()), ("asset_code", pa.string())])), True),
    ("payload", pa.binary(), True),
)


def sample_schema(stream: str = SAMPLE_STREAM) -> pa.Schema:
    """The schema of :func:`sample_table`, with metadata as the server gives it."""
    return pa.schema(
        [
            pa.field(name, kind, nullable, metadata={"description": f"sample {name}"})
            for name, kind, nullable in _FIELDS
        ],
        metadata={"stream": stream, "schema_version": "1", "network": "testnet"},
    )


def sample_table(
    first: int, last: int, *, rows_per_ledger: int = ROWS_PER_LEDGER, stream: str = SAMPLE_STREAM
) -> pa.Table:
    """The rows of ledgers ``first`` to ``last``; every seventh ledger has none.

    The rows of a ledger are the same whatever the range.
    """
    rows = [_row(ledger, index) for ledger in range(first, last + 1) if ledger % 7 for index in range(rows_per_ledger)]
    return pa.Table.from_pylist(rows, schema=sample_schema(stream))


def _row(ledger: int, index: int) -> dict[str, Any]:
    number = ledger * 1000 + index
    odd = number % 2 == 1
    return {
        "ledger_sequence": ledger,
        "ledger_close_time": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * (ledger % 100_000)),
        "transaction_id": ledger << 32 | (index + 1) << 12,
        "transaction_hash": hashlib.sha256(b"%d" % number).digest(),
        "source_account": f"G{number:055d}",
        "memo": None if odd else f"memo “{number}” \\ \n \x00",
        "successful": not odd,
        "amount": None if index == 3 else (number % 7 - 3) * (2**60 + number),
        "amount_raw": None if index == 2 else 10**37 + number,
        "fee_rate": None if odd else 2**64 - 1 - index,
        "topics": None if index == 1 else [str(step) for step in range(index)],
        "path": None if odd else [{"asset_type": "native", "asset_code": "XLM"}] * index,
        "payload": None if index == 4 else number.to_bytes(8, "little") * index,
    }
