"""What the helpers share: ``Work``, all that they read and write, and how an effect's row is begun and filled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.effects.layout import ASSET_WORDS, EffectType, Fact, Given
from stellar_arrow_source.xdr.jit import Bytes, Positions, Words, helper, load64, load_int

_POOL_SHARES = 3  # ASSET_TYPE_POOL_SHARE
_DEFAULT_WEIGHT = 1  # of the master key of a new account


class Work(NamedTuple):
    """Arrays in which effects are made.

    Attributes:
        words, raw: the ledgers, as words and as bytes.
        given: int64 (Given, operations).
        changes: int32, the rows of all changes.
        marks: int64 (2, Mark), where each mark stands in such a row, and how many words before what it marks.
        moves: int64 (4, n), room for the changes of one operation.
        facts: int64 (Fact, capacity + 1), zeros (out); effects that find no room go to the last column.
        staged: uint32, assets and amounts; the first is native (out).
        signs: uint32 (4,), the upper half of Int128Parts that are not negative, then of negative ones.
        used: int64 (3,), how many effects, words of ``staged`` and ``entries`` there are (out).
        entries: int64, positions of the hashes that footprint effects list (out).
        signers, texts, stage: room for the signers of an account before and after.
    """

    words: Words
    raw: Bytes
    given: NDArray[np.int64]
    changes: NDArray[np.int32]
    marks: NDArray[np.int64]
    moves: NDArray[np.int64]
    facts: NDArray[np.int64]
    staged: Words
    signs: Words
    used: Positions
    entries: Positions
    signers: NDArray[np.int64]
    texts: Bytes
    stage: Bytes


NATIVE_AT = 1
"""Where the staged words hold the native asset."""
FIRST_STAGED = NATIVE_AT + ASSET_WORDS


@helper
def hyper_at(words: Words, p: int) -> int:
    """The hyper at p."""
    return np.int64(load64(words, p))  # type: ignore[return-value]  # int() would stay unsigned


@helper
def asset_size(words: Words, p: int) -> int:
    """Words of the Asset or TrustLineAsset at p."""
    kind = load_int(words, p)
    if kind == 0:
        return 1
    if kind == _POOL_SHARES:
        return 9
    return 11 if kind == 1 else 13


@helper
def after_opaque(words: Words, p: int) -> int:
    """Where the opaque or string whose length is at p ends."""
    return p + 1 + (load_int(words, p) + 3) // 4


@helper
def same_words(words: Words, p: int, q: int, n: int) -> bool:
    """Whether the n words at p and at q are equal."""
    for k in range(n):  # noqa: SIM110 - numba compiles no generator
        if words[np.uint64(p + k)] != words[np.uint64(q + k)]:
            return False
    return True


@helper
def begin(w: Work, effect: int, o: int, key: int, muxed_id: int) -> int:
    """A new effect of operation ``o`` on the account whose key and id lie there; returns its row."""
    n: int = w.used[0]
    row: int = min(n, w.facts.shape[1] - 1)
    w.used[0] = n + 1
    w.facts[Fact.TYPE, row] = effect
    w.facts[Fact.OPERATION, row] = o
    w.facts[Fact.ADDRESS, row] = key
    w.facts[Fact.ADDRESS_ID, row] = muxed_id
    return row


@helper
def begin_source(w: Work, effect: int, o: int) -> int:
    """A new effect on the operation's source."""
    return begin(w, effect, o, w.given[Given.SOURCE, o], w.given[Given.SOURCE_ID, o])


@helper
def stage_words(w: Work, row: int, words: Words, at: int, n: int) -> int:
    """Copy the n words of what a staged fact needs behind what is staged; returns where they are."""
    o: int = w.used[1]
    if row == w.facts.shape[1] - 1:
        return o  # no effect that counts: all are made again with more room
    for k in range(n):
        w.staged[np.uint64(o + k)] = words[np.uint64(at + k)]
    w.used[1] = o + n
    return o


@helper
def put_amount(w: Work, row: int, words: Words, at: int) -> None:
    """The hyper at ``at`` as the amount; nothing at 0."""
    if at == 0:
        return
    sign = 1 if hyper_at(words, at) < 0 else 0
    o = stage_words(w, row, w.signs, 2 * sign, 2)
    stage_words(w, row, words, at, 2)
    w.facts[Fact.AMOUNT, row] = o


@helper
def put_asset(w: Work, row: int, at: int) -> None:
    """The Asset or TrustLineAsset at ``at``; of pool shares, also the pool's id."""
    if at > 0:
        kind = load_int(w.words, at)
        if kind == 0:
            w.facts[Fact.ASSET, row] = NATIVE_AT
            return
        if kind == _POOL_SHARES:
            w.facts[Fact.POOL_ID, row] = at + 1
        w.facts[Fact.ASSET, row] = stage_words(w, row, w.words, at, asset_size(w.words, at))


@helper
def begin_moved(w: Work, effect: int, o: int, asset_at: int, amount_at: int) -> int:
    """A new effect on the source, of an asset and amount; 0 where either is not known."""
    row = begin_source(w, effect, o)
    put_asset(w, row, asset_at)
    put_amount(w, row, w.words, amount_at)
    return row


@helper
def first_signer(w: Work, o: int, account_at: int) -> None:
    """The effect of the master key that a new account has; ``account_at`` is its AccountID, which reads as a key."""
    row = begin(w, EffectType.SIGNER_CREATED, o, account_at + 1, 0)
    w.facts[Fact.SIGNER, row] = account_at
    w.facts[Fact.WEIGHT, row] = 1 + _DEFAULT_WEIGHT
