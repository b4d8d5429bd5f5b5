"""The ledger entries of the synthetic world, and the record of how an operation changes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from hashlib import sha256
from struct import Struct

from stellar_sdk.strkey import StrKey
from stellar_sdk.xdr import (
    AssetType,
    ContractDataDurability,
    EnvelopeType,
    LedgerEntryChangeType,
    LedgerEntryType,
    LiquidityPoolType,
)

from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_address,
    account_id,
    array,
    contract_address,
    i64,
    ledger_key,
    opaque,
    scv_address,
    scv_i128,
    scv_symbol,
    scv_vec,
    some,
    u32,
)

MAX_INT64 = (1 << 63) - 1
POOL_FEE = 30  # basis points, LIQUIDITY_POOL_FEE_V18


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset with everything that is derived from it.

    Attributes:
        issuer: key of the issuing account; None = native.
        xdr: ``Asset``; the same bytes serve as ``TrustLineAsset`` and ``ChangeTrustAsset``.
        name: as SEP-11 writes it.
        contract: id of its Stellar Asset Contract.
    """

    code: bytes
    issuer: bytes | None
    xdr: bytes
    name: bytes
    contract: bytes

    @classmethod
    def of(cls, code: bytes, issuer: bytes | None, network: bytes) -> Asset:
        """The asset on the network of that id."""
        if issuer is None:
            xdr, name = u32(AssetType.ASSET_TYPE_NATIVE), b"native"
        else:
            xdr = cls.code_xdr(code) + account_id(issuer)
            name = code + b":" + StrKey.encode_ed25519_public_key(issuer).encode()
        preimage = u32(EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID) + network + u32(1) + xdr  # FROM_ASSET
        return cls(code, issuer, xdr, name, sha256(preimage).digest())

    @staticmethod
    def code_xdr(code: bytes) -> bytes:
        """``AssetCode``"""
        if len(code) <= 4:
            return u32(AssetType.ASSET_TYPE_CREDIT_ALPHANUM4) + code.ljust(4, b"\0")
        return u32(AssetType.ASSET_TYPE_CREDIT_ALPHANUM12) + code.ljust(12, b"\0")


@dataclass(slots=True, eq=False, kw_only=True)
class Entry(ABC):
    """A LedgerEntry; subclasses say its type, its key and its data."""

    modified: int
    sponsor: Account | None = None
    _packed: bytes | None = None

    @abstractmethod
    def key(self) -> bytes:
        """``LedgerKey``"""

    @abstractmethod
    def data(self) -> bytes:
        """``LedgerEntry.data``"""

    def pack(self) -> bytes:
        """``LedgerEntry``, kept until the entry is changed."""
        if self._packed is None:
            ext = VOID if self.sponsor is None else some(some(account_id(self.sponsor.id)) + VOID)
            self._packed = u32(self.modified) + self.data() + ext
        return self._packed


_ACCOUNT = Struct(">II32sqqIII").pack
_THRESHOLDS = bytes([1, 0, 0, 0])
_ACCOUNT_EXT = Struct(">IqqIII").pack
_ACCOUNT_EXT_V3 = Struct(">IIIQ").pack


@dataclass(slots=True, eq=False, kw_only=True)
class Account(Entry):
    """An account; ``selling`` and ``buying`` are its liabilities in stroops of XLM."""

    id: bytes
    balance: int
    sequence: int
    subentries: int = 0
    flags: int = 0
    home_domain: bytes = b""
    signers: list[bytes] = field(default_factory=list)  # Signer
    selling: int = 0
    buying: int = 0
    sponsored: int = 0
    sponsoring: int = 0
    sequence_ledger: int = 0
    sequence_time: int = 0

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.ACCOUNT, account_id(self.id))

    def data(self) -> bytes:
        return b"".join(
            (
                _ACCOUNT(
                    LedgerEntryType.ACCOUNT,
                    0,
                    self.id,
                    self.balance,
                    self.sequence,
                    self.subentries,
                    0,
                    self.flags,
                ),
                opaque(self.home_domain),
                _THRESHOLDS,
                array(self.signers),
                _ACCOUNT_EXT(1, self.buying, self.selling, 2, self.sponsored, self.sponsoring),
                array([VOID] * len(self.signers)),
                _ACCOUNT_EXT_V3(3, 0, self.sequence_ledger, self.sequence_time),
            )
        )


_TRUST_LINE = Struct(">qqIIqqI").pack


@dataclass(slots=True, eq=False, kw_only=True)
class TrustLine(Entry):
    """What an account holds of an issued asset, or its shares of a pool."""

    holder: Account
    asset: bytes  # TrustLineAsset
    balance: int
    flags: int = 1  # AUTHORIZED_FLAG
    limit: int = MAX_INT64
    selling: int = 0
    buying: int = 0

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.TRUSTLINE, account_id(self.holder.id), self.asset)

    def data(self) -> bytes:
        return (
            u32(LedgerEntryType.TRUSTLINE)
            + account_id(self.holder.id)
            + self.asset
            + _TRUST_LINE(self.balance, self.limit, self.flags, 1, self.buying, self.selling, 0)
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Offer(Entry):
    """A standing offer; its price is units of ``wanted`` for one of ``given``, n / d."""

    seller: Account
    id: int
    given: Asset
    wanted: Asset
    amount: int
    n: int
    d: int
    passive: bool = False

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.OFFER, account_id(self.seller.id), i64(self.id))

    def entry(self) -> bytes:
        """``OfferEntry``"""
        return b"".join(
            (
                account_id(self.seller.id),
                i64(self.id),
                self.given.xdr,
                self.wanted.xdr,
                i64(self.amount),
                u32(self.n),
                u32(self.d),
                u32(self.passive),
                VOID,
            )
        )

    def data(self) -> bytes:
        return u32(LedgerEntryType.OFFER) + self.entry()


@dataclass(slots=True, eq=False, kw_only=True)
class Data(Entry):
    """A named value of an account."""

    holder: Account
    name: bytes
    value: bytes

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.DATA, account_id(self.holder.id), opaque(self.name))

    def data(self) -> bytes:
        return u32(LedgerEntryType.DATA) + account_id(self.holder.id) + opaque(self.name) + opaque(self.value) + VOID


@dataclass(slots=True, eq=False, kw_only=True)
class ClaimableBalance(Entry):
    """An amount set aside; ``claimants`` are ``Claimant``, of which ``claimant`` is the one who will claim."""

    id: bytes
    claimant: Account
    claimants: list[bytes]
    asset: Asset
    amount: int
    clawback: bool

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.CLAIMABLE_BALANCE, VOID, self.id)

    def data(self) -> bytes:
        ext = some(VOID + u32(1)) if self.clawback else VOID  # CLAIMABLE_BALANCE_CLAWBACK_ENABLED_FLAG
        body = VOID + self.id + array(self.claimants) + self.asset.xdr + i64(self.amount)
        return u32(LedgerEntryType.CLAIMABLE_BALANCE) + body + ext


@dataclass(slots=True, eq=False, kw_only=True)
class Pool(Entry):
    """A constant-product pool of two assets."""

    a: Asset
    b: Asset
    reserve_a: int
    reserve_b: int
    shares: int
    holders: int

    def parameters(self) -> bytes:
        """``LiquidityPoolParameters``, whose hash is the pool's id."""
        kind = u32(LiquidityPoolType.LIQUIDITY_POOL_CONSTANT_PRODUCT)
        return kind + self.a.xdr + self.b.xdr + u32(POOL_FEE)

    def id(self) -> bytes:
        """``PoolID``"""
        return sha256(self.parameters()).digest()

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.LIQUIDITY_POOL, self.id())

    def data(self) -> bytes:
        state = i64(self.reserve_a) + i64(self.reserve_b) + i64(self.shares) + i64(self.holders)
        return u32(LedgerEntryType.LIQUIDITY_POOL) + self.id() + self.parameters() + state


@dataclass(slots=True, eq=False, kw_only=True)
class TokenBalance(Entry):
    """What an account holds of the token contract: persistent contract data ``["Balance", address]``."""

    contract: bytes
    holder: Account
    amount: int

    def place(self) -> bytes:
        """``SCAddress contract; SCVal key; ContractDataDurability durability``"""
        name = scv_vec([scv_symbol(b"Balance"), scv_address(account_address(self.holder.id))])
        return contract_address(self.contract) + name + u32(ContractDataDurability.PERSISTENT)

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.CONTRACT_DATA, self.place())

    def data(self) -> bytes:
        return u32(LedgerEntryType.CONTRACT_DATA) + VOID + self.place() + scv_i128(self.amount)


@dataclass(slots=True, eq=False, kw_only=True)
class TimeToLive(Entry):
    """Until which ledger a contract's data lives."""

    of: Entry
    live_until: int

    def key(self) -> bytes:
        return ledger_key(LedgerEntryType.TTL, sha256(self.of.key()).digest())

    def data(self) -> bytes:
        return self.key() + u32(self.live_until)


_CREATED, _UPDATED, _REMOVED, _STATE = (
    u32(kind)
    for kind in (
        LedgerEntryChangeType.LEDGER_ENTRY_CREATED,
        LedgerEntryChangeType.LEDGER_ENTRY_UPDATED,
        LedgerEntryChangeType.LEDGER_ENTRY_REMOVED,
        LedgerEntryChangeType.LEDGER_ENTRY_STATE,
    )
)


class Changes:
    """LedgerEntryChanges of one site; an entry must be touched before it is altered."""

    def __init__(self, ledger: int) -> None:
        self._ledger = ledger
        self._before: dict[Entry, bytes | None] = {}  # None = created here
        self._removed: set[Entry] = set()

    def touch(self, *entries: Entry) -> None:
        """Keep how entries were before they are altered."""
        for entry in entries:
            if entry not in self._before:
                self._before[entry] = entry.pack()
            entry.modified = self._ledger
            entry._packed = None

    def create(self, entry: Entry) -> None:
        """A new entry."""
        self._before[entry] = None

    def remove(self, entry: Entry) -> None:
        """An entry that is gone."""
        self.touch(entry)
        self._removed.add(entry)

    def pack(self) -> bytes:
        """``LedgerEntryChanges``"""
        parts: list[bytes] = []
        for entry, before in self._before.items():
            if before is None:
                parts.append(_CREATED + entry.pack())
                continue
            parts.append(_STATE + before)
            parts.append(_REMOVED + entry.key() if entry in self._removed else _UPDATED + entry.pack())
        return array(parts)


UNCHANGED = VOID
"""``LedgerEntryChanges`` of nothing."""
