"""Conditions of claimants (XDR ClaimPredicate): ``predicate_json``, compact SEP-51 XDR-JSON."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stellar_arrow_source.xdr.jit import Bytes, Offsets, Positions, Words, kernel, load64, load_int
from stellar_arrow_source.xdr.json_text import MARGIN, grown, put, put_signed
from stellar_arrow_source.xdr.readers import text_array
from stellar_arrow_source.xdr.walk import DEPTH

UNCONDITIONAL, AND, OR, NOT, BEFORE_ABSOLUTE_TIME, BEFORE_RELATIVE_TIME = range(6)
"""ClaimPredicateType."""

_OPENINGS = (
    b'"unconditional"', b'{"and":[', b'{"or":[', b'{"not":', b'{"before_absolute_time":"', b'{"before_relative_time":"',
)  # fmt: skip
_CLOSINGS = (b"", b"]}", b"]}", b"}", b'"}', b'"}')


def predicate_json(words: Words, pos: Positions) -> pa.Array:
    """The ClaimPredicate at each position as XDR-JSON; null where absent."""
    offsets = np.empty(len(pos) + 1, np.int32)
    data, total, failed = _write_json(words, pos, offsets)
    if failed >= 0:
        raise ValueError(f"no valid ClaimPredicate at word {pos[failed]}, or nested deeper than {DEPTH}")
    return text_array(offsets, data, total, pos)


@kernel
def _write_json(words: Words, pos: Positions, offsets: Offsets) -> tuple[Bytes, int, int]:
    """Returns (JSON of all rows, its length, the first row that is malformed or -1)."""
    arms, left = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)  # predicates around, predicates to go
    data = np.empty(MARGIN + 64 * pos.shape[0], np.uint8)
    o = 0
    offsets[0] = 0
    for i in range(pos.shape[0]):
        p = pos[i]
        depth = 0
        while p > 0:
            arm = load_int(words, p) if p < words.shape[0] else BEFORE_RELATIVE_TIME + 1
            if arm > BEFORE_RELATIVE_TIME:
                return data, o, i
            p += 1
            data = grown(data, o, MARGIN)
            o = put(_OPENINGS[arm], data, o)
            if arm in (AND, OR, NOT):
                count = load_int(words, p)  # of an optional: 0 or 1
                p += 1
                if count > 0:
                    if depth == DEPTH:
                        return data, o, i
                    arms[depth] = arm
                    left[depth] = count
                    depth += 1
                    continue
                if arm == NOT:
                    o = put(b"null", data, o)
            elif arm != UNCONDITIONAL:
                o = put_signed(load64(words, p), data, o)
                p += 2
            o = put(_CLOSINGS[arm], data, o)
            while depth > 0:
                data = grown(data, o, MARGIN)
                left[depth - 1] -= 1
                if left[depth - 1] > 0:
                    o = put(b",", data, o)
                    break
                depth -= 1
                o = put(_CLOSINGS[arms[depth]], data, o)
            if depth == 0:
                break
        offsets[i + 1] = o
    return data, o, -1
