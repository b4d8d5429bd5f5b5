"""The rows of streams: a batch of walked ledgers, and frames that say which relation rows make up a stream's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables.expressions import At, Expression
from stellar_arrow_source.tables.relations import ENVELOPE, LEDGER, OP_RESULT, OPERATION, TX_RESULT
from stellar_arrow_source.xdr import Arena, Relation
from stellar_arrow_source.xdr.positions import hypers_at, join_operations, signed_words_at, words_at

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
T = TypeVar("T")

MICROSECONDS: Final = 1_000_000
_MAX_CLOSE_TIME: Final = (2**63 - 1) // MICROSECONDS
_MAX_SEQUENCE: Final = 2**31 - 1  # an id (SEP-35) is a signed 64-bit integer with the sequence on top
_MAX_TRANSACTIONS: Final = 2**20 - 1
_MOST_TYPES: Final = 64
_MANAGE_SELL_OFFER: Final = 3
_CREATE_PASSIVE_SELL_OFFER: Final = 4
TX_SUCCESS: Final = 0
TX_FEE_BUMP_INNER_SUCCESS: Final = 1
TX_FAILED: Final = -1

SEQUENCE = At(LEDGER, "ledgerHeader.header.ledgerSeq")
CLOSE_TIME = At(LEDGER, "ledgerHeader.header.scpValue.closeTime")
RESULT_PAIR = At(TX_RESULT, "result")
RESULT_CODE = At(TX_RESULT, "result.result.result")
INNER_RESULT_CODE = At(TX_RESULT, "result.result.result.innerResultPair.result.result")
OPERATION_BODY = At(OPERATION, "body")
OPERATION_RESULT = At(OP_RESULT)

TRANSACTION_NEEDS: Final[tuple[Expression, ...]] = (SEQUENCE, CLOSE_TIME, RESULT_PAIR, RESULT_CODE)
OPERATION_NEEDS: Final[tuple[Expression, ...]] = (
    *TRANSACTION_NEEDS,
    INNER_RESULT_CODE,
    OPERATION_BODY,
    OPERATION_RESULT,
)


class Frame:
    """The rows of a stream.

    Attributes:
        batch: the ledgers they come from.
        length: their number.
        rows: relation name → int64 (length,), the row of that relation for each row, -1 where there is none.
        ledger: int64 (length,), the ledger of each row; never falls.
    """

    def __init__(self, batch: Batch, ledger: Integers, rows: dict[str, Integers]) -> None:
        self.batch = batch
        self.length = len(ledger)
        self.ledger = ledger
        self.rows = {LEDGER.name: ledger, **rows}
        self.absent: Integers = np.zeros(self.length, np.int64)
        self._known: dict[object, Any] = {}

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What ``make`` gives, computed at the first call for ``key``."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = make()
        value: T = known
        return value

    def known(self, key: object) -> Any:
        """What :meth:`once` keeps for ``key``; None if it has made nothing yet."""
        return self._known.get(key)

    def positions(self, expression: Expression) -> Integers:
        """int64 (length,): where the expression's values lie, 0 where absent; :attr:`absent` itself if everywhere."""
        known: Integers | None = self._known.get(expression)
        if known is None:
            known = self._known[expression] = expression.positions(self)
        return known

    def nulls(self, type: pa.DataType) -> pa.Array:
        """A column of nulls."""
        return self.once(("nulls", type), lambda: pa.nulls(self.length, type))

    def words(self, expression: Expression) -> Integers:
        """int64 (length,): the unsigned words there, 0 where absent."""
        return self.once(("word", expression), lambda: self._load(words_at, expression))

    def signed_words(self, expression: Expression) -> Integers:
        """int64 (length,): the signed words there, 0 where absent."""
        return self.once(("int", expression), lambda: self._load(signed_words_at, expression))

    def hypers(self, expression: Expression) -> Integers:
        """int64 (length,): the hypers there, 0 where absent."""
        return self.once(("hyper", expression), lambda: self._load(hypers_at, expression))

    def _load(self, kernel: Callable[..., None], expression: Expression) -> Integers:
        out = np.empty(self.length, np.int64)
        kernel(self.batch.words, self.positions(expression), out)
        return out

    # -- operations

    @cached_property
    def operation_types(self) -> Integers:
        """int64 (length,): ``OperationType`` of each operation."""
        return self.words(OPERATION_BODY)

    @cached_property
    def _types_present(self) -> frozenset[int]:
        return frozenset(np.flatnonzero(np.bincount(self.operation_types, minlength=1)).tolist())

    def has_types(self, types: Iterable[int]) -> bool:
        """Whether the frame holds any operation of these types."""
        return not self._types_present.isdisjoint(types)

    def of_types(self, types: Iterable[int]) -> Mask:
        """bool (length,): whether the operation is of one of these types."""
        table = np.zeros(_MOST_TYPES, np.bool_)
        table[list(types)] = True
        return table[self.operation_types]

    @cached_property
    def transaction_successful(self) -> Mask:
        """bool (length,)."""
        successful: Mask = self.batch.successful[self.rows[TX_RESULT.name]]
        return successful

    @cached_property
    def inner_results(self) -> tuple[Mask, Integers, Integers]:
        """(length,) each: whether an operation's result is opINNER; its ``OperationType``; its code. 0 where not."""
        results = self.positions(OPERATION_RESULT)
        inner = (results > 0) & (self.signed_words(OPERATION_RESULT) == 0)
        types, codes = np.empty(self.length, np.int64), np.empty(self.length, np.int64)
        words_at(self.batch.words, (results + 1) * inner, types)
        signed_words_at(self.batch.words, (results + 2) * inner, codes)
        return inner, types, codes

    @cached_property
    def operation_successful(self) -> Mask:
        """bool (length,): the transaction succeeded, and the operation's result is opINNER with code 0."""
        inner, _, codes = self.inner_results
        successful: Mask = self.transaction_successful & inner & (codes == 0)
        return successful


class Batch:
    """Walked ledgers with what all streams share: sequences, close times and the order of transactions.

    Attributes:
        arena: the relation rows.
        words: uint32, the raw ledgers.
        bounds: int64 (n, 2), the words of each ledger.
        sequences: int64 (n,).
        close_times: int64 (n,), microseconds since 1970.
        envelope_of_result: int64 (results,), set once the transactions are matched.
        network_id: 32 bytes, set at the same time.
        skipped: "stream: reason" → number of what gave no row although its kind should.

    Raises:
        DecodeError: a ledger holds a sequence, close time or number of transactions that no column can hold.
    """

    def __init__(self, arena: Arena, words: NDArray[np.uint32], bounds: Integers) -> None:
        self.arena, self.words, self.bounds = arena, words, bounds
        self.envelope_of_result: Integers = np.zeros(0, np.int64)
        self.network_id = b""
        self.skipped: dict[str, int] = {}
        header = Frame(self, np.arange(len(bounds), dtype=np.int64), {})
        self.ledgers = header
        self.sequences = header.words(SEQUENCE)
        self._refuse(self.sequences > _MAX_SEQUENCE, "a ledger sequence of 2^31 or more", SEQUENCE, named=False)
        seconds = header.hypers(CLOSE_TIME)
        self._refuse((seconds < 0) | (seconds > _MAX_CLOSE_TIME), "a close time out of range", CLOSE_TIME)
        self.close_times = seconds * MICROSECONDS
        starts = arena.ledger_rows(TX_RESULT.name)
        self._refuse(np.diff(starts) > _MAX_TRANSACTIONS, "more transactions than ids can number", SEQUENCE)
        self.ledger_of_result: Integers = arena.rows(TX_RESULT.name)[:, 1].astype(np.int64)
        self.transaction_index: Integers = (
            np.arange(len(self.ledger_of_result), dtype=np.int64) - starts[self.ledger_of_result] + 1
        )

    def _refuse(self, bad: Mask, reason: str, where: At, *, named: bool = True) -> None:
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            raise self.error(reason, index, int(self.ledgers.positions(where)[index]), where.paths[0], named=named)

    def error(self, reason: str, index: int, position: int, path: str, *, named: bool = True) -> DecodeError:
        """A DecodeError about ledger ``index``; ``position`` is a word."""
        return DecodeError(
            reason,
            ledger=int(self.sequences[index]) if named else None,
            index=index,
            offset=max(0, position - int(self.bounds[index, 0])) * 4,
            path=f"LedgerCloseMeta > {path}",
        )

    def close(self) -> None:
        """Let go of the frames: they refer to the batch, and memory would wait for the cycle collector."""
        self.__dict__.clear()

    def runs(self, relation: Relation, parent: Relation) -> tuple[Integers, Integers]:
        """(first, counts), int64 (parent rows,): the run of ``relation`` rows below each row of ``parent``."""
        known = self._runs.get(relation.name)
        if known is None:
            parents = self.arena.rows(relation.name)[:, 1]
            counts = np.bincount(parents, minlength=self.arena.count(parent.name)).astype(np.int64)
            known = self._runs[relation.name] = (np.cumsum(counts) - counts, counts)
        return known

    @cached_property
    def _runs(self) -> dict[str, tuple[Integers, Integers]]:
        return {}

    @cached_property
    def results(self) -> Frame:
        """One row per result, in apply order; what needs no envelope."""
        rows = np.arange(len(self.ledger_of_result), dtype=np.int64)
        return Frame(self, self.ledger_of_result, {TX_RESULT.name: rows})

    @cached_property
    def transactions(self) -> Frame:
        """One row per transaction, in apply order; only once the transactions are matched."""
        rows = self.results.rows | {ENVELOPE.name: self.envelope_of_result}
        return Frame(self, self.ledger_of_result, rows)

    @cached_property
    def result_codes(self) -> Integers:
        """int64 (results,): ``TransactionResultCode``."""
        return self.results.signed_words(RESULT_CODE)

    @cached_property
    def successful(self) -> Mask:
        """bool (results,)."""
        successful: Mask = (self.result_codes == TX_SUCCESS) | (self.result_codes == TX_FEE_BUMP_INNER_SUCCESS)
        return successful

    @cached_property
    def transaction_ids(self) -> Integers:
        """int64 (results,): SEP-35 ids."""
        return (self.sequences[self.ledger_of_result] << 32) | (self.transaction_index << 12)

    @cached_property
    def operation_counts(self) -> Integers:
        """int64 (results,): the operations of each transaction.

        Raises:
            DecodeError: a result that lists operation results lists another number than there are operations.
        """
        counts = self.runs(OPERATION, ENVELOPE)[1][self.envelope_of_result]
        listed = self.runs(OP_RESULT, TX_RESULT)[1]
        inner = self.results.positions(INNER_RESULT_CODE)
        code = np.where(inner > 0, self.results.signed_words(INNER_RESULT_CODE), self.result_codes)
        bad = ((code == TX_SUCCESS) | (code == TX_FAILED)) & (listed != counts)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self.error(
                f"{listed[row]} operation results for a transaction of {counts[row]} operations",
                int(self.ledger_of_result[row]),
                int(self.results.positions(RESULT_CODE)[row]),
                f"TransactionResultMeta.{RESULT_CODE.paths[0]}",
            )
        return counts

    @cached_property
    def operations(self) -> Frame:
        """One row per operation, in apply order.

        Raises:
            DecodeError: the operation results are not those of the operations, in number or in type.
        """
        first = self.runs(OPERATION, ENVELOPE)[0][self.envelope_of_result]
        result_first, result_counts = self.runs(OP_RESULT, TX_RESULT)
        envelopes, counts = self.envelope_of_result, self.operation_counts
        transaction, operation, result, ordinal = (np.empty(int(counts.sum()), np.int64) for _ in range(4))
        join_operations(counts, first, result_first, result_counts > 0, transaction, operation, result, ordinal)
        rows = {TX_RESULT.name: transaction, OPERATION.name: operation, OP_RESULT.name: result}
        rows[ENVELOPE.name] = envelopes[transaction]
        frame = Frame(self, self.ledger_of_result[transaction], rows)
        frame.once("ordinal", lambda: ordinal)
        self._check_result_types(frame)
        return frame

    def _check_result_types(self, frame: Frame) -> None:
        inner, types, _ = frame.inner_results
        bad = inner & (types != frame.operation_types)
        # stellar-core gives a passive offer the result of an ordinary one
        bad &= (frame.operation_types != _CREATE_PASSIVE_SELL_OFFER) | (types != _MANAGE_SELL_OFFER)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self.error(
                f"the result of an operation of type {frame.operation_types[row]} is of type {types[row]}",
                int(frame.ledger[row]),
                int(frame.positions(OPERATION_RESULT)[row]) + 1,
                "OperationResult.tr",
            )

    def subset(self, frame: Frame, mask: Mask) -> Frame:
        """The rows of ``frame`` in ``mask``."""
        return self.take(frame, np.flatnonzero(mask))

    def take(self, frame: Frame, chosen: Integers) -> Frame:
        """The rows ``chosen`` of ``frame``, a frame of operations; a row may be chosen more than once."""
        part = Frame(self, frame.ledger[chosen], {name: rows[chosen] for name, rows in frame.rows.items()})
        part.operation_types = frame.operation_types[chosen]
        ordinal = frame.once("ordinal", lambda: frame.absent)
        part.once("ordinal", lambda: ordinal[chosen])
        return part
