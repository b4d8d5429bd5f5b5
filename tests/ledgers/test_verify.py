"""Verification proves real ledgers right and every altered one wrong."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from stellar_sdk import xdr

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import DecodeError, NetworkMismatchError
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.source import RawLedger
from stellar_arrow_source.ledgers.verify import Verifier, verify
from tests.ledgers.stores import made
from tests.support import corpus

START = 500
LEDGERS = made(START, START + 9, 8)


def raw(data: bytes) -> RawLedger:
    return RawLedger(ledger_sequence(data), data)


@corpus.requires_corpus
@pytest.mark.parametrize(
    ("folder", "count", "links"), [("pubnet", 22, 10), ("pubnet-2020-meta-v2", 12, 10), ("testnet-2022", 256, 255)]
)
def test_real_ledgers_are_right(folder: str, count: int, links: int) -> None:
    ledgers = sorted((raw(one.xdr) for one in corpus.ledgers(folder)), key=lambda ledger: ledger.sequence)
    verified = verify(ledgers)
    assert (verified.ledgers, verified.links) == (count, links)
    assert verified.passphrase == corpus.PASSPHRASES[folder]
    assert verified.transactions > 700


@corpus.requires_corpus
@pytest.mark.parametrize("folder", ["stellar-core", "core-upgrades"])
def test_ledgers_of_the_core_are_right(folder: str) -> None:
    checked = empty_sets = 0
    for file in corpus.files(folder):
        verifier = Verifier(corpus.CORE_TESTS)
        for one in corpus.read(file):
            verifier.check(raw(one.xdr))
            meta = xdr.LedgerCloseMeta.from_xdr_bytes(one.xdr)
            value = (meta.v0 or meta.v1 or meta.v2).ledger_header.header.scp_value
            empty_sets += value.ext.v == xdr.StellarValueType.STELLAR_VALUE_EMPTY_TX_SET
        checked += verifier.verified.ledgers
    assert checked >= 40
    assert (empty_sets > 0) == (folder == "stellar-core")


def empty_by_header(hash_of_set: bytes, *, with_transactions: bool) -> RawLedger:
    """The sixth ledger as protocol 28 closes one whose proposed transaction set was dropped."""

    def change(meta: xdr.LedgerCloseMetaV2) -> None:
        value = meta.ledger_header.header.scp_value
        proposed = xdr.StellarValueProposedValue(
            value.tx_set_hash,
            meta.ledger_header.header.previous_ledger_hash,
            xdr.Uint32(27),
            value.ext.lc_value_signature,
        )
        value.ext = xdr.StellarValueExt(xdr.StellarValueType.STELLAR_VALUE_EMPTY_TX_SET, proposed_value=proposed)
        value.tx_set_hash = xdr.Hash(hash_of_set)
        if not with_transactions:
            classic, parallel = meta.tx_set.v1_tx_set.phases
            classic.v0_components = []
            parallel.parallel_txs_component.execution_stages = []
            meta.tx_processing = []
            meta.ledger_header.header.tx_set_result_hash = xdr.Hash(sha256(bytes(4)).digest())

    return altered(change, reseal=True)


def test_a_set_that_was_dropped_must_be_empty() -> None:
    assert verify([empty_by_header(bytes(32), with_transactions=False)]).ledgers == 1
    with pytest.raises(IntegrityError, match="says that the transaction set is empty, but it holds"):
        verify([empty_by_header(bytes(32), with_transactions=True)])
    with pytest.raises(IntegrityError, match=r"the transaction-set hash should be 0{64}"):
        verify([empty_by_header(bytes(31) + b"x", with_transactions=False)])


@corpus.requires_corpus
def test_transactions_without_a_header_of_their_own_are_right() -> None:
    verifier = Verifier()
    for one in corpus.ledgers("wrapped-txs"):
        verifier.check(raw(one.xdr), has_header=False)
    assert verifier.verified.transactions == verifier.verified.ledgers == 18


def altered(change: Callable[[xdr.LedgerCloseMetaV2], None], *, reseal: bool) -> RawLedger:
    """The sixth ledger with something changed, and (``reseal``) the ledger hash made to fit again."""
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(LEDGERS[5])
    change(meta.v2)
    if reseal:
        meta.v2.ledger_header.hash = xdr.Hash(sha256(meta.v2.ledger_header.header.to_xdr_bytes()).digest())
    return RawLedger(START + 5, meta.to_xdr_bytes())


def forge(field: str) -> Callable[[xdr.LedgerCloseMetaV2], None]:
    def change(meta: xdr.LedgerCloseMetaV2) -> None:
        setattr(meta.ledger_header.header, field, xdr.Hash(bytes(32)))

    return change


def other_close_time(meta: xdr.LedgerCloseMetaV2) -> None:
    meta.ledger_header.header.scp_value.close_time = xdr.TimePoint(xdr.Uint64(1))


def other_tx_set_hash(meta: xdr.LedgerCloseMetaV2) -> None:
    meta.ledger_header.header.scp_value.tx_set_hash = xdr.Hash(bytes(32))


def other_amount(meta: xdr.LedgerCloseMetaV2) -> None:
    first_envelope(meta).v1.tx.fee = xdr.Uint32(1)


def other_result(meta: xdr.LedgerCloseMetaV2) -> None:
    meta.tx_processing[0].result.result.fee_charged = xdr.Int64(1)


def fewer_results(meta: xdr.LedgerCloseMetaV2) -> None:
    meta.tx_processing.pop()


def first_envelope(meta: xdr.LedgerCloseMetaV2) -> xdr.TransactionEnvelope:
    envelopes = meta.tx_set.v1_tx_set.phases[0].v0_components[0].txs_maybe_discounted_fee.txs
    return next(envelope for envelope in envelopes if envelope.v1 is not None)


@pytest.mark.parametrize(
    ("change", "reseal", "what"),
    [
        (other_close_time, False, "ledger hash"),
        (forge("bucket_list_hash"), False, "ledger hash"),
        (forge("previous_ledger_hash"), True, "hash of the previous ledger"),
        (forge("tx_set_result_hash"), True, "result-set hash"),
        (other_tx_set_hash, True, "transaction-set hash"),
        (other_amount, True, "transaction-set hash"),
        (other_result, True, "result-set hash"),
        (fewer_results, True, "result-set hash"),
    ],
)
def test_an_altered_ledger_is_told_with_the_hash_that_is_wrong(
    change: Callable[[xdr.LedgerCloseMetaV2], None], reseal: bool, what: str
) -> None:
    ledgers = [raw(one) for one in LEDGERS]
    ledgers[5] = altered(change, reseal=reseal)
    with pytest.raises(IntegrityError, match=f"ledger {START + 5}: the {what} should be [0-9a-f]{{64}}") as raised:
        verify(ledgers)
    assert raised.value.exit_code == 4


def test_a_transaction_that_is_not_that_of_its_result() -> None:
    """With the sets' hashes forged to fit, only the transaction's own hash tells."""

    def change(meta: xdr.LedgerCloseMetaV2) -> None:
        first_envelope(meta).v1.tx.fee = xdr.Uint32(12345)
        meta.ledger_header.header.scp_value.tx_set_hash = xdr.Hash(sha256(meta.tx_set.to_xdr_bytes()).digest())

    with pytest.raises(IntegrityError, match=f"ledger {START + 5}: 1 transactions of its results are not in its set"):
        verify([altered(change, reseal=True)])


def test_meta_is_not_proven() -> None:
    """What verification says of itself: nothing commits to the meta, so changing it goes unnoticed."""

    def change(meta: xdr.LedgerCloseMetaV2) -> None:
        meta.tx_processing[0].fee_processing = xdr.LedgerEntryChanges([])

    assert verify([altered(change, reseal=False)]).ledgers == 1


def test_the_header_must_be_that_of_the_ledger() -> None:
    with pytest.raises(IntegrityError, match="ledger 7 has the header of ledger 500"):
        verify([RawLedger(7, LEDGERS[0])])


def test_order_matters() -> None:
    with pytest.raises(GapError, match="ledger 500 comes after ledger 501"):
        verify([raw(LEDGERS[1]), raw(LEDGERS[0])])
    assert verify([raw(LEDGERS[0]), raw(LEDGERS[2])]).links == 0


def test_another_network_is_told() -> None:
    with pytest.raises(NetworkMismatchError, match="'Other'"):
        verify([raw(LEDGERS[0])], "Other")


@corpus.requires_corpus
def test_an_unknown_network_is_told() -> None:
    ledger = next(one for one in corpus.ledgers("stellar-core") if verify_count(one.xdr))
    with pytest.raises(NetworkMismatchError, match="none of the known networks"):
        verify([raw(ledger.xdr)])


def verify_count(data: bytes) -> int:
    return verify([raw(data)], corpus.CORE_TESTS).transactions


def test_damaged_xdr_is_told_with_its_ledger() -> None:
    with pytest.raises(DecodeError, match="ledger 500 is not valid XDR"):
        verify([RawLedger(500, LEDGERS[0][:-4])])
