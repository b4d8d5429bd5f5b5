"""Every column of every row of every corpus ledger equals what stellar_sdk's objects say."""

from __future__ import annotations

import pytest

from tests.differential.expected import expected_rows
from tests.support.corpus import files, read, requires_corpus
from tests.support.decoding import (
    STREAMS,
    assert_true_nullability,
    differences,
    full_decoder,
    rows_by_ledger,
)


@requires_corpus
@pytest.mark.parametrize("file", files())
def test_rows_equal_the_oracle(file: str) -> None:
    ledgers = read(file)
    passphrase = ledgers[0].passphrase
    decoded = full_decoder(passphrase).decode([ledger.xdr for ledger in ledgers])
    assert decoded.passphrase == passphrase
    actual = {stream: rows_by_ledger(decoded, stream) for stream in STREAMS}
    found: list[str] = []
    for ledger, sequence in zip(ledgers, decoded.sequences.tolist(), strict=True):
        expected = expected_rows(ledger.xdr, passphrase)
        assert sequence == expected["ledgers"][0]["ledger_sequence"]
        for stream in STREAMS:
            found += differences(f"{ledger.id} {stream}", expected[stream], next(actual[stream]))
    for stream in STREAMS:
        assert_true_nullability(decoded.batches[stream])
        assert not list(actual[stream])
    assert not found, "\n".join(found[:20])


def test_the_corpus_is_whole() -> None:
    """The parametrised test above must not shrink unnoticed."""
    if not files():
        pytest.skip("no ledger corpus; set STELLAR_LEDGER_CORPUS")
    assert len(files()) >= 205
