"""Random ledgers whose transactions join their results, for comparing the decoder with the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from stellar_sdk import xdr

from tests.differential.expected.join import SUCCESS, Ledger, transaction_hash
from tests.support.generate import Generator
from tests.support.made_changes import make_changes_plausible
from tests.support.made_states import make_states_plausible
from tests.support.made_transfers import make_fee, make_transfer

Code = xdr.TransactionResultCode

BUMPED = {Code.txFEE_BUMP_INNER_SUCCESS: Code.txSUCCESS, Code.txFEE_BUMP_INNER_FAILED: Code.txFAILED}
HAS_OPERATIONS = {Code.txSUCCESS, Code.txFAILED}
RESULT_METAS = (xdr.TransactionResultMeta, xdr.TransactionResultMeta, xdr.TransactionResultMetaV1)


def made_ledger(seed: int, passphrase: str, *, budget: int = 4000, kind: xdr.OperationType | None = None) -> bytes:
    """LedgerCloseMeta of a random ledger of this network; with ``kind``, operations of that type only."""
    draw = Generator(seed, budget)
    meta = draw.make(xdr.LedgerCloseMeta)
    ledger = Ledger(meta, passphrase)
    ledger.header.ledger_seq = xdr.Uint32(draw.chance.randint(1, 2**31 - 1))
    ledger.header.scp_value.close_time = xdr.TimePoint(xdr.Uint64(draw.chance.randint(0, 2**34)))
    draw.budget = budget
    for envelope in ledger.envelopes() if kind is not None else ():
        for operation in transaction_of(envelope).operations:
            operation.body = draw.case(xdr.OperationBody, kind)
    envelopes = {transaction_hash(envelope, ledger.network_id): envelope for envelope in ledger.envelopes()}
    for envelope in envelopes.values():
        make_plausible(draw, envelope)
    joined = [
        processed(draw, ledger, transaction_hash(envelope, ledger.network_id), envelope)
        for envelope in envelopes.values()
    ]
    draw.chance.shuffle(joined)
    ledger.body.tx_processing = joined
    make_states_plausible(draw.chance, [joined, ledger.body.upgrades_processing], ledger.network_id)
    for account in accounts_within(ledger.body):
        make_sponsors_plausible(draw, account)
    make_changes_plausible(seed, Ledger(meta, passphrase))
    return bytes(meta.to_xdr_bytes())


def transaction_of(envelope: Any) -> Any:
    """The transaction whose operations are applied."""
    if envelope.fee_bump is not None:
        return envelope.fee_bump.tx.inner_tx.v1.tx
    return (envelope.v0 or envelope.v1).tx


def make_plausible(draw: Generator, envelope: Any) -> None:
    """Fees of a size that their differences fit an int64, as any that the network accepts."""
    if envelope.fee_bump is not None:
        envelope.fee_bump.tx.fee = xdr.Int64(draw.chance.randint(0, 2**60))
    tx = transaction_of(envelope)
    if envelope.v0 is None and tx.ext.soroban_data is not None:
        tx.ext.soroban_data.resource_fee = xdr.Int64(draw.chance.randint(0, 2**60))


def processed(draw: Generator, ledger: Ledger, tx_hash: bytes, envelope: Any) -> Any:
    """A random TransactionResultMeta of this envelope."""
    made = draw.make(RESULT_METAS[ledger.version])
    made.result = xdr.TransactionResultPair(xdr.Hash(tx_hash), result_of(draw, envelope))
    owner = account_of(envelope.fee_bump.tx.fee_source) if envelope.fee_bump is not None else source_of(envelope)
    made.fee_processing = fee_changes(draw, owner)
    meta = made.tx_apply_processing.v1 or made.tx_apply_processing.v2 or made.tx_apply_processing.v3
    meta = meta or made.tx_apply_processing.v4 or made.tx_apply_processing
    count = len(transaction_of(envelope).operations)
    meta.operations = (meta.operations * count)[:count]  # all operations have theirs, or none has
    make_events_plausible(draw, made.tx_apply_processing, envelope)
    details = made.tx_apply_processing.v3 or made.tx_apply_processing.v4
    if details is not None:
        details.tx_changes_after = fee_changes(draw, owner)
    if ledger.version == 2:
        made.post_tx_apply_fee_processing = fee_changes(draw, owner)
    return made


def make_events_plausible(draw: Generator, meta: Any, envelope: Any) -> None:
    """Outside the diagnostic events none is of type DIAGNOSTIC; without an operation there is no event of one."""
    events = []
    if meta.v3 is not None and meta.v3.soroban_meta is not None:
        if not transaction_of(envelope).operations:
            meta.v3.soroban_meta.events = []
        events += meta.v3.soroban_meta.events
    if meta.v4 is not None:
        events += [event for operation in meta.v4.operations for event in operation.events]
        events += [happened.event for happened in meta.v4.events]
    for event in events:
        event.type = draw.chance.choice([xdr.ContractEventType.CONTRACT, xdr.ContractEventType.SYSTEM])
        if draw.chance.random() < 0.4:
            make_transfer(draw.chance, event)
    for happened in meta.v4.events if meta.v4 is not None else []:
        if draw.chance.random() < 0.5:
            make_fee(draw.chance, happened.event)


def accounts_within(value: object) -> Iterator[Any]:
    """Every AccountEntry."""
    if isinstance(value, xdr.AccountEntry):
        yield value
    for part in value if isinstance(value, list) else vars(value).values() if hasattr(value, "__dict__") else ():
        if not isinstance(part, Enum):
            yield from accounts_within(part)


def make_sponsors_plausible(draw: Generator, account: Any) -> None:
    """As many sponsors as signers, as stellar-core keeps them."""
    if account.ext.v1 is not None and account.ext.v1.ext.v2 is not None:
        details = account.ext.v1.ext.v2
        details.signer_sponsoring_i_ds = [draw.make(xdr.SponsorshipDescriptor) for _ in account.signers]


def source_of(envelope: Any) -> xdr.AccountID:
    if envelope.v0 is not None:
        return account_id(envelope.v0.tx.source_account_ed25519)
    return account_of(envelope.v1.tx.source_account)


def account_of(address: Any) -> xdr.AccountID:
    return account_id(address.ed25519 or address.med25519.ed25519)


def account_id(key: xdr.Uint256) -> xdr.AccountID:
    return xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, key))


def fee_changes(draw: Generator, owner: xdr.AccountID) -> Any:
    """Mostly the payer's account before and after, seldom its end, among changes of other entries."""
    others = draw.make(xdr.LedgerEntryChanges).ledger_entry_changes
    changes = [change for change in others if draw.chance.random() < 0.5]
    if draw.chance.random() < 0.8:
        known: list[Any] = []
        for kind, arm in (("LEDGER_ENTRY_STATE", "state"), ("LEDGER_ENTRY_UPDATED", "updated")):
            balance = xdr.Int64(draw.chance.randint(0, 2**60))
            account = draw.make(xdr.AccountEntry, account_id=owner, balance=balance)
            account.signers += [signer for signer in known if draw.chance.random() < 0.5]
            known = account.signers
            data = xdr.LedgerEntryData(xdr.LedgerEntryType.ACCOUNT, account=account)
            entry = draw.make(xdr.LedgerEntry, data=data)
            changes.append(xdr.LedgerEntryChange(xdr.LedgerEntryChangeType[kind], **{arm: entry}))
        if draw.chance.random() < 0.1:
            key = xdr.LedgerKey(xdr.LedgerEntryType.ACCOUNT, account=xdr.LedgerKeyAccount(owner))
            changes.append(xdr.LedgerEntryChange(xdr.LedgerEntryChangeType.LEDGER_ENTRY_REMOVED, removed=key))
    return xdr.LedgerEntryChanges(changes)


def result_of(draw: Generator, envelope: Any) -> Any:
    """A TransactionResult that fits: a fee bump's holds an inner pair, results have their operations' types."""
    operations = transaction_of(envelope).operations
    fee = draw.make(xdr.Int64)
    if envelope.fee_bump is None:
        result = outcome(draw, xdr.TransactionResultResult, operations)
    elif draw.chance.random() < 0.8:
        code = draw.chance.choice(list(BUMPED))
        inner = outcome(draw, xdr.InnerTransactionResultResult, operations, BUMPED[code])
        pair = draw.make(xdr.InnerTransactionResultPair)
        pair.result.result = inner
        result = xdr.TransactionResultResult(code, inner_result_pair=pair)
    else:
        refused = [code for code in Code if code not in {*BUMPED, *HAS_OPERATIONS}]
        result = xdr.TransactionResultResult(draw.chance.choice(refused))
    return draw.make(xdr.TransactionResult, fee_charged=fee, result=result)


def outcome(draw: Generator, cls: Any, operations: list[Any], bumped: Code | None = None) -> Any:
    """The result union of a transaction that is no fee bump, or of one inside a fee bump."""
    code = draw.chance.choice([Code.txSUCCESS, Code.txSUCCESS, Code.txFAILED, draw.make(Code)])
    code = code if bumped is None else bumped
    if bumped is Code.txFAILED and draw.chance.random() < 0.3:
        code = Code.txBAD_AUTH
    if code in BUMPED:
        code = Code.txBAD_SEQ
    if code not in HAS_OPERATIONS:
        return cls(code)
    return cls(code, results=[operation_result(draw, operation, code in SUCCESS) for operation in operations])


def operation_result(draw: Generator, operation: Any, successful: bool) -> Any:
    if not successful and draw.chance.random() < 0.2:
        refused = [code for code in xdr.OperationResultCode if code != xdr.OperationResultCode.opINNER]
        return xdr.OperationResult(draw.chance.choice(refused))
    kind = operation.body.type
    if kind == xdr.OperationType.CREATE_PASSIVE_SELL_OFFER and draw.chance.random() < 0.5:
        kind = xdr.OperationType.MANAGE_SELL_OFFER  # stellar-core does so
    tr = draw.case(xdr.OperationResultTr, kind)
    if successful:
        (name,) = (name for name, value in vars(tr).items() if name != "type" and value is not None)
        result = type(getattr(tr, name))
        codes = type(getattr(tr, name).code)
        setattr(tr, name, draw.case(result, codes(0)))
        make_amounts_plausible(draw, tr.path_payment_strict_receive_result)
    return xdr.OperationResult(xdr.OperationResultCode.opINNER, tr=tr)


def make_amounts_plausible(draw: Generator, strict_receive: Any) -> None:
    """Amounts that were traded are not negative, and their sums fit an int64."""
    success = strict_receive.success if strict_receive is not None else None
    if success is not None:
        success.last.amount = xdr.Int64(draw.chance.randint(0, 2**60))
        for atom in success.offers:
            trade = atom.v0 or atom.order_book or atom.liquidity_pool
            trade.amount_bought = xdr.Int64(draw.chance.randint(0, 2**60))
