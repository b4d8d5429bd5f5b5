"""Helpers over the signers of accounts: what an operation changed of their weights and sponsors.

Horizon orders signers by their strkeys, in which digits come before letters: the texts themselves are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.effects.work import Work, same_words
from stellar_arrow_source.xdr.jit import Bytes, Words, helper, load_int
from stellar_arrow_source.xdr.strkey import MAX_PAYLOAD, STAGE_BYTES, Version, put_payload

MOST = 21
"""Signers of an account (XDR: 20), the master key included."""
_TEXT = 8 * ((1 + MAX_PAYLOAD + 2 + 4) // 5)
_SIGNED_PAYLOAD_TYPE = 3  # SIGNER_KEY_TYPE_ED25519_SIGNED_PAYLOAD
_VERSIONS = np.array([Version.ACCOUNT, Version.PRE_AUTH_TX, Version.HASH_X, Version.SIGNED_PAYLOAD], np.int64)


BEFORE, AFTER = 0, 1
"""Which of an account's two lists of signers."""
AT, WEIGHT, SPONSOR, PLACE = range(4)
"""Numbers of a signer: position of its SignerKey, weight, position of its sponsor's key or 0; PLACE[i] is the i-th."""


def signer_room() -> tuple[NDArray[np.int64], Bytes, Bytes]:
    """Room for ``signers``, ``texts`` and ``stage`` of :class:`Work`."""
    return np.zeros((2, 4, MOST), np.int64), np.zeros(2 * MOST * _TEXT, np.uint8), np.zeros(STAGE_BYTES, np.uint8)


@helper
def _key_bytes(words: Words, p: int) -> int:
    """Bytes of the SignerKey at p after its type."""
    if load_int(words, p) < _SIGNED_PAYLOAD_TYPE:
        return 32
    return 36 + (load_int(words, p + 9) + 3) // 4 * 4


@helper
def _after_signers(words: Words, p: int) -> int:
    """Where the array of Signers at p ends."""
    count = load_int(words, p)
    p += 1
    for _ in range(count):
        p += 2 + _key_bytes(words, p) // 4
    return p


@helper
def _after_sponsors(words: Words, p: int) -> int:
    """Where the array of SponsorshipDescriptors at p ends."""
    count = load_int(words, p)
    p += 1
    for _ in range(count):
        p += 1 if load_int(words, p) == 0 else 10
    return p


@helper
def same_signers(words: Words, p: int, q: int, p_sponsors: int, q_sponsors: int) -> bool:
    """Whether the thresholds with signers at p and q, and the sponsors at p_sponsors and q_sponsors, are equal."""
    size = _after_signers(words, p + 1) - p
    if _after_signers(words, q + 1) - q != size or not same_words(words, p, q, size):
        return False
    if p_sponsors == 0 or q_sponsors == 0:
        return p_sponsors == q_sponsors
    size = _after_sponsors(words, p_sponsors) - p_sponsors
    return _after_sponsors(words, q_sponsors) - q_sponsors == size and same_words(words, p_sponsors, q_sponsors, size)


@helper
def signer(w: Work, side: int, k: int, number: int) -> int:
    """A number of the k-th signer of a list, in the order of their strkeys."""
    value: int = w.signers[side, number, w.signers[side, PLACE, k]]
    return value


@helper
def compare(w: Work, side: int, i: int, other: int, j: int) -> int:
    """-1, 0 or 1: how the i-th signer of a list sorts against the j-th of a list."""
    return _compare(w, side, w.signers[side, PLACE, i], other, w.signers[other, PLACE, j])


@helper
def _compare(w: Work, side: int, i: int, other: int, j: int) -> int:
    p, q = (side * MOST + i) * _TEXT, (other * MOST + j) * _TEXT
    for k in range(_TEXT):
        a, b = w.texts[p + k], w.texts[q + k]
        if a != b:
            return -1 if a < b else 1
    return 0


@helper
def _add(w: Work, side: int, n: int, at: int, weight: int, sponsor: int) -> int:
    """Put a signer in its place; returns how many there are."""
    version, size, text = _VERSIONS[load_int(w.words, at)], _key_bytes(w.words, at), (side * MOST + n) * _TEXT
    end = put_payload(w.raw, version, (at + 1) * 4, size, 0, w.stage, w.texts, text)
    for k in range(end, text + _TEXT):
        w.texts[k] = 0
    place = n
    while place > 0:
        order = _compare(w, side, w.signers[side, PLACE, place - 1], side, n)
        if order == 0:
            return n  # a key that was there before
        if order < 0:
            break
        place -= 1
    for k in range(n, place, -1):
        w.signers[side, PLACE, k] = w.signers[side, PLACE, k - 1]
    w.signers[side, PLACE, place] = n
    w.signers[side, AT, n] = at
    w.signers[side, WEIGHT, n] = weight
    w.signers[side, SPONSOR, n] = sponsor
    return n + 1


@helper
def read_signers(w: Work, side: int, account: int, thresholds: int, sponsors: int, sponsored: bool) -> int:
    """Read an account's signers into a list, in order; returns how many.

    Args:
        account: position of its AccountID, which reads as a SignerKey; 0 for no account.
        thresholds, sponsors: positions of its thresholds, which its signers follow, and of their sponsors or 0.
        sponsored: whether only those with a sponsor, else all and the master key unless its weight is 0.
    """
    if account == 0:
        return 0
    n = 0
    master = load_int(w.words, thresholds) >> 24
    if not sponsored and master > 0:
        n = _add(w, side, n, account, master, 0)
    listed = load_int(w.words, sponsors) if sponsors > 0 else 0
    p, s = thresholds + 2, sponsors + 1
    for k in range(load_int(w.words, thresholds + 1)):
        size = 1 + _key_bytes(w.words, p) // 4
        sponsor = 0
        if k < listed:
            if load_int(w.words, s) != 0:
                sponsor = s + 2
                s += 9
            s += 1
        if sponsor > 0 or not sponsored:
            n = _add(w, side, n, p, load_int(w.words, p + size), sponsor)
        p += size + 1
    return n
