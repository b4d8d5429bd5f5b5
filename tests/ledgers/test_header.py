"""The sequence in a header, and files of framed records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stellar_sdk import xdr

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.ledgers.framed import iter_framed
from stellar_arrow_source.ledgers.header import ledger_sequence
from tests.ledgers.stores import made
from tests.support import corpus

LEDGER = made(2, 2)[0]
HEADER_END = 600  # bytes; the sequence lies before


@corpus.requires_corpus
@pytest.mark.parametrize("folder", corpus.PASSPHRASES)
def test_every_kind_of_ledger(folder: str) -> None:
    for ledger in corpus.ledgers(folder):
        meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr)
        header = (meta.v0 or meta.v1 or meta.v2).ledger_header.header
        assert ledger_sequence(ledger.xdr) == ledger_sequence(memoryview(ledger.xdr)) == header.ledger_seq.uint32


@pytest.mark.parametrize("size", range(0, 308, 4))
def test_a_cut_ledger_is_an_integrity_error(size: int) -> None:
    with pytest.raises(IntegrityError, match="no LedgerCloseMeta"):
        ledger_sequence(LEDGER[:size])


@given(st.integers(0, HEADER_END), st.binary(min_size=1, max_size=8))
def test_damaged_headers_give_a_number_or_an_integrity_error(at: int, noise: bytes) -> None:
    damaged = LEDGER[:at] + noise + LEDGER[at + len(noise) : HEADER_END]
    with suppress(IntegrityError):
        assert 0 <= ledger_sequence(damaged) < 1 << 32


def frame(record: bytes) -> bytes:
    return (len(record) | 1 << 31).to_bytes(4, "big") + record


def test_framed_records(tmp_path: Path) -> None:
    path = tmp_path / "ledgers.xdr"
    path.write_bytes(b"".join(frame(one) for one in made(2, 6)))
    assert tuple(iter_framed(path)) == made(2, 6)
    path.write_bytes(b"")
    assert list(iter_framed(path)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (frame(LEDGER)[:-1], "truncated"),
        (frame(LEDGER)[:3], "no valid record mark at byte 0"),
        (frame(LEDGER) + b"\x80", f"no valid record mark at byte {len(LEDGER) + 4}"),
        (LEDGER, "no valid record mark at byte 0"),
        (b"\x80\0\0\0", "no valid record mark"),
        (b"\xff\xff\xff\xff" + LEDGER, "no valid record mark"),
    ],
)
def test_damaged_framed_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ledgers.xdr"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        list(iter_framed(path))
