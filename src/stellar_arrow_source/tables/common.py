"""Columns that several streams share; the same fact has one declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.tables.columns import TIME, derived, digest, either, enum_table, enumeration
from stellar_arrow_source.tables.expressions import At, FirstOf, MuxedId, MuxedKey, Plus, Where
from stellar_arrow_source.tables.frame import CLOSE_TIME, RESULT_PAIR, SEQUENCE, Frame
from stellar_arrow_source.tables.relations import ENVELOPE, TX_RESULT
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import readers

_SOURCE_ACCOUNT = At(ENVELOPE, "sourceAccount")
TX_SOURCE_KEY: Final = FirstOf(MuxedKey(_SOURCE_ACCOUNT), At(ENVELOPE, "sourceAccountEd25519"))
"""Key of a transaction's source; TransactionV0 has no MuxedAccount."""
TX_SOURCE_ID: Final = MuxedId(_SOURCE_ACCOUNT)

LEDGER_COLUMNS: Final = (
    derived(
        "ledger_sequence",
        pa.uint32(),
        lambda frame: readers.from_numpy(frame.batch.sequences.astype(np.uint32)[frame.ledger], pa.uint32()),
        "sequence of the ledger",
        SEQUENCE,
    ),
    derived(
        "ledger_close_time",
        TIME,
        lambda frame: readers.from_numpy(frame.batch.close_times[frame.ledger], TIME),
        "when the ledger closed (whole seconds)",
        CLOSE_TIME,
    ),
)


def per_transaction(values: Callable[[Frame], np.ndarray], type: pa.DataType) -> Callable[[Frame], pa.Array]:
    """Reads a value of each row's transaction from an array over all results."""
    return lambda frame: readers.from_numpy(values(frame)[frame.rows[TX_RESULT.name]], type)


TRANSACTION_COLUMNS: Final = (
    derived(
        "transaction_id",
        pa.int64(),
        per_transaction(lambda frame: frame.batch.transaction_ids, pa.int64()),
        "id of the transaction (SEP-35)",
    ),
    derived(
        "transaction_index",
        pa.uint32(),
        per_transaction(lambda frame: frame.batch.transaction_index.astype(np.uint32), pa.uint32()),
        "position of the transaction in the order of application, from 1",
    ),
)

TRANSACTION_HASH: Final = digest(
    "transaction_hash", RESULT_PAIR, "hash of the transaction; of a fee bump, the outer one"
)

_MEMO = At(ENVELOPE, "memo")
_MEMO_TEXT, _MEMO_ID, _MEMO_HASH = 1, 2, 3


def _memo(low: int, high: int) -> Where:
    return Where(Plus(_MEMO, 1), lambda frame: (frame.words(_MEMO) >= low) & (frame.words(_MEMO) <= high))


_TEXT, _ID, _HASHES = _memo(_MEMO_TEXT, _MEMO_TEXT), _memo(_MEMO_ID, _MEMO_ID), _memo(_MEMO_HASH, _MEMO_HASH + 1)


def _text_parts(frame: Frame) -> tuple[pa.Array, pa.Array]:
    return frame.once("memo text", lambda: readers.utf8_or_null(frame.batch.words, frame.positions(_TEXT)))


def _read_memo(frame: Frame) -> pa.Array:
    words = frame.batch.words
    numbers = readers.decimal_u64(words, frame.positions(_ID))
    hashes = readers.base64_fixed(words, frame.positions(_HASHES), 32)
    return either(_text_parts(frame)[0], either(numbers, hashes))


MEMO_COLUMNS: Final[tuple[Column, ...]] = (
    enumeration("memo_type", enum_table("MemoType"), _MEMO, "kind of memo, as the XDR member is named"),
    derived(
        "memo",
        pa.string(),
        _read_memo,
        "memo: text, id in decimal, hash or return hash in Base64; null for none, and for text that is not UTF-8",
        _MEMO,
        nullable=True,
    ),
    derived(
        "memo_bytes",
        pa.binary(),
        lambda frame: _text_parts(frame)[1],
        "text memo that is not UTF-8",
        _MEMO,
        nullable=True,
    ),
)

TX_SUCCESSFUL: Final = derived(
    "transaction_successful",
    pa.bool_(),
    lambda frame: readers.from_bool(frame.transaction_successful),
    "whether the transaction succeeded",
)
