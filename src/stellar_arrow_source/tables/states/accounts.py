"""The stream ``accounts``: AccountEntry."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry
from stellar_arrow_source.tables.columns import account, amount, derived, number, text
from stellar_arrow_source.tables.expressions import Expression, Plus
from stellar_arrow_source.tables.frame import Frame
from stellar_arrow_source.tables.ledger_entry_changes import OWNER
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import liabilities, state_stream
from stellar_arrow_source.xdr import readers


def _of_account(path: str) -> Expression:
    return in_entry({LedgerEntryType.ACCOUNT: f"account.{path}"})


_THRESHOLDS: Final = _of_account("thresholds")


def _threshold(name: str, place: int, description: str) -> Column:
    """A byte of Thresholds, an opaque of one word."""

    def read(frame: Frame) -> pa.Array:
        values = (frame.words(_THRESHOLDS) >> (24 - 8 * place)) & 0xFF
        return readers.from_numpy(values.astype(np.uint32), pa.uint32(), frame.positions(_THRESHOLDS) > 0)

    return derived(name, pa.uint32(), read, description, _THRESHOLDS, nullable=True)


def _count(name: str, path: str, description: str) -> Column:
    return number(name, pa.uint32(), _of_account(path), description, nullable=True)


_SPONSORSHIP: Final = "ext.v1.ext.v2"
_SEQUENCE: Final = f"{_SPONSORSHIP}.ext.v3"

ACCOUNTS: Final = state_stream(
    "accounts",
    LedgerEntryType.ACCOUNT,
    "account",
    (
        account("account_id", Plus(OWNER, 1), "the account"),
        amount("balance", _of_account("balance"), "lumens that it holds", nullable=True),
        *liabilities(LedgerEntryType.ACCOUNT, "account"),
        number("sequence_number", pa.int64(), _of_account("seqNum"), "its last sequence number", nullable=True),
        _count("sequence_ledger", f"{_SEQUENCE}.seqLedger", "ledger that last changed the sequence number"),
        number(
            "sequence_time",
            pa.uint64(),
            _of_account(f"{_SEQUENCE}.seqTime"),
            "close time of the ledger that last changed the sequence number",
            nullable=True,
            unit="second since 1970",
        ),
        _count("num_subentries", "numSubEntries", "entries whose reserve it holds"),
        account(
            "inflation_destination", Plus(_of_account("inflationDest?"), 1), "its inflation destination", nullable=True
        ),
        _count("flags", "flags", "AccountFlags"),
        text("home_domain", _of_account("homeDomain"), "its home domain, as SEP-51 text", nullable=True),
        _threshold("master_weight", 0, "weight of the master key"),
        _threshold("threshold_low", 1, "low threshold"),
        _threshold("threshold_medium", 2, "medium threshold"),
        _threshold("threshold_high", 3, "high threshold"),
        _count("num_sponsored", f"{_SPONSORSHIP}.numSponsored", "reserves that others hold for it"),
        _count("num_sponsoring", f"{_SPONSORSHIP}.numSponsoring", "reserves that it holds for others"),
    ),
)
