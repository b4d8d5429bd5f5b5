"""Conditions of claimants (XDR ClaimPredicate): ``predicate_json``, compact SEP-51 XDR-JSON."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stellar_arrow_source.xdr.jit import Bytes, Offsets, Positions, Words, kernel, load64, load_int
from stellar_arrow_source.xdr.json_text import DONE, FULL, MALFORMED, MARGIN, literals, put, put_choice, put_signed
from stellar_arrow_source.xdr.readers import json_array
from stellar_arrow_source.xdr.walk import DEPTH

UNCONDITIONAL, AND, OR, NOT, BEFORE_ABSOLUTE_TIME, BEFORE_RELATIVE_TIME = range(6)
"""ClaimPredicateType."""

_OPENINGS = literals(
    b'"unconditional"', b'{"and":[', b'{"or":[', b'{"not":', b'{"before_absolute_time":"', b'{"before_relative_time":"',
)  # fmt: skip
_CLOSINGS = literals(b"", b"]}", b"]}", b"}", b'"}', b'"}')


def predicate_json(words: Words, pos: Positions) -> pa.Array:
    """The ClaimPredicate at each position as XDR-JSON; null where absent."""
    return json_array(_write_json, words, pos, "ClaimPredicate")


@kernel
def _write_json(words: Words, pos: Positions, first: int, offsets: Offsets, data: Bytes) -> tuple[int, int]:
    """A ``json_text.Writer``."""
    arms, left = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)  # predicates around, predicates to go
    o: int = offsets[first]
    for i in range(first, pos.shape[0]):
        p = pos[i]
        depth = 0
        while p > 0:
            arm = load_int(words, p) if p < words.shape[0] else BEFORE_RELATIVE_TIME + 1
            if arm > BEFORE_RELATIVE_TIME:
                return MALFORMED, i
            p += 1
            if o + MARGIN > data.shape[0]:
                return FULL, i
            o = put_choice(_OPENINGS.offsets, _OPENINGS.letters, arm, data, o)
            if arm in (AND, OR, NOT):
                count = load_int(words, p)  # of an optional: 0 or 1
                p += 1
                if count > 0:
                    if depth == DEPTH:
                        return MALFORMED, i
                    arms[depth] = arm
                    left[depth] = count
                    depth += 1
                    continue
                if arm == NOT:
                    o = put(b"null", data, o)
            elif arm != UNCONDITIONAL:
                o = put_signed(load64(words, p), data, o)
                p += 2
            o = put_choice(_CLOSINGS.offsets, _CLOSINGS.letters, arm, data, o)
            while depth > 0:
                if o + MARGIN > data.shape[0]:
                    return FULL, i
                left[depth - 1] -= 1
                if left[depth - 1] > 0:
                    o = put(b",", data, o)
                    break
                depth -= 1
                o = put_choice(_CLOSINGS.offsets, _CLOSINGS.letters, arms[depth], data, o)
            if depth == 0:
                break
        offsets[i + 1] = o
    return DONE, pos.shape[0]
