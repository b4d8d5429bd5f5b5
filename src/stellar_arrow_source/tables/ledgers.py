"""The stream ``ledgers``: one row per ledger, from LedgerCloseMeta and its header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.tables.columns import (
    HASH,
    account,
    amount,
    derived,
    digest,
    enum_table,
    hash_rows,
    listing,
    number,
    raw,
)  # fmt: skip
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.expressions import At, End, Plus
from stellar_arrow_source.tables.frame import OPERATION_NEEDS, TRANSACTION_NEEDS, Frame, Integers
from stellar_arrow_source.tables.relations import ENVELOPE, EVICTED_KEY, LEDGER, OPERATION, TX_RESULT
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.xdr import readers

_VERSION = At(LEDGER)
_HEADER: Final = "ledgerHeader.header"
_EVICTED = At(EVICTED_KEY)
_EVICTED_END = End(EVICTED_KEY)
_LEDGER_ENTRY_TYPES = enum_table("LedgerEntryType", str.lower)


def _header(path: str) -> At:
    return At(LEDGER, f"{_HEADER}.{path}")


def _value_signature(path: str) -> At:
    value = f"{_HEADER}.scpValue.ext"
    return At(LEDGER, f"{value}.lcValueSignature.{path}", f"{value}.proposedValue.lcValueSignature.{path}")


_SIGNATURE = _value_signature("signature")


def _count(values: Callable[[Frame], Integers]) -> Callable[[Frame], pa.Array]:
    return lambda frame: readers.from_numpy(values(frame).astype(np.uint32), pa.uint32())


def _transactions(frame: Frame) -> Integers:
    return np.diff(frame.batch.arena.ledger_rows(TX_RESULT.name))


def _successful_transactions(frame: Frame) -> Integers:
    batch = frame.batch
    return np.bincount(batch.ledger_of_result[batch.successful], minlength=frame.length)


def _successful_operations(frame: Frame) -> Integers:
    batch = frame.batch
    weights = np.where(batch.successful, batch.operation_counts, 0)
    return np.bincount(batch.ledger_of_result, weights, minlength=frame.length).astype(np.int64)


def _all_operations(frame: Frame) -> Integers:
    batch = frame.batch
    _, counts = batch.runs(OPERATION, ENVELOPE)
    ledgers = batch.arena.rows(ENVELOPE.name)[:, 1]
    return np.bincount(ledgers, counts, minlength=frame.length).astype(np.int64)


def _has_evictions(frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return frame.words(_VERSION) > 0


def _read_evicted_types(frame: Frame) -> pa.Array:
    def read(keys: Frame) -> pa.Array:
        return readers.enum(keys.words(_EVICTED), _LEDGER_ENTRY_TYPES)

    return listing(frame, EVICTED_KEY, LEDGER, read, _has_evictions(frame), pa.list_(pa.string()))


def _read_evicted_hashes(frame: Frame) -> pa.Array:
    read = hash_rows(_EVICTED, _EVICTED_END)
    return listing(frame, EVICTED_KEY, LEDGER, read, _has_evictions(frame), pa.list_(HASH))


LEDGERS: Final = Stream(
    name="ledgers",
    aliases=("stellar_ledger",),
    description="one row per ledger",
    frame=lambda batch: batch.ledgers,
    reads=TRANSACTION_NEEDS,
    columns=(
        *LEDGER_COLUMNS,
        digest("ledger_hash", At(LEDGER, "ledgerHeader.hash"), "hash of the ledger: SHA-256 of its header"),
        digest("previous_ledger_hash", _header("previousLedgerHash"), "hash of the ledger before"),
        derived("transaction_count", pa.uint32(), _count(_transactions), "transactions, failed ones too", TX_RESULT),
        derived(
            "operation_count",
            pa.uint32(),
            _count(_successful_operations),
            "operations of successful transactions",
            *OPERATION_NEEDS,
        ),
        derived(
            "tx_set_operation_count",
            pa.uint32(),
            _count(_all_operations),
            "operations of all transactions, failed ones too",
            *OPERATION_NEEDS,
        ),
        derived(
            "successful_transaction_count", pa.uint32(), _count(_successful_transactions), "successful transactions"
        ),
        derived(
            "failed_transaction_count",
            pa.uint32(),
            _count(lambda frame: _transactions(frame) - _successful_transactions(frame)),
            "failed transactions",
        ),
        number("protocol_version", pa.uint32(), _header("ledgerVersion"), "protocol of the ledger"),
        number("base_fee", pa.uint32(), _header("baseFee"), "fee of an operation", unit="stroop"),
        number("base_reserve", pa.uint32(), _header("baseReserve"), "reserve of a ledger entry", unit="stroop"),
        number("max_tx_set_size", pa.uint32(), _header("maxTxSetSize"), "operations that a ledger takes"),
        derived(
            "close_time_resolution",
            pa.uint32(),
            _count(lambda frame: np.ones(frame.length, np.int64)),
            "resolution of the close time: the protocol counts whole seconds",
            unit="second",
        ),
        amount("total_coins", _header("totalCoins"), "lumens in existence"),
        amount("fee_pool", _header("feePool"), "fees collected"),
        digest("tx_set_hash", _header("scpValue.txSetHash"), "hash of the transaction set, as the header says"),
        digest("tx_set_result_hash", _header("txSetResultHash"), "hash of the results"),
        digest("bucket_list_hash", _header("bucketListHash"), "hash of the bucket list"),
        account(
            "node_id",
            # NodeID is a PublicKey: the key follows the discriminant
            Plus(_value_signature("nodeID"), 1),
            "validator that signed the value; null for values without signature",
            nullable=True,
        ),
        derived(
            "signature",
            pa.binary(),
            lambda frame: readers.binary(frame.batch.words, frame.positions(_SIGNATURE)),
            "signature of the value",
            _SIGNATURE,
            nullable=True,
        ),
        amount(
            "soroban_fee_write_1kb",
            At(LEDGER, "ext.v1.sorobanFeeWrite1KB"),
            "fee to write 1 KB of Soroban state, where the meta tells it",
            nullable=True,
        ),
        number(
            "total_byte_size_of_live_soroban_state",
            pa.uint64(),
            At(LEDGER, "totalByteSizeOfLiveSorobanState"),
            "size of the live Soroban state; null before LedgerCloseMeta V1",
            nullable=True,
            unit="byte",
        ),
        derived(
            "evicted_ledger_keys_type",
            pa.list_(pa.string()),
            _read_evicted_types,
            "types of the ledger keys evicted; null before LedgerCloseMeta V1",
            _EVICTED,
            _VERSION,
            nullable=True,
        ),
        derived(
            "evicted_ledger_keys_hash",
            pa.list_(HASH),
            _read_evicted_hashes,
            "SHA-256 of each ledger key evicted; null before LedgerCloseMeta V1",
            _EVICTED,
            _EVICTED_END,
            _VERSION,
            nullable=True,
        ),
        derived(
            "ledger_close_meta_version",
            pa.uint8(),
            lambda frame: readers.from_numpy(frame.words(_VERSION).astype(np.uint8), pa.uint8()),
            "version of LedgerCloseMeta",
            _VERSION,
        ),
        raw(
            "ledger_header_xdr",
            At(LEDGER, _HEADER),
            End(LEDGER, *(f"{version}.{_HEADER}" for version in ("v0", "v1", "v2"))),
            "LedgerHeader",
        ),
        raw("ledger_close_meta_xdr", _VERSION, End(LEDGER), "LedgerCloseMeta"),
    ),
)
