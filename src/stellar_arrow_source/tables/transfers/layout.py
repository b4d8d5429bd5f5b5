"""How an event is held between the kernels: a record of words, in XDR form, and a row of facts.

Each ``@kernel`` has these numbers compiled in; so named, this file counts for the stamp of their machine code.

Source: CAP-67; SEP-41.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

TRANSFER, MINT, BURN, CLAWBACK, FEE = range(5)
"""Kinds of event."""
EVENT_TYPES: Final = {TRANSFER: "transfer", MINT: "mint", BURN: "burn", CLAWBACK: "clawback", FEE: "fee"}

NO_MUX, MUX_ID, MUX_TEXT, MUX_HASH = range(4)
MUXED_KINDS: Final = {MUX_ID: "id", MUX_TEXT: "text", MUX_HASH: "hash"}

# -- words of a record

FROM: Final = 0
"""SCAddress, 10 words of room."""
TO: Final = 10
ASSET: Final = 20
"""Asset, 13 words of room."""
CONTRACT: Final = 33
"""Contract id, 8 words."""
AMOUNT: Final = 41
"""Int128Parts, 4 words."""
MUX: Final = 45
"""Muxed id (2 words) or hash (8 words)."""
RECORD_WORDS: Final = 53

# -- facts of an event


class Fact(IntEnum):
    """Columns of the int64 facts."""

    KIND = 0
    TRANSACTION = 1
    ORDINAL = 2  # of the operation, from 0; -1 for fees
    HAS_FROM = 3
    HAS_TO = 4
    ASSET_STATE = 5
    MUX_KIND = 6
    TEXT = 7  # position of a text's length in the ledgers
    UNIFIED = 8
    ADMIN = 9  # a mint or clawback of no asset contract that names three addresses
    REFUND = 10
    DECIDE = 11  # whether the issuer's part is to be decided once the asset is proved
    OPERATION = 12
    POOL = 13  # position of the pool's id, where the receiving balance's id derives from it
    POOL_ASSET = 14  # position of the asset that it derives from


FACTS: Final = len(Fact)

NO_ASSET, OF_ASSET, CLAIMED_ASSET = range(3)
"""States of an asset: none; known, its contract id to be derived; named by a contract, to be proved by its id."""

# -- reasons why nothing was made of something


class Reason(IntEnum):
    """Why a contract event, or an operation, gave no token-transfer event."""

    NONE = 0
    NO_CONTRACT = 1
    TOPICS = 2
    ADDRESS = 3
    AMOUNT = 4
    DATA = 5
    FEE = 6
    BALANCE = 7
    POOL = 8
    LUMENS = 9


REASONS: Final = {
    Reason.NO_CONTRACT: "event without a contract id",
    Reason.TOPICS: "event with too few topics",
    Reason.ADDRESS: "event whose topic is not an address",
    Reason.AMOUNT: "event whose amount is not an i128",
    Reason.DATA: "event whose data map has a wrong key or value",
    Reason.FEE: "fee event of another form, or not of the native asset",
    Reason.BALANCE: "claimed or clawed back balance that the changes do not hold",
    Reason.LUMENS: "operation before protocol 8 whose lumens are out of range",
    Reason.POOL: "liquidity pool whose reserves the changes do not hold",
}

# -- numbers of the XDR

ACCOUNT_ADDRESS, BALANCE_ADDRESS, POOL_ADDRESS = 0, 3, 4
"""SCAddressType."""
REMOVED, STATE, RESTORED = 2, 3, 4
"""LedgerEntryChangeType."""
