"""The stream ``restored_keys``: LEDGER_ENTRY_RESTORED, entries that were archived and live again (CAP-62, CAP-66)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from stellar_sdk.xdr import LedgerEntryChangeType

from stellar_arrow_source.tables.changes import CHANGE_NEEDS, KEY_NEEDS, change_types, changes, in_key, take
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.frame import Batch, Frame
from stellar_arrow_source.tables.ledger_entry_changes import (
    LAST_MODIFIED_LEDGER,
    LEDGER_ENTRY_TYPE,
    LEDGER_KEY_HASH,
    LEDGER_KEY_XDR,
)  # fmt: skip
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.tables.states.common import last_of_each_key
from stellar_arrow_source.tables.states.soroban_keys import soroban_key_columns

_RESTORED: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_RESTORED)


def _restored(batch: Batch) -> Frame:
    every = changes(batch)
    return last_of_each_key(take(every, np.flatnonzero(change_types(every) == _RESTORED)))


RESTORED_KEYS: Final = Stream(
    name="restored_keys",
    description="one row per entry and ledger that restored it from the archive, TTL entries too: the last change that"
    " did so, in the order of the changes",
    frame=_restored,
    reads=(*CHANGE_NEEDS, *KEY_NEEDS),
    columns=(
        *LEDGER_COLUMNS,
        LEDGER_KEY_HASH,
        LEDGER_ENTRY_TYPE,
        *soroban_key_columns(lambda kind, path: in_key({kind: path})),
        replace(
            LAST_MODIFIED_LEDGER,
            nullable=False,
            description="ledger that the entry names as its last: data and code keep the one before they were archived,"
            " unless the same ledger changes them too",
        ),
        LEDGER_KEY_XDR,
    ),
)
