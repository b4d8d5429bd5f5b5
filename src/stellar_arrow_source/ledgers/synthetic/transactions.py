"""Transactions: which there are in a ledger, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from stellar_sdk.xdr import (
    EnvelopeType,
    MemoType,
    PreconditionType,
    SignerKeyType,
    TransactionResultCode,
)

from stellar_arrow_source.ledgers.synthetic import contracts, failures, markets, payments, settings
from stellar_arrow_source.ledgers.synthetic.entries import UNCHANGED, Account, Changes
from stellar_arrow_source.ledgers.synthetic.events import fee_event
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_address,
    array,
    i32,
    i64,
    muxed_account,
    opaque,
    scv_bytes,
    scv_string,
    scv_u64,
    some,
    u32,
    u64,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Context, Memo, Operation, Step
from stellar_arrow_source.ledgers.synthetic.world import World

_MIX: tuple[tuple[int, tuple[Operation, ...]], ...] = (
    (30, (payments.payment,)),
    (9, (payments.path_payment_strict_send,)),
    (6, (payments.path_payment_strict_receive,)),
    (10, (markets.manage_sell_offer,)),
    (5, (markets.manage_buy_offer,)),
    (2, (markets.create_passive_sell_offer,)),
    (3, (payments.create_account,)),
    (2, (payments.account_merge,)),
    (2, (settings.set_options,)),
    (3, (markets.change_trust,)),
    (1, (markets.allow_trust,)),
    (1, (markets.set_trust_line_flags,)),
    (3, (settings.manage_data,)),
    (1, (settings.bump_sequence,)),
    (4, (payments.create_claimable_balance,)),
    (3, (payments.claim_claimable_balance,)),
    (1, (settings.begin_sponsoring, settings.sponsored_data, settings.end_sponsoring)),
    (1, (settings.revoke_sponsorship,)),
    (1, (payments.clawback,)),
    (1, (payments.clawback_claimable_balance,)),
    (2, (markets.liquidity_pool_deposit,)),
    (2, (markets.liquidity_pool_withdraw,)),
)
_SOROBAN_MIX: tuple[tuple[int, Operation], ...] = (
    (12, contracts.token_transfer),
    (8, contracts.asset_transfer),
    (2, contracts.extend_footprint_ttl),
)
_CLASSIC_KINDS, _CLASSIC_WEIGHTS = [kind for _, kind in _MIX], [weight for weight, _ in _MIX]
_SOROBAN_KINDS = [kind for _, kind in _SOROBAN_MIX]
_SOROBAN_WEIGHTS = [weight for weight, _ in _SOROBAN_MIX]

_SOROBAN_SHARE = 0.25
_FAILED_SHARE = 0.12
_INVALID_SHARE = 0.03
_FEE_BUMP_SHARE = 0.08
_INVALID = (
    TransactionResultCode.txBAD_SEQ,
    TransactionResultCode.txBAD_AUTH,
    TransactionResultCode.txTOO_LATE,
)
_TEXTS = (b"invoice 2025-10", b"thank you", "Gr\u00fc\u00dfe".encode(), b"caf\xe9 \xff\xfe", b"")
_TOO_LATE = TransactionResultCode.txTOO_LATE
_SUCCESS, _FAILED = TransactionResultCode.txSUCCESS, TransactionResultCode.txFAILED
_INNER_SUCCESS = TransactionResultCode.txFEE_BUMP_INNER_SUCCESS
_INNER_FAILED = TransactionResultCode.txFEE_BUMP_INNER_FAILED


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction on its way through a ledger: drawn up, charged, applied, refunded.

    Attributes:
        outcome: the result code of the transaction itself, of the inner one if a fee bump pays for it.
        payer: the account that pays the fee.
        base_fee: stroops for each operation.
        resource_fee: of a Soroban transaction, in stroops; else 0.
        envelope: ``TransactionEnvelope``, once it is applied.
    """

    source: Account
    kinds: list[Operation]
    outcome: TransactionResultCode
    payer: Account
    base_fee: int
    resource_fee: int
    envelope: bytes = b""
    charged: int = 0
    refund: int = 0
    _hashes: tuple[bytes, bytes] = (b"", b"")  # of the transaction itself, and of the envelope's
    _results: list[bytes] = field(default_factory=list)
    _fee_changes: bytes = UNCHANGED
    _before: bytes = UNCHANGED
    _operations: list[bytes] = field(default_factory=list)
    _soroban_meta: bytes = VOID
    _events: list[bytes] = field(default_factory=list)
    _diagnostics: list[bytes] = field(default_factory=list)
    _refund_changes: bytes = UNCHANGED

    @classmethod
    def draw(cls, world: World, rng: Random, source: Account, base_fee: int) -> Transaction:
        """Draw up a transaction of ``source``; nothing is changed yet."""
        fate, outcome = rng.random(), _SUCCESS
        if fate < _INVALID_SHARE:
            outcome = rng.choice(_INVALID)
        elif fate < _INVALID_SHARE + _FAILED_SHARE:
            outcome = _FAILED
        soroban = rng.random() < _SOROBAN_SHARE
        payer = world.payer if rng.random() < _FEE_BUMP_SHARE else source
        resource_fee = 20_000 + int(rng.random() * 80_000) if soroban else 0
        draw = _soroban_kinds if soroban else _classic_kinds
        return cls(source, draw(rng, failing=outcome == _FAILED), outcome, payer, base_fee, resource_fee)

    @property
    def soroban(self) -> bool:
        """Whether it belongs to the parallel phase."""
        return self.resource_fee > 0

    @property
    def fee_bump(self) -> bool:
        """Whether somebody else pays its fee."""
        return self.payer is not self.source

    def charge(self, world: World) -> None:
        """Take the fee, before any transaction of the ledger is applied."""
        self.charged = self.base_fee * (len(self.kinds) + self.fee_bump) + self.resource_fee
        changes = Changes(world.sequence)
        changes.touch(self.payer)
        self.payer.balance -= self.charged
        world.fee_pool += self.charged
        self._fee_changes = changes.pack()
        self._events.append(fee_event(world.native, account_address(self.payer.id), self.charged))

    def apply(self, world: World, rng: Random, close_time: int) -> None:
        """Consume the sequence number, apply the operations, and sign the envelope of what came out."""
        valid = self.outcome in (_SUCCESS, _FAILED)
        sequence = self.source.sequence + (self.outcome != TransactionResultCode.txBAD_SEQ)
        if valid or self.outcome == TransactionResultCode.txBAD_AUTH:
            self._consume(world, sequence, close_time)
        memo = _memo(rng)
        context = Context(self.source, sequence, memo, close_time)
        bodies: list[bytes] = []
        signers = [self.source.id]
        footprint: tuple[list[bytes], list[bytes]] = ([], [])
        unapplied = contracts.trapped_transfer if self.soroban else failures.idle
        for number, kind in enumerate(self.kinds if valid else [unapplied] * len(self.kinds)):
            step, applied = _applied(kind, world, rng, context, number)
            other = VOID if step.source is self.source else some(muxed_account(step.source.id))
            bodies.append(other + applied.body)
            self._results.append(applied.result)
            self._operations.append(VOID + step.changes.pack() + array(step.events))
            self._diagnostics.extend(step.diagnostics if valid else ())
            footprint = step.footprint
            if self.soroban and self.outcome == _SUCCESS:
                self._settle(rng, step.returned)
            if step.source.id not in signers:
                signers.append(step.source.id)
        if self.outcome != _SUCCESS:
            self._operations = []
            if self.soroban:
                self.refund = self.resource_fee // 3
        extension = some(self._soroban_data(footprint, rng)) if self.soroban else VOID
        conditions = _preconditions(rng, world, sequence, close_time, late=self.outcome == _TOO_LATE)
        memo_id = rng.getrandbits(40) if rng.random() < 0.05 else None
        fee = (self.base_fee + int(rng.random() * 900)) * len(self.kinds) + self.resource_fee
        transaction = b"".join(
            (
                muxed_account(self.source.id, memo_id),
                u32(fee),
                i64(sequence),
                conditions,
                memo.xdr,
                array(bodies),
                extension,
            )
        )
        self._seal(world, rng, transaction, fee, signers)

    def give_back(self, world: World) -> None:
        """Return what is left of the resource fee, after all transactions of the ledger."""
        if not self.refund:
            return
        changes = Changes(world.sequence)
        changes.touch(self.payer)
        self.payer.balance += self.refund
        world.fee_pool -= self.refund
        self._refund_changes = changes.pack()
        payer = account_address(self.payer.id)
        self._events.append(fee_event(world.native, payer, -self.refund, refund=True))

    def result_pair(self) -> bytes:
        """``TransactionResultPair``"""
        results = array(self._results) if self.outcome in (_SUCCESS, _FAILED) else b""
        result = i32(self.outcome) + results
        if self.fee_bump:
            inner, succeeded = self._hashes[0] + i64(0) + result + VOID, self.outcome == _SUCCESS
            result = i32(_INNER_SUCCESS if succeeded else _INNER_FAILED) + inner
        return self._hashes[1] + i64(self.charged - self.refund) + result + VOID

    def result_meta(self, pair: bytes) -> bytes:
        """``TransactionResultMetaV1`` with ``TransactionMetaV4``, around the result pair."""
        return b"".join(
            (
                VOID,
                pair,
                self._fee_changes,
                u32(4),
                VOID,
                self._before,
                array(self._operations),
                UNCHANGED,
                self._soroban_meta,
                array(self._events),
                array(self._diagnostics),
                self._refund_changes,
            )
        )

    def _consume(self, world: World, sequence: int, close_time: int) -> None:
        changes = Changes(world.sequence)
        changes.touch(self.source)
        self.source.sequence = sequence
        self.source.sequence_ledger = world.sequence
        self.source.sequence_time = close_time
        self._before = changes.pack()

    def _settle(self, rng: Random, returned: bytes | None) -> None:
        """Divide the resource fee into what is kept and what is given back."""
        fixed = self.resource_fee // 2
        used = int(rng.random() * (self.resource_fee - fixed))
        self.refund = self.resource_fee - fixed - used
        fees = VOID + i64(fixed) + i64(used) + i64(used // 2)  # SorobanTransactionMetaExtV1
        value = VOID if returned is None else some(returned)
        self._soroban_meta = some(some(fees) + value)

    def _soroban_data(self, footprint: tuple[list[bytes], list[bytes]], rng: Random) -> bytes:
        read, written = footprint
        resources = u32(1_000_000 + rng.getrandbits(20)) + u32(0) + u32(512 * len(written))
        return VOID + array(read) + array(written) + resources + i64(self.resource_fee)

    def _seal(self, world: World, rng: Random, transaction: bytes, fee: int, signers: list[bytes]) -> None:
        """The envelope with its signatures, and the hashes."""
        tagged = u32(EnvelopeType.ENVELOPE_TYPE_TX) + transaction
        self.envelope = tagged + array([_signature(rng, key) for key in signers])
        inner = outer = sha256(world.network + tagged).digest()
        if self.fee_bump:
            bid = fee + self.base_fee + int(rng.random() * 500)
            bump = muxed_account(self.payer.id) + i64(bid) + self.envelope + VOID
            tagged = u32(EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP) + bump
            self.envelope = tagged + array([_signature(rng, self.payer.id)])
            outer = sha256(world.network + tagged).digest()
        self._hashes = inner, outer


def _classic_kinds(rng: Random, *, failing: bool) -> list[Operation]:
    if failing:
        return [failures.idle] * int(rng.random() * 2) + [rng.choice(failures.FAILURES)]
    count = 1 if rng.random() < 0.8 else 2 + int(rng.random() * 4)
    return [kind for kinds in rng.choices(_CLASSIC_KINDS, _CLASSIC_WEIGHTS, k=count) for kind in kinds]


def _soroban_kinds(rng: Random, *, failing: bool) -> list[Operation]:
    if failing:
        return [contracts.trapped_transfer]
    return rng.choices(_SOROBAN_KINDS, _SOROBAN_WEIGHTS)


def _applied(kind: Operation, world: World, rng: Random, context: Context, number: int) -> tuple[Step, Applied]:
    """Apply an operation, or where the world does not allow it now, one of its sort that it always allows."""
    step = Step(world, rng, context, number)
    applied = kind(step)
    if applied is None:
        always = contracts.small_transfer if kind in _SOROBAN_KINDS else payments.payment
        step = Step(world, rng, context, number)
        applied = always(step)
    return step, applied


def _memo(rng: Random) -> Memo:
    draw = rng.random()
    if draw < 0.6:
        return Memo(u32(MemoType.MEMO_NONE), None)
    if draw < 0.75:
        text = rng.choice(_TEXTS)
        return Memo(u32(MemoType.MEMO_TEXT) + opaque(text), scv_string(text))
    if draw < 0.88:
        number = rng.getrandbits(64)
        return Memo(u32(MemoType.MEMO_ID) + u64(number), scv_u64(number))
    digest = rng.randbytes(32)
    kind = MemoType.MEMO_HASH if draw < 0.96 else MemoType.MEMO_RETURN
    return Memo(u32(kind) + digest, scv_bytes(digest))


def _preconditions(rng: Random, world: World, sequence: int, close_time: int, *, late: bool) -> bytes:
    until = close_time - 60 if late else close_time + 300
    bounds = u64(0) + u64(until)
    draw = rng.random()
    if late or draw < 0.4:
        return u32(PreconditionType.PRECOND_TIME) + bounds
    if draw < 0.85:
        return u32(PreconditionType.PRECOND_NONE)
    some_ledgers = some(u32(max(0, world.sequence - 10)) + u32(world.sequence + 100))
    extra = u32(SignerKeyType.SIGNER_KEY_TYPE_HASH_X) + rng.randbytes(32)
    return b"".join(
        (
            u32(PreconditionType.PRECOND_V2),
            some(bounds),
            some_ledgers if rng.random() < 0.5 else VOID,
            some(i64(sequence - 1)) if rng.random() < 0.5 else VOID,
            u64(int(rng.random() * 3)),  # minSeqAge, in seconds
            u32(0),  # minSeqLedgerGap
            array([extra] if rng.random() < 0.3 else []),
        )
    )


def _signature(rng: Random, key: bytes) -> bytes:
    """``DecoratedSignature``; the hint is true, the signature is not."""
    return key[-4:] + opaque(rng.randbytes(64))
