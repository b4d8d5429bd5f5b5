"""Transactions are joined by hash, so that ledgers show to which network they belong."""

from __future__ import annotations

import pytest

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import NetworkMismatchError
from tests.support.corpus import PASSPHRASES, PUBNET, TESTNET, ledgers, requires_corpus
from tests.support.decoding import full_decoder

pytestmark = requires_corpus

KNOWN = [folder for folder, passphrase in PASSPHRASES.items() if passphrase in {PUBNET, TESTNET}]


@pytest.mark.parametrize("folder", KNOWN)
def test_known_network_is_found(folder: str) -> None:
    data = [ledger.xdr for ledger in ledgers(folder)]
    found, given = full_decoder(None).decode(data), full_decoder(PASSPHRASES[folder]).decode(data)
    assert found.passphrase == given.passphrase == PASSPHRASES[folder]
    for stream, batch in given.batches.items():
        for name in batch.schema.names:
            assert found.batches[stream].column(name).equals(batch.column(name)), f"{stream}.{name}"


def test_found_network_is_kept() -> None:
    """A decoder that has seen one network refuses ledgers of another."""
    decoder = full_decoder(None)
    decoder.decode([next(ledger.xdr for ledger in ledgers("testnet-2022") if len(ledger.xdr) > 2000)])
    with pytest.raises(NetworkMismatchError):
        decoder.decode([ledger.xdr for ledger in ledgers("pubnet-2020-meta-v2")])


@pytest.mark.parametrize(
    ("folder", "configured", "true"),
    [
        ("pubnet", TESTNET, PUBNET),
        ("testnet-2022", PUBNET, TESTNET),
        ("pubnet-2020-meta-v2", "Standalone Network ; February 2017", PUBNET),
    ],
)
def test_wrong_passphrase_is_named_with_the_right_one(folder: str, configured: str, true: str) -> None:
    data = [ledger.xdr for ledger in ledgers(folder)]
    with pytest.raises(NetworkMismatchError) as raised:
        full_decoder(configured).decode(data)
    message = str(raised.value)
    names = {PUBNET: "pubnet", TESTNET: "testnet"}
    assert configured in message or names.get(configured, configured) in message
    assert true in message or names[true] in message


def test_unknown_network_without_a_passphrase_is_refused() -> None:
    """Nothing is guessed: without a passphrase that fits, no row of a transaction can be told."""
    data = [ledger.xdr for ledger in ledgers("stellar-core")]
    with pytest.raises(IntegrityError):
        full_decoder(None).decode(data)
    with pytest.raises(NetworkMismatchError) as raised:
        full_decoder(PUBNET).decode(data)
    assert PUBNET in str(raised.value) or "pubnet" in str(raised.value)


def test_ledgers_without_transactions_tell_no_network() -> None:
    decoder = full_decoder(None)
    for ledger in ledgers("testnet-2022", "stellar-core"):
        result = full_decoder(ledger.passphrase).decode([ledger.xdr])
        if result.batches["transactions"].num_rows == 0:
            assert decoder.decode([ledger.xdr]).passphrase is None
            break
    else:
        pytest.fail("the corpus holds no ledger without transactions")
    with_transactions = [ledger.xdr for ledger in ledgers("testnet-2022")]
    assert decoder.decode(with_transactions).passphrase == TESTNET
