"""Expected rows of ``ledger_entry_changes``, and the changes of a ledger in the order in which they took effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from stellar_sdk import StrKey, xdr

from .join import Ledger, Transaction
from .values import account, arm, asset_columns, balance_id, plain, pool_strkey

CHANGE = xdr.LedgerEntryChangeType
TYPE = xdr.LedgerEntryType


@dataclass
class Change:
    """One LedgerEntryChange; ``index`` is its ordinal in the ledger, ``pre`` that of the state it starts from."""

    ledger: Ledger
    transaction: Transaction | None
    operation: int | None
    site: str
    change: Any
    index: int = 0
    pre: int | None = None

    def __post_init__(self) -> None:
        self.type = self.change.type
        self.removed = self.type == CHANGE.LEDGER_ENTRY_REMOVED
        self.entry = None if self.removed else arm(self.change)
        self.key = self.change.removed if self.removed else key_of(self.entry)
        self.key_xdr: bytes = self.key.to_xdr_bytes()
        self.key_hash = sha256(self.key_xdr).digest()


def changes_of(ledger: Ledger) -> list[Change]:
    """All changes: fees first, then transactions as they are applied, then refunds, then upgrades."""
    found: list[Change] = []
    for transaction, operation, site, items in lists_of(ledger):
        for position, item in enumerate(items.ledger_entry_changes):
            change = Change(ledger, transaction, operation, site, item, index=len(found) + 1)
            if change.type in {CHANGE.LEDGER_ENTRY_UPDATED, CHANGE.LEDGER_ENTRY_REMOVED} and position:
                last = found[-1]
                if last.key_xdr == change.key_xdr and last.type in {
                    CHANGE.LEDGER_ENTRY_STATE,
                    CHANGE.LEDGER_ENTRY_RESTORED,
                }:
                    change.pre = last.index
            found.append(change)
    return found


def lists_of(ledger: Ledger) -> Iterator[tuple[Transaction | None, int | None, str, Any]]:
    """(transaction, operation, site, LedgerEntryChanges) in the order in which they took effect."""
    transactions, parallel = ledger.transactions, parallel_envelopes(ledger)
    for tx in transactions:
        yield tx, None, "fee_processing", tx.processed.fee_processing
    for tx in transactions:
        if id(tx.envelope) not in parallel:
            yield from before(tx)
            yield from operations_and_after(tx)
    # CAP-63: sequence numbers and signers of all transactions of the phase come before the first operation
    together = [tx for tx in transactions if id(tx.envelope) in parallel]
    for tx in together:
        yield from before(tx)
    for tx in together:
        yield from operations_and_after(tx)
    if ledger.version == 2:
        for tx in transactions:
            yield tx, None, "post_fee_processing", tx.processed.post_tx_apply_fee_processing
    for upgrade in ledger.body.upgrades_processing:
        yield None, None, "upgrade", upgrade.changes


def parallel_envelopes(ledger: Ledger) -> set[int]:
    """Identities of the envelopes of the parallel phase."""
    if ledger.version == 0:
        return set()
    components = [phase.parallel_txs_component for phase in ledger.body.tx_set.v1_tx_set.phases]
    return {
        id(envelope)
        for component in components
        if component is not None
        for stage in component.execution_stages
        for cluster in stage.parallel_tx_execution_stage
        for envelope in cluster.dependent_tx_cluster
    }


def before(tx: Transaction) -> Iterator[tuple[Transaction, None, str, Any]]:
    meta = tx.processed.tx_apply_processing
    if meta.v == 1:
        yield tx, None, "transaction_before", meta.v1.tx_changes
    elif meta.v > 1:
        yield tx, None, "transaction_before", arm(meta).tx_changes_before


def operations_and_after(tx: Transaction) -> Iterator[tuple[Transaction, int | None, str, Any]]:
    meta = tx.processed.tx_apply_processing
    operations = meta.operations if meta.v == 0 else arm(meta).operations
    for number, operation in enumerate(operations, start=1):
        yield tx, number, "operation", operation.changes
    if meta.v > 1:
        yield tx, None, "transaction_after", arm(meta).tx_changes_after


def key_of(entry: Any) -> Any:
    """The LedgerKey of a LedgerEntry."""
    data = entry.data
    body = arm(data)
    match data.type:
        case TYPE.ACCOUNT:
            return xdr.LedgerKey(data.type, account=xdr.LedgerKeyAccount(body.account_id))
        case TYPE.TRUSTLINE:
            return xdr.LedgerKey(data.type, trust_line=xdr.LedgerKeyTrustLine(body.account_id, body.asset))
        case TYPE.OFFER:
            return xdr.LedgerKey(data.type, offer=xdr.LedgerKeyOffer(body.seller_id, body.offer_id))
        case TYPE.DATA:
            return xdr.LedgerKey(data.type, data=xdr.LedgerKeyData(body.account_id, body.data_name))
        case TYPE.CLAIMABLE_BALANCE:
            key = xdr.LedgerKeyClaimableBalance(body.balance_id)
            return xdr.LedgerKey(data.type, claimable_balance=key)
        case TYPE.LIQUIDITY_POOL:
            return xdr.LedgerKey(data.type, liquidity_pool=xdr.LedgerKeyLiquidityPool(body.liquidity_pool_id))
        case TYPE.CONTRACT_DATA:
            contract = xdr.LedgerKeyContractData(body.contract, body.key, body.durability)
            return xdr.LedgerKey(data.type, contract_data=contract)
        case TYPE.CONTRACT_CODE:
            return xdr.LedgerKey(data.type, contract_code=xdr.LedgerKeyContractCode(body.hash))
        case TYPE.CONFIG_SETTING:
            setting = xdr.LedgerKeyConfigSetting(body.config_setting_id)
            return xdr.LedgerKey(data.type, config_setting=setting)
        case TYPE.TTL:
            return xdr.LedgerKey(data.type, ttl=xdr.LedgerKeyTtl(body.key_hash))
    raise AssertionError(data.type)


def sponsor(entry: Any) -> str | None:
    """The sponsor of an entry that has one."""
    if entry is None or entry.ext.v == 0:
        return None
    return account(entry.ext.v1.sponsoring_id.sponsorship_descriptor)


def change_row(change: Change) -> dict[str, Any]:
    tx, operation, entry = change.transaction, change.operation, change.entry
    body = arm(entry.data) if entry is not None else None
    return {
        **change.ledger.position_columns,
        "transaction_id": tx.id if tx is not None else None,
        "transaction_index": tx.index if tx is not None else None,
        "operation_id": tx.id | operation if tx is not None and operation is not None else None,
        "operation_index": operation,
        "transaction_hash": tx.hash if tx is not None else None,
        "change_site": change.site,
        "change_index": change.index,
        "change_type": change.type.name,
        "change_type_code": int(change.type),
        "ledger_entry_type": change.key.type.name.lower(),
        "ledger_key_hash": change.key_hash,
        "last_modified_ledger": plain(entry.last_modified_ledger_seq) if entry is not None else None,
        "sponsor": sponsor(entry),
        "pre_change_index": change.pre,
        **key_columns(change.key, body),
        "successful": tx.successful if tx is not None else None,
        "ledger_key_xdr": change.key_xdr,
        "ledger_entry_xdr": entry.to_xdr_bytes() if entry is not None else None,
        "change_xdr": change.change.to_xdr_bytes(),
    }


def key_columns(key: Any, body: Any) -> dict[str, Any]:
    """What tells whose entry it is, and its balance; ``body`` is None where it is removed."""
    inner = arm(key)
    row: dict[str, Any] = {
        "account_id": None,
        **asset_columns("asset", None),
        "balance": None,
        "offer_id": None,
        "balance_id": None,
        "liquidity_pool_id": None,
        "contract_id": None,
    }
    match key.type:
        case TYPE.ACCOUNT:
            row |= {"account_id": account(inner.account_id), **asset_columns("asset", lumens())}
            row["balance"] = plain(body.balance) if body is not None else None
        case TYPE.TRUSTLINE:
            row |= {"account_id": account(inner.account_id), **asset_columns("asset", inner.asset)}
            row["balance"] = plain(body.balance) if body is not None else None
            pool = inner.asset.liquidity_pool_id
            row["liquidity_pool_id"] = pool_strkey(plain(pool)) if pool is not None else None
        case TYPE.OFFER:
            row |= {"account_id": account(inner.seller_id), "offer_id": plain(inner.offer_id)}
        case TYPE.DATA:
            row["account_id"] = account(inner.account_id)
        case TYPE.CLAIMABLE_BALANCE:
            row["balance_id"] = balance_id(inner.balance_id)
            if body is not None:
                row |= {**asset_columns("asset", body.asset), "balance": plain(body.amount)}
        case TYPE.LIQUIDITY_POOL:
            row["liquidity_pool_id"] = pool_strkey(plain(inner.liquidity_pool_id))
        case TYPE.CONTRACT_DATA:
            if inner.contract.type == xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT:
                row["contract_id"] = StrKey.encode_contract(plain(inner.contract.contract_id))
    return row


@cache
def lumens() -> Any:
    return xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
