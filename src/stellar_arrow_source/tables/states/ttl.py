"""The stream ``ttl``: TTLEntry, how long contract data and code live.

Transactions of the parallel phase may each prolong the life of an entry that they only read, all from the same start;
the ledger keeps the greatest of what they say. A life is never shortened but by removal (CAP-63, TTL ledger change
semantics), so what a ledger left of an entry is the longest life that its changes gave since it was last removed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry, in_key, is_removed, key_hashes, take
from stellar_arrow_source.tables.changes_kernels import longest_lives
from stellar_arrow_source.tables.columns import digest, number
from stellar_arrow_source.tables.frame import Batch, Frame
from stellar_arrow_source.tables.states.common import EVICTION, last_rows, own_changes, state_stream

_LIVE_UNTIL: Final = in_entry({LedgerEntryType.TTL: "ttl.liveUntilLedgerSeq"})


def _longest(batch: Batch) -> Frame:
    made = own_changes(batch, LedgerEntryType.TTL)
    kept = np.empty(made.length, np.int64)
    last = last_rows(key_hashes(made), made.ledger)
    longest_lives(last, is_removed(made), made.words(_LIVE_UNTIL), kept)
    return take(made, np.sort(kept[kept >= 0]))


_LAST: Final = state_stream(
    "ttl",
    LedgerEntryType.TTL,
    "TTL entry",
    (
        digest(
            "key_hash",
            in_key({LedgerEntryType.TTL: "ttl.keyHash"}),
            "the contract data or code that lives: ledger_key_hash of its row",
        ),
        number(
            "live_until_ledger_seq",
            pa.uint32(),
            _LIVE_UNTIL,
            "last ledger in which it lives; null where it is deleted",
            nullable=True,
        ),
    ),
)

TTL: Final = replace(
    _LAST,
    description="one row per TTL entry and ledger that changed it: what the ledger left, which is the longest life that"
    " its changes gave since it was last removed (CAP-63: those of parallel transactions are not one after the other)"
    + EVICTION,
    frame=_longest,
    reads=(*_LAST.reads, _LIVE_UNTIL),
)
