"""The stream ``trust_lines``: TrustLineEntry."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry
from stellar_arrow_source.tables.columns import account, amount, asset, number, strings
from stellar_arrow_source.tables.expressions import Expression, Plus
from stellar_arrow_source.tables.ledger_entry_changes import LINE_ASSET, LINE_POOL, OWNER
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import liabilities, state_stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.strkey import Version


def _of_line(path: str) -> Expression:
    return in_entry({LedgerEntryType.TRUSTLINE: f"trustLine.{path}"})


def _never_null(column: Column) -> Column:
    return replace(column, nullable=False)


_line_type, _line_code, _line_issuer = asset(LINE_ASSET, "the asset trusted")

TRUST_LINES: Final = state_stream(
    "trust_lines",
    LedgerEntryType.TRUSTLINE,
    "trust line",
    (
        account("account_id", Plus(OWNER, 1), "account that trusts"),
        _never_null(_line_type),
        _line_code,
        _line_issuer,
        strings(
            "liquidity_pool_id",
            readers.strkey,
            LINE_POOL,
            "liquidity pool whose shares are trusted; an L strkey",
            Version.LIQUIDITY_POOL,
            nullable=True,
        ),
        amount("balance", _of_line("balance"), "what the account holds of the asset", nullable=True),
        amount("trust_line_limit", _of_line("limit"), "most that the account would hold", nullable=True),
        *liabilities(LedgerEntryType.TRUSTLINE, "trustLine"),
        number("flags", pa.uint32(), _of_line("flags"), "TrustLineFlags", nullable=True),
    ),
)
