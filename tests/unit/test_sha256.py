"""Hashes against hashlib, by both implementations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stellar_arrow_source.xdr import sha256
from tests.support.xdr_values import opaque, place


@pytest.fixture(params=["instructions", "hashlib"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "instructions" and not sha256.HAS_SHA_INSTRUCTIONS:
        pytest.skip("this processor has no SHA instructions, or the JIT is off")
    hashes: Callable[..., Any] = getattr(sha256, f"_hash_with_{request.param}")
    monkeypatch.setattr(sha256, "_hash", hashes)
    return str(request.param)


RNG = np.random.default_rng(6)
WORDS = RNG.integers(0, 2**32, 40_000, dtype=np.uint32)


@pytest.mark.parametrize("prefix_words", [0, 1, 8, 15, 16, 17])
@pytest.mark.usefixtures("implementation")
def test_spans_of_many_lengths(prefix_words: int) -> None:
    prefix = WORDS[100 : 100 + prefix_words].copy()
    lengths = np.concatenate([np.arange(301), RNG.permutation(301), [3000, 0, 1]])
    start = RNG.integers(1, 30_000, len(lengths))
    found = sha256.hash_spans(WORDS, start, start + lengths, prefix)
    for row, first, n in zip(found, start, lengths, strict=True):
        message = prefix.tobytes() + WORDS[first : first + n].tobytes()
        assert row.tobytes() == hashlib.sha256(message).digest(), f"{n} words"


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
@pytest.mark.usefixtures("implementation")
def test_absent_rows_are_zeros_and_out_is_filled(rows: int) -> None:
    start = np.array([5, 0, 9][:rows], np.int64)
    out = np.ones((rows, 8), np.uint32)
    assert sha256.hash_spans(WORDS, start, np.where(start > 0, start + 4, 0), out=out) is out
    expected = [hashlib.sha256(WORDS[s : s + 4].tobytes()).digest() if s else bytes(32) for s in start]
    assert [row.tobytes() for row in out] == expected


@pytest.mark.usefixtures("implementation")
def test_transactions() -> None:
    network = hashlib.sha256(b"some network").digest()
    bodies = [RNG.bytes(4 * n) for n in (40, 41, 60, 13, 47)]
    tags = [0, 2, 5, 0, 2]  # ENVELOPE_TYPE_TX_V0, _TX, _TX_FEE_BUMP
    words, start, end = place([tag.to_bytes(4, "big") + body for tag, body in zip(tags, bodies, strict=True)])
    found = sha256.transaction_hashes(words, network, start, end, np.array(tags) == 0)
    for row, tag, body in zip(found, tags, bodies, strict=True):
        signed = bytes([0, 0, 0, 2, 0, 0, 0, 0]) if tag == 0 else bytes([0, 0, 0, tag])
        assert row.tobytes() == hashlib.sha256(network + signed + body).digest()


def test_opaques() -> None:
    values = [b"", b"a", b"abcd", RNG.bytes(1001)]
    words, pos, _ = place([*map(opaque, values), None])
    found = sha256.opaque_hashes(words, pos)
    assert [row.tobytes() for row in found] == [*(hashlib.sha256(v).digest() for v in values), bytes(32)]
