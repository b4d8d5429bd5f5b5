"""The streams ``contract_events`` and ``diagnostic_events``: one row per ContractEvent, by the list that holds it.

Sources: TransactionMetaV3, TransactionMetaV4, TransactionEvent, DiagnosticEvent; CAP-46-08, CAP-67.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import ContractEventType

from stellar_arrow_source.tables.columns import (
    at,
    derived,
    enum_table,
    enumeration,
    number,
    raw,
    strings,
    text,
)  # fmt: skip
from stellar_arrow_source.tables.common import (
    LEDGER_COLUMNS,
    TRANSACTION_COLUMNS,
    TRANSACTION_HASH,
    TX_SUCCESSFUL,
)
from stellar_arrow_source.tables.expressions import At, End, Expression, Plus, Where
from stellar_arrow_source.tables.frame import TRANSACTION_NEEDS, Batch, Frame, Integers, Mask
from stellar_arrow_source.tables.relations import (
    CONTRACT_EVENT,
    DIAGNOSTIC_EVENT,
    ENVELOPE,
    OPERATION,
    OPERATION_META,
    TRANSACTION_EVENT,
    TX_RESULT,
)
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.xdr import Relation, readers, scval
from stellar_arrow_source.xdr.jit import Offsets
from stellar_arrow_source.xdr.strkey import Version

_EVENT = At(CONTRACT_EVENT)
_EVENT_END = End(CONTRACT_EVENT)
_TYPE = At(CONTRACT_EVENT, "type")
_TOPICS = At(CONTRACT_EVENT, "body.v0.topics")
_DATA = At(CONTRACT_EVENT, "body.v0.data")
_STAGE = At(TRANSACTION_EVENT, "stage")
_IN_SUCCESSFUL_CALL = At(DIAGNOSTIC_EVENT, "inSuccessfulContractCall")

_FIRST_TOPIC = Where(Plus(_TOPICS, 1), lambda frame: frame.words(_TOPICS) > 0)
_FIRST_SYMBOL = Where(Plus(_FIRST_TOPIC, 1), lambda frame: frame.words(_FIRST_TOPIC) == scval.SYMBOL, (_FIRST_TOPIC,))

_EVENT_NEEDS: Final[tuple[Expression | Relation, ...]] = (
    *TRANSACTION_NEEDS,
    _EVENT,
    At(OPERATION_META),
    _STAGE,
    At(DIAGNOSTIC_EVENT),
)
"""All relations that hold events are in the program of both streams: an event's parent is the nearest of them."""

# -- rows

_OPERATIONS_PHASE: Final = 1
_PHASE_OF_STAGE: Final = np.array([0, 2, 3], np.int64)
"""When the events of a TransactionEventStage happen, those of operations happening between the first two."""
_PHASES: Final = 4


def _contract_events(batch: Batch) -> Frame:
    """Events of operations and transactions, in the order in which they happen within each transaction.

    Raises:
        DecodeError: an event belongs to an operation that the transaction does not have, or is of type DIAGNOSTIC.
    """
    holder = _holders(batch)
    rows = np.flatnonzero(holder != _number(batch, DIAGNOSTIC_EVENT))
    holder, parent = holder[rows], _parents(batch, CONTRACT_EVENT)[rows]
    of_operation = holder == _number(batch, OPERATION_META)
    of_transaction = holder == _number(batch, TRANSACTION_EVENT)
    transaction = parent.copy()  # of events in SorobanTransactionMeta the transaction, whose one operation is the first
    transaction[of_operation] = _parents(batch, OPERATION_META)[parent[of_operation]]
    transaction[of_transaction] = _parents(batch, TRANSACTION_EVENT)[parent[of_transaction]]
    ordinal = np.where(of_transaction, np.int64(-1), 0)
    ordinal[of_operation] = (parent - batch.runs(OPERATION_META, TX_RESULT)[0][transaction])[of_operation]
    level = np.where(of_transaction, parent, -1)
    stage = Frame(batch, np.zeros(len(rows), np.int64), {TRANSACTION_EVENT.name: level}).words(_STAGE)
    phase = np.where(of_transaction, _PHASE_OF_STAGE[stage], _OPERATIONS_PHASE)
    order = np.argsort(transaction * _PHASES + phase, kind="stable")
    frame = _frame(batch, transaction[order], {CONTRACT_EVENT.name: rows[order], TRANSACTION_EVENT.name: level[order]})
    frame.once("ordinal", lambda: ordinal[order])
    _refuse_strays(frame)
    return frame


def _diagnostic_events(batch: Batch) -> Frame:
    """Diagnostic events, in the order of the meta."""
    rows = np.flatnonzero(_holders(batch) == _number(batch, DIAGNOSTIC_EVENT))
    diagnostic = _parents(batch, CONTRACT_EVENT)[rows]
    transaction = _parents(batch, DIAGNOSTIC_EVENT)[diagnostic]
    return _frame(batch, transaction, {CONTRACT_EVENT.name: rows, DIAGNOSTIC_EVENT.name: diagnostic})


def _frame(batch: Batch, transaction: Integers, rows: dict[str, Integers]) -> Frame:
    return Frame(batch, batch.ledger_of_result[transaction], {TX_RESULT.name: transaction, **rows})


def _number(batch: Batch, relation: Relation) -> int:
    return batch.arena.program.index[relation.name]


def _parents(batch: Batch, relation: Relation) -> Integers:
    """int64 (rows of the relation,): the row of the relation that holds each."""
    return batch.arena.rows(relation.name)[:, 1].astype(np.int64)


def _holders(batch: Batch) -> Integers:
    """int64 (contract events,): the number of the relation that holds each."""
    program = batch.arena.program
    sites = program.sites[program.index[CONTRACT_EVENT.name]]
    table = np.array([program.index[parent] for parent, _ in sites], np.int64)
    return table[batch.arena.rows(CONTRACT_EVENT.name)[:, 2]]


def _refuse_strays(frame: Frame) -> None:
    batch, transaction, ordinal = frame.batch, frame.rows[TX_RESULT.name], _ordinal(frame)
    counts = batch.runs(OPERATION, ENVELOPE)[1][batch.envelope_of_result][transaction]
    _refuse(frame, ordinal >= counts, "an event of an operation that the transaction does not have")
    diagnostic = frame.words(_TYPE) == ContractEventType.DIAGNOSTIC
    _refuse(frame, diagnostic, "an event of type DIAGNOSTIC outside the diagnostic events")


def _refuse(frame: Frame, bad: Mask, reason: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        position = int(frame.positions(_EVENT)[row])
        raise frame.batch.error(reason, int(frame.ledger[row]), position, "ContractEvent")


# -- columns


def _ordinal(frame: Frame) -> Integers:
    """int64 (rows,): the operation of each event in its transaction, from 0; -1 where the event is of none."""
    return frame.once("ordinal", lambda: frame.absent)


def _read_operation_id(frame: Frame) -> pa.Array:
    ids = frame.batch.transaction_ids[frame.rows[TX_RESULT.name]] + _ordinal(frame) + 1
    return readers.from_numpy(ids, pa.int64(), _ordinal(frame) >= 0)


def _read_operation_index(frame: Frame) -> pa.Array:
    return readers.from_numpy((_ordinal(frame) + 1).astype(np.uint32), pa.uint32(), _ordinal(frame) >= 0)


def _read_event_index(frame: Frame) -> pa.Array:
    transaction = frame.rows[TX_RESULT.name]
    counts = np.bincount(transaction, minlength=len(frame.batch.ledger_of_result))
    first = np.cumsum(counts) - counts
    index = np.arange(1, frame.length + 1, dtype=np.int64) - first[transaction]
    return readers.from_numpy(index.astype(np.uint32), pa.uint32())


def _read_in_successful_call(frame: Frame) -> pa.Array:
    return readers.from_bool(frame.transaction_successful | (_ordinal(frame) < 0))


def _topics(frame: Frame) -> tuple[Offsets, Integers]:
    """List offsets, and positions of all topics."""
    return frame.once(
        "topics",
        lambda: scval.vector_items(frame.batch.words, frame.positions(_TOPICS), frame.positions(_DATA)),
    )


def _read_topics(frame: Frame) -> pa.Array:
    offsets, topics = _topics(frame)
    return readers.list_array(offsets, scval.scval_json(frame.batch.words, topics), type=pa.list_(pa.string()))


def _read_topics_xdr(frame: Frame) -> pa.Array:
    offsets, topics = _topics(frame)
    ends = np.append(topics[1:], 0)  # a topic ends where the next begins, the last one where the data begin
    some = offsets[1:] > offsets[:-1]
    ends[offsets[1:][some] - 1] = frame.positions(_DATA)[some]
    return readers.list_array(offsets, readers.span(frame.batch.words, topics, ends), type=pa.list_(pa.binary()))


_IDS: Final = (*LEDGER_COLUMNS, *TRANSACTION_COLUMNS)
_OPERATION_IDS: Final = (
    derived(
        "operation_id",
        pa.int64(),
        _read_operation_id,
        "id of the operation (SEP-35); null for events of the transaction as a whole",
        nullable=True,
    ),
    derived(
        "operation_index",
        pa.uint32(),
        _read_operation_index,
        "position of the operation in its transaction, from 1; null for events of the transaction as a whole",
        nullable=True,
    ),
)
_EVENT_INDEX: Final = derived(
    "event_index",
    pa.uint32(),
    _read_event_index,
    "position of the event among the stream's events of its transaction, from 1",
)


def _body(in_successful_call: Column) -> tuple[Column, ...]:
    """What both streams say of an event."""
    return (
        number("event_type", pa.int32(), _TYPE, "code of the event's type"),
        enumeration(
            "event_type_string",
            enum_table("ContractEventType"),
            _TYPE,
            "type of the event, as the XDR member is named: SYSTEM, CONTRACT or DIAGNOSTIC",
        ),
        strings(
            "contract_id",
            readers.strkey,
            At(CONTRACT_EVENT, "contractID?"),
            "contract that emitted the event; of a classic operation or a fee, the asset's contract",
            Version.CONTRACT,
            nullable=True,
        ),
        replace(TX_SUCCESSFUL, name="successful"),
        in_successful_call,
        derived("topics", pa.list_(pa.string()), _read_topics, "topics, each as XDR-JSON (SEP-51)", _TOPICS, _DATA),
        strings("data", scval.scval_json, _DATA, "data as XDR-JSON (SEP-51)"),
        number("topic_count", pa.uint32(), _TOPICS, "number of topics"),
        text("topic0", _FIRST_SYMBOL, "the first topic, where it is a symbol: the event's name", nullable=True),
        derived(
            "topics_xdr",
            pa.list_(pa.binary()),
            _read_topics_xdr,
            "XDR of each topic (SCVal)",
            _TOPICS,
            _DATA,
            opt_in=True,
        ),
        raw("data_xdr", _DATA, _EVENT_END, "XDR of the data (SCVal)"),
        raw("contract_event_xdr", _EVENT, _EVENT_END, "XDR of the event (ContractEvent)"),
    )


CONTRACT_EVENTS: Final = Stream(
    name="contract_events",
    description="one row per contract or system event (never a diagnostic one), in apply order; within a transaction"
    " as they happen: stage BEFORE_ALL_TXS, operation by operation, AFTER_TX, AFTER_ALL_TXS",
    frame=_contract_events,
    reads=(*_EVENT_NEEDS, _TYPE, OPERATION),
    columns=(
        *_IDS,
        *_OPERATION_IDS,
        TRANSACTION_HASH,
        _EVENT_INDEX,
        enumeration(
            "stage",
            enum_table("TransactionEventStage"),
            _STAGE,
            "when an event of the transaction as a whole happened, as the XDR member is named; null for operations'",
            nullable=True,
        ),
        *_body(
            derived(
                "in_successful_contract_call",
                pa.bool_(),
                _read_in_successful_call,
                "whether what the event tells of took effect: of an operation's event, whether the transaction"
                " succeeded (the meta keeps no others); of a fee, always",
            )
        ),
    ),
)

DIAGNOSTIC_EVENTS: Final = Stream(
    name="diagnostic_events",
    description="one row per diagnostic event, in apply order, then in the order of the meta; not agreed on by the"
    " network, they repeat contract events and add those of failed calls, calls and metrics",
    frame=_diagnostic_events,
    reads=_EVENT_NEEDS,
    columns=(
        *_IDS,
        TRANSACTION_HASH,
        _EVENT_INDEX,
        *_body(
            derived(
                "in_successful_contract_call",
                pa.bool_(),
                at(pa.bool_(), readers.boolean, _IN_SUCCESSFUL_CALL),
                "whether the contract call that emitted the event succeeded",
                _IN_SUCCESSFUL_CALL,
            )
        ),
    ),
)
