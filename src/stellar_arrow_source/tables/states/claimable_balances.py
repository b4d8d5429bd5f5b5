"""The stream ``claimable_balances``: ClaimableBalanceEntry."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry, in_key, is_removed
from stellar_arrow_source.tables.claimants import claimants
from stellar_arrow_source.tables.columns import amount, asset, number, strings
from stellar_arrow_source.tables.expressions import Expression
from stellar_arrow_source.tables.relations import BALANCE_CLAIMANT, CHANGE
from stellar_arrow_source.tables.states.common import state_stream
from stellar_arrow_source.xdr import readers


def _of_balance(path: str) -> Expression:
    return in_entry({LedgerEntryType.CLAIMABLE_BALANCE: f"claimableBalance.{path}"})


CLAIMABLE_BALANCES: Final = state_stream(
    "claimable_balances",
    LedgerEntryType.CLAIMABLE_BALANCE,
    "claimable balance",
    (
        strings(
            "balance_id",
            readers.claimable_balance,
            in_key({LedgerEntryType.CLAIMABLE_BALANCE: "claimableBalance.balanceID"}),
            "the claimable balance; a B strkey",
        ),
        claimants(BALANCE_CLAIMANT, CHANGE, lambda frame: ~is_removed(frame)),
        *asset(_of_balance("asset"), "the asset to claim"),
        amount("asset_amount", _of_balance("amount"), "what there is to claim", nullable=True),
        number(
            "flags",
            pa.uint32(),
            _of_balance("ext.v1.flags"),
            "ClaimableBalanceFlags; null where the entry does not say",
            nullable=True,
        ),
    ),
)
