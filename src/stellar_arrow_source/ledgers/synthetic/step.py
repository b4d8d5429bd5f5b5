"""One operation being applied: what it may touch, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from stellar_sdk.xdr import ClaimAtomType

from stellar_arrow_source.ledgers.synthetic.entries import Account, Asset, Changes, Offer, TrustLine
from stellar_arrow_source.ledgers.synthetic.events import movement
from stellar_arrow_source.ledgers.synthetic.packing import (
    account_address,
    account_id,
    i64,
    pool_address,
    scv_u64,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.world import World


@dataclass(frozen=True, slots=True)
class Memo:
    """A memo, as the envelope and as an event carry it."""

    xdr: bytes
    event: bytes | None  # SCVal


class Context(NamedTuple):
    """What the operations of a transaction know of it."""

    source: Account
    sequence: int
    memo: Memo
    close_time: int


class Applied(NamedTuple):
    """``Operation.body`` and ``OperationResult``."""

    body: bytes
    result: bytes


class Step:
    """One operation of one transaction, on the world as it is.

    Attributes:
        source: the operation's source account, the transaction's unless :meth:`act_as` says otherwise.
        number: 0-based place of the operation in its transaction.
        changes, events: what the operation's meta will hold.
        footprint: LedgerKeys that a Soroban operation reads, and those it writes.
        returned: SCVal that a contract's function returned.
        diagnostics: DiagnosticEvents of the call.
    """

    def __init__(self, world: World, rng: Random, context: Context, number: int) -> None:
        self.world = world
        self.rng = rng
        self.context = context
        self.number = number
        self.source = context.source
        self.changes = Changes(world.sequence)
        self.events: list[bytes] = []
        self.footprint: tuple[list[bytes], list[bytes]] = ([], [])
        self.returned: bytes | None = None
        self.diagnostics: list[bytes] = []

    def act_as(self, account: Account) -> None:
        """Let another account than the transaction's be the source."""
        self.source = account

    def pick_user(self) -> Account:
        """Any user but the source."""
        users = self.world.users
        user = users[int(self.rng.random() * len(users))]
        return user if user is not self.source else users[users.index(user) - 1]

    def pick_holder(self, asset: Asset) -> Account | None:
        """Any user but the source who can hold an asset, or None if none is found soon."""
        for _ in range(8):
            if self.world.can_hold(user := self.pick_user(), asset):
                return user
        return None

    def pick_offer(self, given: Asset | None = None) -> Offer | None:
        """A standing offer of somebody else, of a given asset if one is named."""
        offers = [
            offer
            for offer in self.world.offers.values()
            if offer.seller is not self.source and (given is None or offer.given is given)
        ]
        return offers[int(self.rng.random() * len(offers))] if offers else None

    def some_of(self, amount: int) -> int:
        """A part of what is there: small more often than large, 0 when there is hardly anything."""
        part = self.rng.random()
        return int(amount * (part * part * part) / 25)  # no power: its last bit differs between platforms

    def adjust(self, account: Account, asset: Asset, delta: int) -> None:
        """Change an account's balance of an asset."""
        holding = self.world.holding(account, asset)
        if holding is not None:
            self.changes.touch(holding)
            holding.balance += delta

    def move(
        self, asset: Asset, giver: Account, taker: Account, amount: int, *, to_muxed_id: bytes | None = None
    ) -> None:
        """Move asset between accounts, with the event of it."""
        self.adjust(giver, asset, -amount)
        self.adjust(taker, asset, amount)
        self.record(asset, account_address(giver.id), account_address(taker.id), amount, to_muxed_id)

    def record(self, asset: Asset, giver: bytes, taker: bytes, amount: int, to_muxed_id: bytes | None = None) -> None:
        """The event of asset that moved from one SCAddress to another."""
        issuer = None if asset.issuer is None else account_address(asset.issuer)
        self.events.append(movement(asset, giver, taker, amount, to_muxed_id=to_muxed_id, issuer=issuer))

    def receiver_memo(self, memo_id: int | None) -> bytes | None:
        """What an event says of the receiver: its multiplexed id, else the transaction's memo."""
        return self.context.memo.event if memo_id is None else scv_u64(memo_id)

    def trade(self, offer: Offer, lots: int) -> tuple[int, int, bytes]:
        """The source takes ``lots`` times the price's smallest exact amounts from an offer.

        Returns:
            what the source gets, what it pays, and the ``ClaimAtom``.
        """
        got, paid = lots * offer.d, lots * offer.n
        seller = offer.seller
        self.rebook(offer, offer.amount - got)
        # The order of stellar-core: first what the taker pays, then what it gets.
        self.move(offer.wanted, self.source, seller, paid)
        self.move(offer.given, seller, self.source, got)
        sold, bought = offer.given.xdr + i64(got), offer.wanted.xdr + i64(paid)
        kind = u32(ClaimAtomType.CLAIM_ATOM_TYPE_ORDER_BOOK)
        return got, paid, kind + account_id(seller.id) + i64(offer.id) + sold + bought

    def swap(self, asset: Asset, paid: int) -> tuple[int, bytes]:
        """The source pays asset into the pool and gets the other asset by its constant product.

        Returns:
            what the source gets and the ``ClaimAtom``.
        """
        pool = self.world.pool
        buys_b = asset is pool.a
        other = pool.b if buys_b else pool.a
        reserve, counter = (pool.reserve_a, pool.reserve_b) if buys_b else (pool.reserve_b, pool.reserve_a)
        worth = paid * 9_970  # after the pool's fee of 30 basis points
        got = counter * worth // (reserve * 10_000 + worth)
        self.changes.touch(pool)
        if buys_b:
            pool.reserve_a, pool.reserve_b = pool.reserve_a + paid, pool.reserve_b - got
        else:
            pool.reserve_b, pool.reserve_a = pool.reserve_b + paid, pool.reserve_a - got
        self.adjust(self.source, asset, -paid)
        self.adjust(self.source, other, got)
        here, there = account_address(self.source.id), pool_address(pool.id())
        self.record(asset, here, there, paid)
        self.record(other, there, here, got)
        atom = u32(ClaimAtomType.CLAIM_ATOM_TYPE_LIQUIDITY_POOL) + pool.id()
        return got, atom + other.xdr + i64(got) + asset.xdr + i64(paid)

    def post(self, given: Asset, wanted: Asset, amount: int, price: tuple[int, int], *, passive: bool) -> Offer:
        """A new offer of the source."""
        self._touch_holdings(self.source, given, wanted)
        self.changes.touch(self.source)
        offer = self.world.offer(self.source, given, wanted, amount, price, passive)
        self.changes.create(offer)
        self.world.book(offer, 1)
        return offer

    def rebook(self, offer: Offer, amount: int) -> None:
        """Change what an offer still gives, with its seller's liabilities; nothing left = the offer is gone."""
        self._touch_holdings(offer.seller, offer.given, offer.wanted)
        self.changes.touch(offer)
        self.world.book(offer, -1)
        offer.amount = amount
        if amount:
            self.world.book(offer, 1)
            return
        self.changes.touch(offer.seller)
        offer.seller.subentries -= 1
        self.changes.remove(offer)
        del self.world.offers[offer.id]

    def _touch_holdings(self, account: Account, *assets: Asset) -> None:
        holdings = (self.world.holding(account, asset) for asset in assets)
        self.changes.touch(*(holding for holding in holdings if holding is not None))

    def drop_line(self, line: TrustLine) -> None:
        """A trust line that is given up."""
        self.changes.touch(line.holder)
        line.holder.subentries -= 1
        self.changes.remove(line)
        del self.world.lines[line.holder.id, line.asset]


Operation = Callable[[Step], Applied | None]
"""Applies one operation; None = the world does not allow it now, and nothing is changed."""
