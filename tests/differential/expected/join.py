"""LedgerCloseMeta's transactions, each joined by hash to its envelope, and their operations to results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

from stellar_sdk import xdr

from .values import arm, muxed, plain

SUCCESS = {xdr.TransactionResultCode.txSUCCESS, xdr.TransactionResultCode.txFEE_BUMP_INNER_SUCCESS}


class Ledger:
    """One LedgerCloseMeta of the network ``passphrase``."""

    def __init__(self, meta: Any, passphrase: str) -> None:
        self.meta = meta
        self.version: int = meta.v
        self.body = arm(meta)
        self.header_entry = self.body.ledger_header
        self.header = self.header_entry.header
        self.sequence: int = plain(self.header.ledger_seq)
        self.network_id = sha256(passphrase.encode()).digest()

    @property
    def position_columns(self) -> dict[str, Any]:
        """The two columns that every stream starts with."""
        closed = datetime.fromtimestamp(plain(self.header.scp_value.close_time), UTC)
        return {"ledger_sequence": self.sequence, "ledger_close_time": closed}

    @cached_property
    def transactions(self) -> list[Transaction]:
        """In apply order."""
        envelopes = {transaction_hash(envelope, self.network_id): envelope for envelope in self.envelopes()}
        return [
            Transaction(self, index, processed, envelopes[plain(processed.result.transaction_hash)])
            for index, processed in enumerate(self.body.tx_processing, start=1)
        ]

    def envelopes(self) -> Iterator[Any]:
        """Every envelope of the transaction set, in the set's order."""
        if self.version == 0:
            yield from self.body.tx_set.txs
            return
        for phase in self.body.tx_set.v1_tx_set.phases:
            for component in phase.v0_components or ():
                yield from component.txs_maybe_discounted_fee.txs
            if phase.parallel_txs_component is not None:
                for stage in phase.parallel_txs_component.execution_stages:
                    for cluster in stage.parallel_tx_execution_stage:
                        yield from cluster.dependent_tx_cluster


def transaction_hash(envelope: Any, network_id: bytes) -> bytes:
    """SHA-256 of TransactionSignaturePayload; a V0 transaction is hashed as its V1 equivalent."""
    if envelope.v0 is not None:
        key_type = bytes(4)
        tag, body = xdr.EnvelopeType.ENVELOPE_TYPE_TX, key_type + envelope.v0.tx.to_xdr_bytes()
    elif envelope.v1 is not None:
        tag, body = xdr.EnvelopeType.ENVELOPE_TYPE_TX, envelope.v1.tx.to_xdr_bytes()
    else:
        tag, body = xdr.EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP, envelope.fee_bump.tx.to_xdr_bytes()
    return sha256(network_id + tag.to_bytes(4, "big") + body).digest()


@dataclass
class Transaction:
    """One applied transaction; ``index`` is 1-based."""

    ledger: Ledger
    index: int
    processed: Any
    envelope: Any

    def __post_init__(self) -> None:
        self.result = self.processed.result.result
        self.successful = self.result.result.code in SUCCESS
        self.id = self.ledger.sequence << 32 | self.index << 12
        self.fee_bump = self.envelope.fee_bump.tx if self.envelope.fee_bump is not None else None
        self.inner_pair = self.result.result.inner_result_pair
        if self.fee_bump is not None:
            self.body = self.fee_bump.inner_tx.v1.tx
        else:
            self.body = arm(self.envelope).tx
        if self.envelope.v0 is not None:
            key = self.body.source_account_ed25519
            self.source = xdr.MuxedAccount(xdr.CryptoKeyType.KEY_TYPE_ED25519, ed25519=key)
        else:
            self.source = self.body.source_account
        # A V0 transaction's extension can only be void.
        self.soroban = self.body.ext.soroban_data if self.envelope.v0 is None else None

    @property
    def hash(self) -> bytes:
        value: bytes = plain(self.processed.result.transaction_hash)
        return value

    @property
    def outer_fee(self) -> int:
        """Fee bid of the outermost envelope."""
        fee: int = plain(self.fee_bump.fee if self.fee_bump is not None else self.body.fee)
        return fee

    @property
    def fee_account(self) -> str | None:
        """G-strkey of the account that is charged."""
        return muxed(self.fee_bump.fee_source if self.fee_bump is not None else self.source)[0]

    @property
    def operations(self) -> list[Operation]:
        """In order, each with its result where the transaction got as far as having any."""
        outcome = self.inner_pair.result.result if self.inner_pair is not None else self.result.result
        operations = self.body.operations
        results = outcome.results or [None] * len(operations)
        pairs = zip(operations, results, strict=True)
        return [Operation(self, index, body, result) for index, (body, result) in enumerate(pairs, start=1)]


@dataclass
class Operation:
    """One operation; ``index`` is 1-based, ``result`` an OperationResult or None."""

    transaction: Transaction
    index: int
    operation: Any
    result: Any

    def __post_init__(self) -> None:
        self.id = self.transaction.id | self.index
        self.type = self.operation.body.type
        self.body = arm(self.operation.body)
        self.source = self.operation.source_account or self.transaction.source
        is_inner = self.result is not None and self.result.code == xdr.OperationResultCode.opINNER
        self.inner = arm(self.result.tr) if is_inner else None
        self.successful = self.transaction.successful and self.inner is not None and int(self.inner.code) == 0

    @property
    def effect(self) -> Any:
        """What the result states beside its code; None unless it took effect."""
        return arm(self.inner) if self.successful else None
