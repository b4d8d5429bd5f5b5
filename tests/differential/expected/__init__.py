"""The rows that each stream must have, computed from stellar_sdk's objects only.

Nothing here shares code with the decoder: values come from ``stellar_sdk.xdr``, addresses from its
``StrKey``, JSON from its ``to_json_dict``, hashes from hashlib. Rows are dicts of exact Python values, as
``pyarrow.RecordBatch.to_pylist`` gives them.
"""

from __future__ import annotations

from typing import Any

from stellar_sdk import xdr

from .changes import change_row, changes_of
from .contract_states import contract_state_rows
from .effects import effect_rows
from .events import contract_event_rows, diagnostic_event_rows
from .join import Ledger
from .ledgers import ledger_row
from .operations import operation_row
from .payments import payment_rows
from .states import state_rows
from .trades import trade_rows
from .transactions import transaction_row
from .ttp_events import ttp_rows

Row = dict[str, Any]


def expected_rows(data: bytes, passphrase: str) -> dict[str, list[Row]]:
    """Stream name → rows of one LedgerCloseMeta, every column, opt-in ones too."""
    ledger = Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(data), passphrase)
    changes = changes_of(ledger)
    return {
        "ledgers": [ledger_row(ledger)],
        "transactions": [transaction_row(tx) for tx in ledger.transactions],
        "operations": [operation_row(op) for tx in ledger.transactions for op in tx.operations],
        "payments": [row for tx in ledger.transactions for row in payment_rows(tx)],
        "ttp_events": ttp_rows(ledger),
        "trades": [row for tx in ledger.transactions for op in tx.operations for row in trade_rows(op)],
        "effects": [row for tx in ledger.transactions for op in tx.operations for row in effect_rows(op)],
        "contract_events": [row for tx in ledger.transactions for row in contract_event_rows(tx)],
        "diagnostic_events": [row for tx in ledger.transactions for row in diagnostic_event_rows(tx)],
        "ledger_entry_changes": [change_row(change) for change in changes],
        **state_rows(changes),
        **contract_state_rows(ledger, changes),
    }
