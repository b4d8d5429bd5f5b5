"""What an effect is: its types, the facts that columns read, and what an operation gives to make them of.

Source: Horizon's effect types and their codes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class EffectType(IntEnum):
    """Horizon's code of each effect; its name there is the member's in lower case."""

    ACCOUNT_CREATED = 0
    ACCOUNT_REMOVED = 1
    ACCOUNT_CREDITED = 2
    ACCOUNT_DEBITED = 3
    ACCOUNT_THRESHOLDS_UPDATED = 4
    ACCOUNT_HOME_DOMAIN_UPDATED = 5
    ACCOUNT_FLAGS_UPDATED = 6
    ACCOUNT_INFLATION_DESTINATION_UPDATED = 7
    SIGNER_CREATED = 10
    SIGNER_REMOVED = 11
    SIGNER_UPDATED = 12
    TRUSTLINE_CREATED = 20
    TRUSTLINE_REMOVED = 21
    TRUSTLINE_UPDATED = 22
    TRUSTLINE_AUTHORIZED = 23
    TRUSTLINE_DEAUTHORIZED = 24
    TRUSTLINE_AUTHORIZED_TO_MAINTAIN_LIABILITIES = 25
    TRUSTLINE_FLAGS_UPDATED = 26
    TRADE = 33
    DATA_CREATED = 40
    DATA_REMOVED = 41
    DATA_UPDATED = 42
    SEQUENCE_BUMPED = 43
    CLAIMABLE_BALANCE_CREATED = 50
    CLAIMABLE_BALANCE_CLAIMANT_CREATED = 51
    CLAIMABLE_BALANCE_CLAIMED = 52
    ACCOUNT_SPONSORSHIP_CREATED = 60
    ACCOUNT_SPONSORSHIP_UPDATED = 61
    ACCOUNT_SPONSORSHIP_REMOVED = 62
    TRUSTLINE_SPONSORSHIP_CREATED = 63
    TRUSTLINE_SPONSORSHIP_UPDATED = 64
    TRUSTLINE_SPONSORSHIP_REMOVED = 65
    DATA_SPONSORSHIP_CREATED = 66
    DATA_SPONSORSHIP_UPDATED = 67
    DATA_SPONSORSHIP_REMOVED = 68
    CLAIMABLE_BALANCE_SPONSORSHIP_CREATED = 69
    CLAIMABLE_BALANCE_SPONSORSHIP_UPDATED = 70
    CLAIMABLE_BALANCE_SPONSORSHIP_REMOVED = 71
    SIGNER_SPONSORSHIP_CREATED = 72
    SIGNER_SPONSORSHIP_UPDATED = 73
    SIGNER_SPONSORSHIP_REMOVED = 74
    CLAIMABLE_BALANCE_CLAWED_BACK = 80
    LIQUIDITY_POOL_DEPOSITED = 90
    LIQUIDITY_POOL_WITHDREW = 91
    LIQUIDITY_POOL_TRADE = 92
    LIQUIDITY_POOL_CREATED = 93
    LIQUIDITY_POOL_REMOVED = 94
    LIQUIDITY_POOL_REVOKED = 95
    CONTRACT_CREDITED = 96
    CONTRACT_DEBITED = 97
    EXTEND_FOOTPRINT_TTL = 98
    RESTORE_FOOTPRINT = 99


class Fact(IntEnum):
    """Facts of an effect, int64 each; 0 where there is none.

    All are positions in the ledgers unless something else is said. MOVED_… mean something where POOL is given, in the
    direction in which the effect's type says that the amounts moved.
    """

    TYPE = 0  # EffectType
    OPERATION = 1  # row of the frame of operations
    INDEX = 2  # in the operation, from 1
    ADDRESS = 3  # of the key
    ADDRESS_ID = 4
    ASSET = 5  # Asset or TrustLineAsset in the staged words
    AMOUNT = 6  # Int128Parts in the staged words
    STARTING_BALANCE = 7
    SOLD = 8  # of an Asset whose amount follows
    BOUGHT = 9
    OFFER = 10
    SELLER = 11
    SELLER_ID = 12
    BALANCE = 13
    CLAWBACK = 14  # 1 not enabled, 2 enabled
    PREDICATE = 15
    SIGNER = 16
    WEIGHT = 17  # one more than the weight
    LOW_THRESHOLD = 18
    MED_THRESHOLD = 19
    HIGH_THRESHOLD = 20
    HOME_DOMAIN = 21
    INFLATION_DESTINATION = 22
    FLAGS_SET = 23  # flags
    FLAGS_CLEARED = 24  # flags
    TRUSTOR = 25
    LIMIT = 26
    DATA_NAME = 27
    DATA_VALUE = 28
    SEQUENCE = 29
    SPONSOR = 30
    NEW_SPONSOR = 31
    FORMER_SPONSOR = 32
    POOL_ID = 33
    POOL = 34  # of the LedgerEntryData
    MOVED_A = 35  # stroops
    MOVED_B = 36
    MOVED_SHARES = 37
    BALANCE_A = 38
    BALANCE_B = 39
    ENTRIES = 40  # one more than their number
    EXTEND_TO = 41
    CONTRACT = 42
    EVENT_KIND = 43  # one more than the kind of token-transfer event


UNKNOWN: Final = -(2**63)
"""A MOVED_… fact that the entries do not tell."""
FACTS: Final = len(Fact)
ASSET_WORDS: Final = 13
AMOUNT_WORDS: Final = 4
"""Room for an Asset or TrustLineAsset, and for Int128Parts."""


class Given(IntEnum):
    """What is found of each operation: positions in the ledgers, 0 where absent."""

    SOURCE = 0  # of the key
    SOURCE_ID = 1
    OTHER_ACCOUNT = 2  # destination, or account clawed back from: MuxedAccount
    OTHER = 3  # its key
    OTHER_ID = 4
    ASSET = 5  # Asset; of change_trust, ChangeTrustAsset
    AMOUNT = 6
    SENT_ASSET = 7
    HOME_DOMAIN = 8
    LOW_THRESHOLD = 9
    MED_THRESHOLD = 10
    HIGH_THRESHOLD = 11
    INFLATION_DESTINATION = 12
    SET_FLAGS = 13
    CLEAR_FLAGS = 14
    TRUSTOR = 15
    ALLOWED_CODE = 16
    AUTHORIZE = 17
    LIMIT = 18
    DATA_NAME = 19
    BALANCE = 20
    CLAIMANTS = 21
    POOL = 22
    PAYOUTS = 23
    EXTEND_TO = 24


NO_GIVEN: Final = -1
SENT: Final = -2
"""Instead of a :class:`Given`: what a path payment took from its source."""
NATIVE: Final = -3
"""Instead of a :class:`Given`: the lumen."""
