"""The stream ``evicted_keys``: keys of entries that a ledger took out of the live state (LedgerCloseMeta, CAP-62)."""

from __future__ import annotations

from typing import Final

import numpy as np
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.columns import HASH, derived, enum_table, enumeration, hash_rows, raw
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.expressions import At, End, Expression
from stellar_arrow_source.tables.frame import TRANSACTION_NEEDS, Batch, Frame
from stellar_arrow_source.tables.relations import EVICTED_KEY
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.tables.states.soroban_keys import soroban_key_columns

_KEY: Final = At(EVICTED_KEY)
_KEY_END: Final = End(EVICTED_KEY)


def _evicted(batch: Batch) -> Frame:
    counts = np.diff(batch.arena.ledger_rows(EVICTED_KEY.name))
    ledger = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Frame(batch, ledger, {EVICTED_KEY.name: np.arange(len(ledger), dtype=np.int64)})


def _in_key(_: LedgerEntryType, path: str) -> Expression:
    return At(EVICTED_KEY, path)


EVICTED_KEYS: Final = Stream(
    name="evicted_keys",
    description="one row per key evicted, in the order of the meta: temporary data that ended, persistent data and code"
    " that went to the archive, and the TTL entries of both; ledgers before protocol 20 evict none",
    frame=_evicted,
    reads=(*TRANSACTION_NEEDS, _KEY),
    columns=(
        *LEDGER_COLUMNS,
        derived(
            "ledger_key_hash",
            HASH,
            hash_rows(_KEY, _KEY_END),
            "SHA-256 of the LedgerKey: the keyHash of a TTL entry",
            _KEY,
            _KEY_END,
        ),
        enumeration(
            "ledger_entry_type", enum_table("LedgerEntryType", str.lower), _KEY, "type of the entry, in lower case"
        ),
        *soroban_key_columns(_in_key),
        raw("ledger_key_xdr", _KEY, _KEY_END, "LedgerKey"),
    ),
)
