"""Rows of ``ttp_events`` made of nothing but the ledger numbers, with every kind of event in them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from stellar_sdk import StrKey

from stellar_arrow_source.tables import find_stream

SCHEMA: Final = find_stream("ttp_events").schema(None, None)
TYPES: Final = ("transfer", "mint", "burn", "clawback", "fee")
ISSUER: Final = StrKey.encode_ed25519_public_key(bytes(32))
LUMENS: Final = StrKey.encode_contract(bytes([1]) * 32)
MUXED: Final = (
    (None, None, None),
    ("id", str(2**64 - 1), None),
    ("text", "line\n“quoted” \\ \x00 ☂", None),
    ("text", "", None),
    ("text", None, b"\xff\xfe not text"),
    ("hash", base64.b64encode(bytes(range(32))).decode(), None),
)
AMOUNTS: Final = (1, 0, 2**63 - 1, 10**38 - 1, 2**127 - 1)


def account(number: int) -> str:
    return StrKey.encode_ed25519_public_key(hashlib.sha256(b"account %d" % number).digest())


def claimable_balance(number: int) -> str:
    """A B strkey: two letters longer than the others."""
    raw = bytes([1 << 3, 0]) + hashlib.sha256(b"balance %d" % number).digest()
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def made_table(first: int, last: int, rows_per_ledger: int = 5) -> pa.Table:
    """The rows of ledgers ``first`` to ``last``; every seventh ledger has none."""
    rows = [_row(ledger, index) for ledger in range(first, last + 1) if ledger % 7 for index in range(rows_per_ledger)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(ledger: int, index: int) -> dict[str, Any]:
    number = ledger * 10_000 + index
    event_type = TYPES[number % 5]
    fee = event_type == "fee"
    kind, muxed, raw = MUXED[number % 6] if event_type in ("transfer", "mint") else MUXED[0]
    amount = -100 if fee and number % 2 else AMOUNTS[(ledger + index) % (3 if fee else 5)]
    asset = "native" if fee else ("native", "credit_alphanum4", None)[number % 3]
    return {
        "ledger_sequence": ledger,
        "ledger_close_time": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=5 * (ledger % 1_000_000)),
        "transaction_id": ledger << 32 | (index + 1) << 12,
        "transaction_index": index + 1 + 20_000 * (number % 2),
        "operation_id": None if fee else ledger << 32 | (index + 1) << 12 | 1,
        "operation_index": None if fee else 1 + number % 100,
        "event_index": index,
        "transaction_hash": hashlib.sha256(b"%d" % number).digest(),
        "successful": True,
        "event_type": event_type,
        "from_address": None if event_type == "mint" else account(number % 50),
        "to_address": None if event_type not in ("transfer", "mint") else claimable_balance(number % 20),
        "to_muxed_kind": kind,
        "to_muxed_id": muxed,
        "to_muxed_bytes": raw,
        "asset_type": asset,
        "asset_code": {"native": "XLM", None: None}.get(asset, "USD"),
        "asset_issuer": ISSUER if asset == "credit_alphanum4" else None,
        "contract_id": LUMENS if asset == "native" else StrKey.encode_contract(bytes([number % 3]) * 32),
        "amount": Decimal(amount) if abs(amount) < 10**38 else None,
        "amount_raw": str(amount),
        "is_native_asset": asset == "native",
        "is_fee": fee,
        "is_fee_refund": fee and amount < 0,
        "names_administrator": False,
        "events_mode": "unified",
    }
