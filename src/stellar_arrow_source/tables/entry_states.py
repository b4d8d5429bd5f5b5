"""The state streams: what a ledger left of each entry that it changed, one row per key and ledger.

``accounts``, ``trust_lines`` and ``offers`` are declarations over the last change of each key. Whoever takes the rows
in order and keeps the latest of each ``ledger_key_hash`` holds the state of the ledger.
"""

from __future__ import annotations

from dataclasses import replace
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
    in_key,
    is_removed,
    keys,
)  # fmt: skip
from stellar_arrow_source.tables.changes_kernels import last_of_keys
from stellar_arrow_source.tables.columns import account, amount, asset, derived, number, raw, strings, text
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.expressions import Expression, Plus
from stellar_arrow_source.tables.frame import Batch, Frame, Integers
from stellar_arrow_source.tables.ledger_entry_changes import (
    ENTRY,
    LAST_MODIFIED_LEDGER,
    LEDGER_KEY_HASH,
    LINE_ASSET,
    LINE_POOL,
    OWNER,
    SPONSOR_COLUMN,
)  # fmt: skip
from stellar_arrow_source.tables.relations import CHANGE
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.sha256 import hash_spans
from stellar_arrow_source.xdr.strkey import Version

_T: Final = LedgerEntryType
_STATE: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_STATE)


def _last_changes(batch: Batch, kind: int) -> Frame:
    """The last change of each entry of that type in each ledger, in the order of the changes."""
    every = changes(batch)
    made = _take(every, np.flatnonzero((entry_types(every) == kind) & (change_types(every) != _STATE)))
    found = keys(made)
    digests = hash_spans(found.words, found.start, found.end)
    chosen = np.ones(made.length, np.bool_)
    heads = np.empty(1 << max(4, made.length.bit_length()), np.int64)
    last_of_keys(digests, made.ledger, chosen, heads, np.empty(made.length, np.int64))
    last = _take(made, np.flatnonzero(chosen))
    last.once("key hashes", lambda: digests[chosen])
    return last


def _take(frame: Frame, chosen: Integers) -> Frame:
    return Frame(frame.batch, frame.ledger[chosen], {CHANGE.name: frame.rows[CHANGE.name][chosen]})


def _stream(name: str, kind: LedgerEntryType, what: str, columns: tuple[Column, ...]) -> Stream:
    return Stream(
        name=name,
        description=f"one row per {what} and ledger that changed it: what the ledger's last change of it left",
        frame=lambda batch: _last_changes(batch, kind),
        reads=(*CHANGE_NEEDS, *KEY_NEEDS),
        columns=(*LEDGER_COLUMNS, *columns, SPONSOR_COLUMN, *_STATE_COLUMNS),
    )


_STATE_COLUMNS: Final[tuple[Column, ...]] = (
    LAST_MODIFIED_LEDGER,
    derived(
        "ledger_entry_change",
        pa.uint32(),
        lambda frame: readers.from_numpy(change_types(frame).astype(np.uint32), pa.uint32()),
        "code of the last change: 0 created, 1 updated, 2 removed, 4 restored",
    ),
    derived(
        "deleted",
        pa.bool_(),
        lambda frame: readers.from_bool(is_removed(frame)),
        "whether the ledger left no such entry; if so, all that is not part of its key is null",
    ),
    LEDGER_KEY_HASH,
    raw("ledger_entry_xdr", ENTRY, CHANGE_END, "LedgerEntry; null where it is deleted", nullable=True),
)


def _liabilities(kind: int, path: str) -> tuple[Column, Column]:
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


# -- accounts


def _of_account(path: str) -> Expression:
    return in_entry({_T.ACCOUNT: f"account.{path}"})


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

ACCOUNTS: Final = _stream(
    "accounts",
    _T.ACCOUNT,
    "account",
    (
        account("account_id", Plus(OWNER, 1), "the account"),
        amount("balance", _of_account("balance"), "lumens that it holds", nullable=True),
        *_liabilities(_T.ACCOUNT, "account"),
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

# -- trust lines


def _of_line(path: str) -> Expression:
    return in_entry({_T.TRUSTLINE: f"trustLine.{path}"})


def _never_null(column: Column) -> Column:
    return replace(column, nullable=False)


_line_type, _line_code, _line_issuer = asset(LINE_ASSET, "the asset trusted")

TRUST_LINES: Final = _stream(
    "trust_lines",
    _T.TRUSTLINE,
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
        *_liabilities(_T.TRUSTLINE, "trustLine"),
        number("flags", pa.uint32(), _of_line("flags"), "TrustLineFlags", nullable=True),
    ),
)

# -- offers


def _of_offer(path: str) -> Expression:
    return in_entry({_T.OFFER: f"offer.{path}"})


def _offer_number(name: str, type: pa.DataType, where: Expression, description: str) -> Column:
    return number(name, type, where, description, nullable=True)


OFFERS: Final = _stream(
    "offers",
    _T.OFFER,
    "offer",
    (
        account("seller_id", Plus(OWNER, 1), "account that offers"),
        number("offer_id", pa.int64(), in_key({_T.OFFER: "offer.offerID"}), "the offer"),
        *asset(_of_offer("selling"), "the asset sold", "selling_"),
        *asset(_of_offer("buying"), "the asset bought", "buying_"),
        amount("amount", _of_offer("amount"), "what is left to sell", nullable=True),
        _offer_number("price_n", pa.int32(), _of_offer("price"), "price of what is sold: numerator"),
        _offer_number("price_d", pa.int32(), Plus(_of_offer("price"), 1), "price of what is sold: denominator"),
        _offer_number("flags", pa.uint32(), _of_offer("flags"), "OfferEntryFlags"),
    ),
)
