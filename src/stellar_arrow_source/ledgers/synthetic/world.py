"""The simulated world that synthetic ledgers happen in: accounts, assets, an offer book, a pool, a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from stellar_sdk.xdr import TrustLineFlags

from stellar_arrow_source.ledgers.synthetic.entries import (
    Account,
    Asset,
    ClaimableBalance,
    Data,
    Offer,
    Pool,
    TimeToLive,
    TokenBalance,
    TrustLine,
)
from stellar_arrow_source.ledgers.synthetic.packing import u32

XLM = 10_000_000  # stroops
MAX_STANDING = 64
"""How many claimable balances and passing accounts there are at most, and how many offers of users."""

TRANSFERABLE = TrustLineFlags.AUTHORIZED_FLAG | TrustLineFlags.TRUSTLINE_CLAWBACK_ENABLED_FLAG
_ISSUER_FLAGS = 0x2 | 0x8  # AUTH_REVOCABLE_FLAG, AUTH_CLAWBACK_ENABLED_FLAG
_CODES = (b"USDC", b"EURC", b"BRLX", b"STROOPTOKEN1")
_MAKERS = 6
_OFFERS_PER_PAIR = 3
_POOL_HOLDERS = 4
_PRICES = ((1, 8), (9, 1), (11, 10), (20, 21))  # units wanted for one given, in the order of the pairs; no two cross


@dataclass(slots=True)
class World:
    """Everything that exists after a ledger; the next ledger starts from it.

    Attributes:
        network: network id, SHA-256 of the passphrase.
        sequence: the ledger that was closed last, or the one that is being closed.
        users: accounts that send transactions.
        lines: trust lines by holder's key and asset.
        offers: the standing offers, by id.
        passing: accounts that were created on the way and may be merged again.
    """

    network: bytes
    seed: str
    sequence: int
    native: Asset
    assets: tuple[Asset, ...]
    issuers: dict[bytes, Account]
    users: list[Account]
    makers: list[Account]
    payer: Account  # of fee bumps and sponsorships
    lines: dict[tuple[bytes, bytes], TrustLine]
    offers: dict[int, Offer]
    pool: Pool
    token: bytes  # contract id
    token_balances: dict[bytes, tuple[TokenBalance, TimeToLive]]
    passing: list[Account] = field(default_factory=list)
    claimables: list[ClaimableBalance] = field(default_factory=list)
    data: dict[tuple[bytes, bytes], Data] = field(default_factory=dict)
    id_pool: int = 0
    fee_pool: int = 0
    previous_hash: bytes = bytes(32)
    skip_list: list[bytes] = field(default_factory=lambda: [bytes(32)] * 4)

    @classmethod
    def genesis(cls, network: bytes, seed: str, sequence: int, users: int) -> World:
        """The world as it is after ``sequence``, before the first synthetic ledger."""

        def key(role: str, number: int) -> bytes:
            return sha256(f"{seed}/{role}/{number}".encode()).digest()

        def account(role: str, number: int, lumens: int, flags: int = 0) -> Account:
            return Account(
                modified=sequence,
                id=key(role, number),
                balance=lumens * XLM,
                sequence=sequence << 32,
                flags=flags,
                home_domain=f"{role}{number}.example".encode(),
                sequence_ledger=sequence,
            )

        native = Asset.of(b"XLM", None, network)
        issuers = [account("issuer", number, 1_000, _ISSUER_FLAGS) for number in range(len(_CODES))]
        assets = tuple(Asset.of(code, issuer.id, network) for code, issuer in zip(_CODES, issuers, strict=True))
        world = cls(
            network=network,
            seed=seed,
            sequence=sequence,
            native=native,
            assets=assets,
            issuers={issuer.id: issuer for issuer in issuers},
            users=[account("user", number, 10_000) for number in range(users)],
            makers=[account("maker", number, 10_000_000) for number in range(_MAKERS)],
            payer=account("payer", 0, 10_000_000),
            lines={},
            offers={},
            pool=Pool(
                modified=sequence,
                a=native,
                b=assets[0],
                reserve_a=8_000_000 * XLM,
                reserve_b=1_000_000 * XLM,
                shares=2_800_000 * XLM,
                holders=_POOL_HOLDERS,
            ),
            token=key("token", 0),
            token_balances={},
            previous_hash=key("genesis", 0),
        )
        world._populate()
        return world

    def holding(self, account: Account, asset: Asset) -> Account | TrustLine | None:
        """What holds an account's balance of an asset; None for its issuer, whose balance has no bound.

        Raises:
            KeyError: the account does not trust the asset.
        """
        if asset.issuer is None:
            return account
        if asset.issuer == account.id:
            return None
        return self.lines[account.id, asset.xdr]

    def can_hold(self, account: Account, asset: Asset) -> bool:
        """Whether an account can send and receive an asset."""
        if asset.issuer is None or asset.issuer == account.id:
            return True
        line = self.lines.get((account.id, asset.xdr))
        return line is not None and bool(line.flags & TrustLineFlags.AUTHORIZED_FLAG)

    def spendable(self, account: Account, asset: Asset) -> int:
        """How much an account can send, in stroops."""
        holding = self.holding(account, asset)
        if holding is None:
            return 1_000 * XLM
        reserve = 100 * XLM if isinstance(holding, Account) else 0
        return max(0, holding.balance - holding.selling - reserve)

    def trust(self, account: Account, asset: bytes, balance: int = 0, flags: int = TRANSFERABLE) -> TrustLine:
        """A new trust line, which counts as a subentry (a pool's counts as two)."""
        line = TrustLine(modified=self.sequence, holder=account, asset=asset, balance=balance, flags=flags)
        self.lines[account.id, asset] = line
        account.subentries += 1 + (asset == self.share_asset)
        return line

    def offer(
        self, seller: Account, given: Asset, wanted: Asset, amount: int, price: tuple[int, int], passive: bool
    ) -> Offer:
        """A new standing offer under the next id; its liabilities are not booked yet."""
        self.id_pool += 1
        n, d = price
        offer = Offer(
            modified=self.sequence,
            seller=seller,
            id=self.id_pool,
            given=given,
            wanted=wanted,
            amount=amount,
            n=n,
            d=d,
            passive=passive,
        )
        self.offers[offer.id] = offer
        seller.subentries += 1
        return offer

    def book(self, offer: Offer, sign: int) -> None:
        """Add (sign 1) or take back (sign -1) the liabilities of an offer."""
        given = self.holding(offer.seller, offer.given)
        wanted = self.holding(offer.seller, offer.wanted)
        if given is not None:
            given.selling += sign * offer.amount
        if wanted is not None:
            wanted.buying += sign * (offer.amount * offer.n // offer.d)

    @property
    def share_asset(self) -> bytes:
        """``TrustLineAsset`` of the pool's shares."""
        return u32(3) + self.pool.id()

    def price(self, given: Asset, wanted: Asset) -> tuple[int, int]:
        """The usual price n / d of a pair of :meth:`pairs`."""
        return _PRICES[self.pairs().index((given, wanted))]

    def pairs(self) -> tuple[tuple[Asset, Asset], ...]:
        """The pairs that are traded, as (given, wanted) of the standing offers."""
        usdc, eurc = self.assets[:2]
        return ((self.native, usdc), (usdc, self.native), (eurc, usdc), (usdc, eurc))

    def _populate(self) -> None:
        for maker in self.makers:
            for asset in self.assets:
                self.trust(maker, asset.xdr, 10_000_000 * XLM)
        for number, user in enumerate(self.users):
            for place, asset in enumerate(self.assets):
                if place < 2 or (number + place) % 3 == 0:
                    self.trust(user, asset.xdr, 5_000 * XLM)
        for user in self.users[:_POOL_HOLDERS]:
            self.trust(user, self.share_asset, self.pool.shares // _POOL_HOLDERS)
        rng = Random(f"{self.seed}/offers")
        for (given, wanted), price in zip(self.pairs(), _PRICES, strict=True):
            for maker in rng.sample(self.makers, _OFFERS_PER_PAIR):
                self.book(self.offer(maker, given, wanted, 100_000 * XLM, price, False), 1)
        for user in self.users[::2]:
            balance = TokenBalance(modified=self.sequence, contract=self.token, holder=user, amount=10**21 + 10**14)
            life = TimeToLive(modified=self.sequence, of=balance, live_until=self.sequence + 2_073_600)
            self.token_balances[user.id] = balance, life
