"""Forms of Soroban values: ``Layout`` recognises values of one form, ``find_in_storage`` a value in an instance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from stellar_sdk.xdr import SCVal

from stellar_arrow_source.xdr.jit import Mask, Positions, Words, kernel, load_int
from stellar_arrow_source.xdr.scval import CONTRACT_INSTANCE, next_scval

_EXECUTABLE_STELLAR_ASSET = 1


class Layout:
    """Values of fixed size whose words are all the same but for some holes.

    Args:
        one, other: two such values; where they differ is a hole.
    """

    def __init__(self, one: SCVal, other: SCVal) -> None:
        first, second = as_words(one), as_words(other)
        same = first == second
        self._length = len(first)
        self._fixed = np.flatnonzero(same)
        self._constant = first[same]
        begins = ~same & np.concatenate([[True], same[:-1]])
        self.holes: tuple[int, ...] = tuple(np.flatnonzero(begins).tolist())
        """Where the holes begin, in words."""

    def matches(self, words: Words, start: Positions, end: Positions) -> Mask:
        """bool (n,): which of words[start:end] have this form; start 0 has none."""
        found: Mask = (start > 0) & (end - start == self._length)
        rows = np.flatnonzero(found)
        found[rows] = (words[start[rows, None] + self._fixed] == self._constant).all(axis=1)
        return found


def as_words(value: SCVal) -> NDArray[np.uint32]:
    """The XDR of a value, as words in memory order."""
    return np.frombuffer(value.to_xdr_bytes(), np.uint32)


@kernel
def find_in_storage(
    words: Words, pos: Positions, end: Positions, key: Words, first: Positions, last: Positions
) -> None:
    """The value of the first entry with that key in the storage of each instance of the Stellar Asset Contract.

    Args:
        pos, end: int64 (n,), bounds of SCVals of any type; 0 where absent.
        key: the XDR of the key.
        first, last: int64 (n,), bounds of the value; 0 where there is none (out).
    """
    for i in range(pos.shape[0]):
        first[i] = last[i] = 0
        p = pos[i]
        if p == 0 or load_int(words, p) != CONTRACT_INSTANCE or load_int(words, p + 1) != _EXECUTABLE_STELLAR_ASSET:
            continue
        if words[np.uint64(p + 2)] == 0:  # no storage
            continue
        count = load_int(words, p + 3)
        p += 4
        for _ in range(count):
            value = next_scval(words, p, end[i])
            after = next_scval(words, value, end[i]) if value > 0 else -1
            if after < 0:
                break
            same = value - p == key.shape[0]
            if same:
                for k in range(key.shape[0]):
                    if words[np.uint64(p + k)] != key[k]:
                        same = False
                        break
            if same:
                first[i], last[i] = value, after
                break
            p = after
