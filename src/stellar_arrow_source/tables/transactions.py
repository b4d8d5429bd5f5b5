"""The stream ``transactions``: one row per transaction, failed ones too, in apply order."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables.columns import (
    account,
    amount,
    derived,
    digest,
    enum_table,
    enumeration,
    listing,
    muxed,
    muxed_pair,
    number,
    raw,
)  # fmt: skip
from stellar_arrow_source.tables.common import (
    LEDGER_COLUMNS,
    MEMO_COLUMNS,
    TRANSACTION_COLUMNS,
    TRANSACTION_HASH,
    TX_SOURCE_ID,
    TX_SOURCE_KEY,
)  # fmt: skip
from stellar_arrow_source.tables.expressions import At, End, FirstOf, MuxedKey, Plus
from stellar_arrow_source.tables.frame import (
    INNER_RESULT_CODE,
    RESULT_CODE,
    RESULT_PAIR,
    TRANSACTION_NEEDS,
    Frame,
    Integers,
    Mask,
)
from stellar_arrow_source.tables.relations import (
    ARCHIVED_ENTRY,
    CHANGE,
    ENVELOPE,
    EXTRA_SIGNER,
    FEE_CHANGE,
    LEDGER,
    TX_RESULT,
)  # fmt: skip
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.positions import fee_account_changes, hypers_at

_RESULT_CODES = enum_table("TransactionResultCode")
_FEE_SOURCE = At(ENVELOPE, "feeBump.tx.feeSource")
_OUTER_FEE = At(ENVELOPE, "feeBump.tx.fee")
_FEE = At(ENVELOPE, "fee")
_INNER_PAIR: Final = "result.result.result.innerResultPair"
_TIME_BOUNDS = At(ENVELOPE, "cond.timeBounds", "cond.v2.timeBounds?", "timeBounds?")
_LEDGER_BOUNDS = At(ENVELOPE, "cond.v2.ledgerBounds?")
_EXTRA_SIGNERS = At(ENVELOPE, "cond.v2.extraSigners")
_SIGNATURES = At(ENVELOPE, "v0.signatures", "v1.signatures", "feeBump.signatures")
_META = At(TX_RESULT, "txApplyProcessing")

_SOROBAN: Final = "ext.sorobanData"
_RESOURCES: Final = f"{_SOROBAN}.resources"
_RESOURCE_FEE = At(ENVELOPE, f"{_SOROBAN}.resourceFee")
_ARCHIVED = At(ENVELOPE, f"{_SOROBAN}.ext.resourceExt.archivedSorobanEntries")

_CHANGES: Final = {relation.name: (At(relation), At(relation, "data")) for relation in (FEE_CHANGE, CHANGE)}
_FEE_PAYER = FirstOf(MuxedKey(_FEE_SOURCE), TX_SOURCE_KEY)
_FEE_CHANGES = (*_CHANGES[FEE_CHANGE.name], _FEE_PAYER, _RESOURCE_FEE)


def _soroban_meta(path: str) -> At:
    return At(TX_RESULT, *(f"txApplyProcessing.{version}.sorobanMeta.ext.v1.{path}" for version in ("v3", "v4")))


def _read_extra_signers(frame: Frame) -> pa.Array:
    def read(signers: Frame) -> pa.Array:
        return readers.signer_key(frame.batch.words, signers.positions(_SIGNER))

    present = frame.positions(_EXTRA_SIGNERS) > 0
    return listing(frame, EXTRA_SIGNER, ENVELOPE, read, present, pa.list_(pa.string()))


_SIGNER = At(EXTRA_SIGNER)


def _read_archived_entries(frame: Frame) -> pa.Array:
    def read(entries: Frame) -> pa.Array:
        return readers.u32(frame.batch.words, entries.positions(_ENTRY))

    present = frame.positions(_ARCHIVED) > 0
    return listing(frame, ARCHIVED_ENTRY, ENVELOPE, read, present, pa.list_(pa.uint32()))


_ENTRY = At(ARCHIVED_ENTRY)


def _is_soroban(frame: Frame) -> Mask:
    return frame.positions(_RESOURCE_FEE) > 0


def _read_bid(frame: Frame) -> pa.Array:
    if frame.positions(_RESOURCE_FEE) is frame.absent:
        return frame.nulls(pa.int64())
    outer = frame.positions(_OUTER_FEE) > 0
    fee = np.where(outer, frame.hypers(_OUTER_FEE), frame.words(_FEE))
    bid = _minus(frame, "the inclusion fee bid", fee, frame.hypers(_RESOURCE_FEE))
    return readers.from_numpy(bid, pa.int64(), _is_soroban(frame))


def _fee_movements(frame: Frame) -> tuple[Integers, Integers, Integers]:
    """(position of the balance before the charge, after it, refund), int64 (rows,); Soroban transactions only."""
    batch = frame.batch
    program = batch.arena.program
    name = next(name for name in _CHANGES if name in program.index)
    sites = program.sites[program.index[name]]
    of_fees = np.array([site in FEE_CHANGE.sites for site in sites])
    at_start = np.array([path == "feeProcessing" for _, path in sites])
    rows = batch.arena.rows(name)
    chosen = np.flatnonzero(of_fees.take(rows[:, 2]))
    rows = rows[chosen]
    changes = Frame(batch, np.zeros(len(chosen), np.int64), {name: chosen})
    change, data = _CHANGES[name]
    start, end, refund = (np.zeros(frame.length, np.int64) for _ in range(3))
    overflow = fee_account_changes(
        batch.words,
        changes.positions(change),
        changes.positions(data),
        rows[:, 1],
        at_start[rows[:, 2]],
        np.where(_is_soroban(frame), frame.positions(_FEE_PAYER), 0),
        start,
        end,
        refund,
    )
    if overflow >= 0:
        raise _out_of_range(frame, "the refund of the resource fee", overflow)
    return start, end, refund


def _out_of_range(frame: Frame, what: str, row: int) -> DecodeError:
    position = int(frame.positions(_RESOURCE_FEE)[row])
    return frame.batch.error(f"{what} is out of range", int(frame.ledger[row]), position, f"Transaction.{_SOROBAN}")


def _minus(frame: Frame, what: str, a: Integers, b: Integers) -> Integers:
    """a - b, checked."""
    difference = a - b
    overflow = ((a ^ b) & (a ^ difference)) < 0
    if overflow.any():
        raise _out_of_range(frame, what, int(np.flatnonzero(overflow)[0]))
    return difference


def _movements(frame: Frame) -> tuple[Integers, Integers, Integers]:
    return frame.once("fee movements", lambda: _fee_movements(frame))


def _read_charged(frame: Frame) -> pa.Array:
    if not _is_soroban(frame).any():
        return frame.nulls(pa.int64())
    start, end, _ = _movements(frame)
    before, after = np.empty(frame.length, np.int64), np.empty(frame.length, np.int64)
    hypers_at(frame.batch.words, start, before)
    hypers_at(frame.batch.words, end, after)
    what = "the inclusion fee charged"
    charged = _minus(frame, what, _minus(frame, what, before, after), frame.hypers(_RESOURCE_FEE))
    return readers.from_numpy(charged, pa.int64(), (start > 0) & (end > 0))


def _read_refund(frame: Frame) -> pa.Array:
    if not _is_soroban(frame).any():
        return frame.nulls(pa.int64())
    return readers.from_numpy(_movements(frame)[2], pa.int64(), _is_soroban(frame))


TRANSACTIONS: Final = Stream(
    name="transactions",
    description="one row per transaction, failed ones too, in apply order",
    frame=lambda batch: batch.transactions,
    reads=TRANSACTION_NEEDS,
    columns=(
        *LEDGER_COLUMNS,
        *TRANSACTION_COLUMNS,
        TRANSACTION_HASH,
        account("source_account", TX_SOURCE_KEY, "source of the transaction; of a fee bump, of the inner one"),
        muxed("source_account_muxed", TX_SOURCE_KEY, TX_SOURCE_ID, "M address of the source, where it is a muxed one"),
        number("account_sequence", pa.int64(), At(ENVELOPE, "seqNum"), "sequence number of the source account"),
        *muxed_pair("fee_account", _FEE_SOURCE, "account that pays a fee bump", nullable=True),
        digest(
            "inner_transaction_hash",
            At(TX_RESULT, f"{_INNER_PAIR}.transactionHash"),
            "hash of a fee bump's inner transaction",
            nullable=True,
        ),
        derived(
            "max_fee",
            pa.int64(),
            lambda frame: readers.from_numpy(frame.words(_FEE), pa.int64()),
            "fee offered; by a fee bump's inner transaction",
            _FEE,
            unit="stroop",
        ),
        amount("new_max_fee", _OUTER_FEE, "fee offered by a fee bump", nullable=True),
        amount("fee_charged", Plus(RESULT_PAIR, 8), "fee charged, refunds taken off"),
        derived(
            "successful",
            pa.bool_(),
            lambda frame: readers.from_bool(frame.transaction_successful),
            "whether the transaction succeeded",
        ),
        number("result_code", pa.int32(), RESULT_CODE, "code of the result"),
        enumeration("transaction_result_code", _RESULT_CODES, RESULT_CODE, "result, as the XDR member is named"),
        number(
            "inner_result_code",
            pa.int32(),
            INNER_RESULT_CODE,
            "result code of a fee bump's inner transaction",
            nullable=True,
        ),
        enumeration(
            "inner_transaction_result_code",
            _RESULT_CODES,
            INNER_RESULT_CODE,
            "result of a fee bump's inner transaction",
            nullable=True,
        ),
        number("operation_count", pa.uint32(), At(ENVELOPE, "operations"), "operations of the transaction"),
        *MEMO_COLUMNS,
        number(
            "time_bounds_min", pa.uint64(), _TIME_BOUNDS, "earliest close time", nullable=True, unit="second since 1970"
        ),
        number(
            "time_bounds_max",
            pa.uint64(),
            Plus(_TIME_BOUNDS, 2),
            "latest close time; 0 is no limit",
            nullable=True,
            unit="second since 1970",
        ),
        number("ledger_bounds_min", pa.uint32(), _LEDGER_BOUNDS, "first ledger allowed", nullable=True),
        number(
            "ledger_bounds_max",
            pa.uint32(),
            Plus(_LEDGER_BOUNDS, 1),
            "first ledger no longer allowed; 0 is no limit",
            nullable=True,
        ),
        number(
            "min_account_sequence",
            pa.int64(),
            At(ENVELOPE, "cond.v2.minSeqNum?"),
            "least sequence number of the source account",
            nullable=True,
        ),
        number(
            "min_account_sequence_age",
            pa.uint64(),
            At(ENVELOPE, "cond.v2.minSeqAge"),
            "least age of the account's sequence number; null without preconditions V2",
            nullable=True,
            unit="second",
        ),
        number(
            "min_account_sequence_ledger_gap",
            pa.uint32(),
            At(ENVELOPE, "cond.v2.minSeqLedgerGap"),
            "least age of the account's sequence number; null without preconditions V2",
            nullable=True,
            unit="ledger",
        ),
        derived(
            "extra_signers",
            pa.list_(pa.string()),
            _read_extra_signers,
            "strkeys of further signers required; null without preconditions V2",
            _EXTRA_SIGNERS,
            _SIGNER,
            nullable=True,
        ),
        number("signature_count", pa.uint32(), _SIGNATURES, "signatures of the (outer) envelope"),
        enumeration(
            "transaction_envelope_type",
            enum_table("EnvelopeType"),
            At(ENVELOPE),
            "kind of envelope, as the XDR member is named",
        ),
        number(
            "protocol_version", pa.uint32(), At(LEDGER, "ledgerHeader.header.ledgerVersion"), "protocol of the ledger"
        ),
        derived(
            "transaction_meta_version",
            pa.uint8(),
            lambda frame: readers.from_numpy(frame.words(_META).astype(np.uint8), pa.uint8()),
            "version of TransactionMeta",
            _META,
        ),
        amount("resource_fee", _RESOURCE_FEE, "resource fee offered; Soroban", nullable=True),
        *(
            number(
                f"soroban_resources_{name}",
                pa.uint32(),
                At(ENVELOPE, f"{_RESOURCES}.{path}"),
                text,
                nullable=True,
                unit=unit,
            )
            for name, path, text, unit in (
                ("instructions", "instructions", "instructions declared", "instruction"),
                ("disk_read_bytes", "diskReadBytes", "bytes of disk reads declared", "byte"),
                ("write_bytes", "writeBytes", "bytes of writes declared", "byte"),
            )
        ),
        derived(
            "soroban_resources_archived_entries",
            pa.list_(pa.uint32()),
            _read_archived_entries,
            "indices of archived entries in the read-write footprint; null where none are declared",
            _ARCHIVED,
            _ENTRY,
            nullable=True,
        ),
        *(
            number(
                f"soroban_footprint_{name}_count",
                pa.uint32(),
                At(ENVELOPE, f"{_RESOURCES}.footprint.{path}"),
                f"keys of the {name.replace('_', '-')} footprint",
                nullable=True,
            )
            for name, path in (("read_only", "readOnly"), ("read_write", "readWrite"))
        ),
        derived(
            "inclusion_fee_bid",
            pa.int64(),
            _read_bid,
            "fee offered beside the resource fee; Soroban",
            _FEE,
            _OUTER_FEE,
            _RESOURCE_FEE,
            nullable=True,
            unit="stroop",
        ),
        derived(
            "inclusion_fee_charged",
            pa.int64(),
            _read_charged,
            "what was charged at first beside the resource fee; Soroban",
            *_FEE_CHANGES,
            nullable=True,
            unit="stroop",
        ),
        derived(
            "resource_fee_refund",
            pa.int64(),
            _read_refund,
            "what the fee account got back; Soroban",
            *_FEE_CHANGES,
            nullable=True,
            unit="stroop",
        ),
        *(
            amount(name, _soroban_meta(path), text, nullable=True)
            for name, path, text in (
                (
                    "non_refundable_resource_fee_charged",
                    "totalNonRefundableResourceFeeCharged",
                    "resource fee charged for what is not refunded",
                ),
                (
                    "refundable_resource_fee_charged",
                    "totalRefundableResourceFeeCharged",
                    "resource fee charged for rent and events",
                ),
                ("rent_fee_charged", "rentFeeCharged", "fee charged for rent"),
            )
        ),
        raw("transaction_envelope_xdr", At(ENVELOPE), End(ENVELOPE), "TransactionEnvelope"),
        raw("transaction_result_xdr", RESULT_PAIR, End(TX_RESULT, "result"), "TransactionResultPair"),
        raw("transaction_meta_xdr", _META, End(TX_RESULT, "txApplyProcessing"), "TransactionMeta"),
        raw(
            "transaction_fee_meta_xdr",
            At(TX_RESULT, "feeProcessing"),
            End(TX_RESULT, "feeProcessing"),
            "LedgerEntryChanges of the fee's charge",
        ),
    ),
)
