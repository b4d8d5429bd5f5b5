"""What the state streams share: a stream is a declaration over the last change of each key.

Whoever takes the rows in order and keeps the latest of each ``ledger_key_hash`` holds the state of the ledger; contract
data, contract code and TTLs also end by eviction, which no change tells but the stream ``evicted_keys``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryChangeType, LedgerEntryType

from stellar_arrow_source.tables.changes import (
    CHANGE_END,
    CHANGE_NEEDS,
    KEY_NEEDS,
    change_types,
    changes,
    entry_types,
    in_entry,
    is_removed,
    key_hashes,
    take,
)  # fmt: skip
from stellar_arrow_source.tables.changes_kernels import last_of_keys
from stellar_arrow_source.tables.columns import amount, derived, raw
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.frame import Batch, Frame, Integers
from stellar_arrow_source.tables.ledger_entry_changes import (
    ENTRY,
    LAST_MODIFIED_LEDGER,
    LEDGER_KEY_HASH,
    SPONSOR_COLUMN,
)  # fmt: skip
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.sha256 import Digests

_STATE: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_STATE)
_SPONSORED: Final = frozenset(
    {
        LedgerEntryType.ACCOUNT,
        LedgerEntryType.TRUSTLINE,
        LedgerEntryType.OFFER,
        LedgerEntryType.DATA,
        LedgerEntryType.CLAIMABLE_BALANCE,
    }
)
"""Types of entries whose reserve another account may hold (CAP-33)."""

EVICTION: Final = "; entries evicted, after all changes of a ledger, have no row here but in evicted_keys"
_EVICTED: Final = frozenset({LedgerEntryType.CONTRACT_DATA, LedgerEntryType.CONTRACT_CODE})

CHANGE_COLUMNS: Final[tuple[Column, ...]] = (
    LAST_MODIFIED_LEDGER,
    derived(
        "ledger_entry_change",
        pa.uint32(),
        lambda frame: readers.from_numpy(change_types(frame).astype(np.uint32), pa.uint32()),
        "code of the last change: 0 created, 1 updated, 2 removed, 4 restored",
    ),
)
"""What the last change of an entry says of itself."""

_ENTRY_COLUMNS: Final[tuple[Column, ...]] = (
    derived(
        "deleted",
        pa.bool_(),
        lambda frame: readers.from_bool(is_removed(frame)),
        "whether the ledger left no such entry; if so, all that is not part of its key is null",
    ),
    LEDGER_KEY_HASH,
    raw("ledger_entry_xdr", ENTRY, CHANGE_END, "LedgerEntry; null where it is deleted", nullable=True),
)


def state_stream(name: str, kind: LedgerEntryType, what: str, columns: tuple[Column, ...]) -> Stream:
    """The stream of the last change of each entry of a type in each ledger.

    Args:
        kind: type of the entries.
        what: what an entry is called.
        columns: of its key, never null, and of its values, null where it is deleted. What all such streams have goes
            before and after them: ledger, sponsor (of entries that can have one), last change, key hash, XDR.
    """
    sponsor = (SPONSOR_COLUMN,) if kind in _SPONSORED else ()
    return Stream(
        name=name,
        description=f"one row per {what} and ledger that changed it: what the ledger's last change of it left"
        + (EVICTION if kind in _EVICTED else ""),
        frame=lambda batch: last_changes(batch, kind),
        reads=(*CHANGE_NEEDS, *KEY_NEEDS),
        columns=(*LEDGER_COLUMNS, *columns, *sponsor, *CHANGE_COLUMNS, *_ENTRY_COLUMNS),
    )


def last_changes(batch: Batch, kind: LedgerEntryType) -> Frame:
    """The last change of each entry of that type in each ledger, in the order of the changes."""
    return last_of_each_key(own_changes(batch, kind))


def own_changes(batch: Batch, kind: LedgerEntryType) -> Frame:
    """All changes of entries of that type, but for what only tells an earlier state."""
    every = changes(batch)
    return take(every, np.flatnonzero((entry_types(every) == kind) & (change_types(every) != _STATE)))


def last_of_each_key(made: Frame) -> Frame:
    """The last change of each key in each ledger."""
    last = last_rows(key_hashes(made), made.ledger)
    return take(made, np.flatnonzero(last == np.arange(made.length)))


_SECRET: Final = np.random.default_rng().integers(0, 2**64, dtype=np.uint64) | np.uint64(1)
"""See :func:`last_of_keys`."""


def last_rows(digests: Digests, ledger: Integers) -> Integers:
    """int64 (rows,): the last row of each row's key and ledger; ``ledger`` never falls."""
    heads = np.empty(1 << max(4, len(ledger).bit_length()), np.int64)
    last = np.empty(len(ledger), np.int64)
    last_of_keys(digests, ledger, _SECRET, heads, np.empty(len(ledger), np.int64), last)
    return last


def liabilities(kind: LedgerEntryType, path: str) -> tuple[Column, Column]:
    """What offers may move: of the accounts and trust lines whose entry says so."""
    return (
        amount(
            "buying_liabilities",
            in_entry({kind: f"{path}.ext.v1.liabilities.buying"}),
            "what offers to buy may add; null where the entry does not say",
            nullable=True,
        ),
        amount(
            "selling_liabilities",
            in_entry({kind: f"{path}.ext.v1.liabilities.selling"}),
            "what offers to sell may take; null where the entry does not say",
            nullable=True,
        ),
    )
