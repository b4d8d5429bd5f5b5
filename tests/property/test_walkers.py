"""The walk that is compiled to machine code and the one that interprets the same program agree in everything."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder
from tests.property.hostile import seeds, timed
from tests.property.mutations import mutant
from tests.property.nesting import NESTS, nested_ledger
from tests.support.corpus import PUBNET, ledgers
from tests.support.decoding import full_decoder

MUTANTS = 4000


def interpreting(passphrase: str, monkeypatch: pytest.MonkeyPatch) -> LedgerDecoder:
    with monkeypatch.context() as patched:
        patched.setattr("stellar_arrow_source.xdr.arena.native_walk", lambda program: None)
        return full_decoder(passphrase)


def assert_same(one: LedgerDecoder, other: LedgerDecoder, data: bytes) -> None:
    (first, _), (second, _) = timed(one, data), timed(other, data)
    assert type(first) is type(second), f"{first!r}, {second!r}"
    if isinstance(first, DecodedBatch) and isinstance(second, DecodedBatch):
        for stream, batch in first.batches.items():
            assert batch.equals(second.batches[stream]), f"{stream} differs for {data.hex()[:2000]}"
    else:
        assert str(first) == str(second)
    if isinstance(first, DecodeError) and isinstance(second, DecodeError):
        assert (first.index, first.ledger, first.offset, first.path) == (
            second.index,
            second.ledger,
            second.offset,
            second.path,
        )


def test_on_damaged_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(31)
    for passphrase, undamaged in seeds().items():
        compiled, interpreted = full_decoder(passphrase), interpreting(passphrase, monkeypatch)
        for _ in range(MUTANTS // 3):
            assert_same(compiled, interpreted, mutant(undamaged, chance))


def test_on_real_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, interpreted = full_decoder(PUBNET), interpreting(PUBNET, monkeypatch)
    for ledger in ledgers("pubnet", "wrapped-txs"):
        assert_same(compiled, interpreted, ledger.xdr)


@pytest.mark.parametrize("depth", [500, 1010, 1015, 1020, 1024, 1030, 100_000])
@pytest.mark.parametrize("kind", NESTS)
def test_on_nested_ledgers(kind: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = nested_ledger(kind, depth, sha256(PUBNET.encode()).digest())
    assert_same(full_decoder(PUBNET), interpreting(PUBNET, monkeypatch), data)
