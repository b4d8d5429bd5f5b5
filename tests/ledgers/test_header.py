"""Sequence, close time and predecessor in a header."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stellar_sdk import xdr

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.ledgers.header import ledger_close_time, ledger_sequence, require_successor
from tests.ledgers.stores import made
from tests.support import corpus

LEDGER = made(2, 2)[0]
HEADER_END = 600  # bytes; the sequence lies before


@corpus.requires_corpus
@pytest.mark.parametrize("folder", corpus.PASSPHRASES)
def test_every_kind_of_ledger(folder: str) -> None:
    before, hash_before = b"", b""
    for ledger in corpus.ledgers(folder):
        meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr)
        entry = (meta.v0 or meta.v1 or meta.v2).ledger_header
        header = entry.header
        assert ledger_sequence(ledger.xdr) == ledger_sequence(memoryview(ledger.xdr)) == header.ledger_seq.uint32
        assert ledger_close_time(ledger.xdr) == header.scp_value.close_time.time_point.uint64
        if header.previous_ledger_hash.hash == hash_before:
            require_successor(before, memoryview(ledger.xdr), folder)
        elif before:
            with pytest.raises(IntegrityError, match="does not follow"):
                require_successor(before, ledger.xdr, folder)
        before, hash_before = ledger.xdr, entry.hash.hash


def test_only_the_next_ledger_of_the_same_history_is_a_successor() -> None:
    first, second, third = made(100, 102)
    require_successor(first, second, "here")
    for before, after in ((first, third), (second, first), (first, first), (second, made(100, 102, 3)[2])):
        with pytest.raises(IntegrityError, match=r"ledger \d+ of here does not follow ledger \d+"):
            require_successor(before, after, "here")


@pytest.mark.parametrize("size", range(0, 308, 4))
def test_a_cut_ledger_is_an_integrity_error(size: int) -> None:
    with pytest.raises(IntegrityError, match="no LedgerCloseMeta"):
        ledger_sequence(LEDGER[:size])
    if size < 128:
        with pytest.raises(IntegrityError, match="no LedgerCloseMeta"):
            ledger_close_time(LEDGER[:size])


@given(st.integers(0, HEADER_END), st.binary(min_size=1, max_size=8))
def test_damaged_headers_give_a_number_or_an_integrity_error(at: int, noise: bytes) -> None:
    damaged = LEDGER[:at] + noise + LEDGER[at + len(noise) : HEADER_END]
    with suppress(IntegrityError):
        assert 0 <= ledger_sequence(damaged) < 1 << 32
    with suppress(IntegrityError):
        assert 0 <= ledger_close_time(damaged) < 1 << 64
