"""Horizon's ids of effects as text: ``effect_ids``."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stellar_arrow_source.xdr.jit import Bytes, Positions, kernel

_OPERATION_DIGITS, _INDEX_DIGITS = 19, 10
_CHARS = _OPERATION_DIGITS + 1 + _INDEX_DIGITS
_DASH, _ZERO = ord("-"), ord("0")


def effect_ids(operation: Positions, index: Positions) -> pa.Array:
    """Ids of operations and indices in them, with leading zeros, as one text."""
    offsets = np.arange(0, _CHARS * (len(operation) + 1), _CHARS, dtype=np.int32)
    data = np.empty(_CHARS * len(operation), np.uint8)
    _write_ids(operation, index, data)
    return pa.Array.from_buffers(pa.string(), len(operation), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


@kernel
def _write_ids(operation: Positions, index: Positions, data: Bytes) -> None:
    for i in range(operation.shape[0]):
        o = i * _CHARS
        if i > 0 and operation[i] == operation[i - 1]:
            for k in range(_OPERATION_DIGITS + 1):
                data[o + k] = data[o - _CHARS + k]
        else:
            rest = operation[i]
            for k in range(_OPERATION_DIGITS - 1, -1, -1):
                data[o + k] = _ZERO + rest % 10
                rest //= 10
            data[o + _OPERATION_DIGITS] = _DASH
        rest = index[i]
        for k in range(_CHARS - 1, _OPERATION_DIGITS, -1):
            data[o + k] = _ZERO + rest % 10
            rest //= 10
