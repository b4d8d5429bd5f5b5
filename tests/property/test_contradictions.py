"""Well-formed XDR whose parts contradict each other is refused, not shown as if it were true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import DecodeError
from tests.differential.expected.join import Ledger, Transaction
from tests.property.hostile import assert_tells_where
from tests.support.corpus import PUBNET
from tests.support.decoding import STREAMS, full_decoder
from tests.support.made_ledgers import accounts_within, made_ledger

MERGE = xdr.OperationType.ACCOUNT_MERGE


def has_results(tx: Transaction) -> bool:
    return tx.fee_bump is None and bool(tx.result.result.results)


def has_no_merge(tx: Transaction) -> bool:
    return has_results(tx) and tx.body.operations[0].body.type != MERGE


def repeat_hash(tx: Transaction) -> None:
    others = [other for other in tx.ledger.transactions if other.index != tx.index]
    others[0].processed.result.transaction_hash = tx.processed.result.transaction_hash


def drop_result(tx: Transaction) -> None:
    tx.result.result.results = tx.result.result.results[:-1]


def drop_all_results(tx: Transaction) -> None:
    tx.result.result.results = []


def repeat_result(tx: Transaction) -> None:
    tx.result.result.results = [*tx.result.result.results, tx.result.result.results[-1]]


def swap_type(tx: Transaction) -> None:
    success = xdr.AccountMergeResultCode.ACCOUNT_MERGE_SUCCESS
    merged = xdr.AccountMergeResult(success, source_account_balance=xdr.Int64(5))
    tr = xdr.OperationResultTr(MERGE, account_merge_result=merged)
    tx.result.result.results[0] = xdr.OperationResult(xdr.OperationResultCode.opINNER, tr=tr)


def metas(tx: Transaction) -> Any:
    """What holds the meta of the operations."""
    meta = tx.processed.tx_apply_processing
    return meta.v1 or meta.v2 or meta.v3 or meta.v4 or meta


def repeat_meta(tx: Transaction) -> None:
    metas(tx).operations = [*metas(tx).operations, metas(tx).operations[-1]]


def sponsored_accounts(tx: Transaction) -> list[Any]:
    """Those that list who sponsors their signers."""
    found = []
    for account in accounts_within(tx.processed.fee_processing):
        v2 = account.ext.v1.ext.v2 if account.ext.v1 is not None else None
        if v2 is not None and v2.signer_sponsoring_i_ds:
            found.append(account)
    return found


def drop_signer(tx: Transaction) -> None:
    account = sponsored_accounts(tx)[0]
    account.signers = account.signers[:-1]


CONTRADICTIONS: dict[str, tuple[Callable[[Transaction], bool], Callable[[Transaction], None]]] = {
    "two results of one transaction": (lambda tx: len(tx.ledger.transactions) > 1, repeat_hash),
    "fewer results than operations": (lambda tx: has_results(tx) and len(tx.body.operations) > 1, drop_result),
    "no results of operations that were applied": (has_results, drop_all_results),
    "more results than operations": (has_results, repeat_result),
    "the meta of more operations than there are": (lambda tx: bool(metas(tx).operations), repeat_meta),
    "a result of another type than its operation": (has_no_merge, swap_type),
    "an account with more sponsors than signers": (lambda tx: bool(sponsored_accounts(tx)), drop_signer),
}


def contradictory(applies: Callable[[Transaction], bool], spoil: Callable[[Transaction], None]) -> Iterator[Any]:
    """Ledgers that were fine but for one transaction."""
    for seed in range(60):
        meta = xdr.LedgerCloseMeta.from_xdr_bytes(made_ledger(seed, PUBNET, budget=1500))
        ledger = Ledger(meta, PUBNET)
        for tx in ledger.transactions:
            if applies(tx):
                spoil(tx)
                yield ledger
                break


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_contradiction_is_refused(kind: str) -> None:
    decoder = full_decoder(PUBNET)
    tried = 0
    for ledger in contradictory(*CONTRADICTIONS[kind]):
        data = ledger.meta.to_xdr_bytes()
        with pytest.raises(DecodeError) as raised:
            decoder.decode([data])
        assert raised.value.ledger == ledger.sequence
        assert_tells_where(raised.value, data)
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("stream", STREAMS)
def test_contradiction_is_refused_by_every_stream_that_would_show_it(stream: str) -> None:
    """What is served does not depend on which other streams are asked for at the same time."""
    for ledger in contradictory(*CONTRADICTIONS["two results of one transaction"]):
        with pytest.raises(IntegrityError):
            full_decoder(PUBNET, [stream]).decode([ledger.meta.to_xdr_bytes()])
