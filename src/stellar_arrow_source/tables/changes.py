"""The changes of ledger entries in the order in which they took effect, and the keys of the entries changed.

LedgerCloseMeta lists changes by transaction, but a ledger charges all fees before it applies the first transaction,
runs what precedes the operations of all transactions of the parallel phase before the first of their operations
(CAP-63), and gives fees back at the end. Only in the order of these phases is every STATE what the change of the same
key before it left; transactions of the parallel phase that prolong the life of one entry each start from the same,
and the ledger keeps the greatest of what they say, as the stream ``ttl`` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from stellar_sdk.xdr import LedgerEntryChangeType, LedgerEntryType

from stellar_arrow_source.tables.changes_kernels import (
    copy_keys,
    key_bounds,
    order_changes,
    repeated_keys,
)  # fmt: skip
from stellar_arrow_source.tables.expressions import At, End, Expression, Need, Where
from stellar_arrow_source.tables.frame import TRANSACTION_NEEDS, Batch, Frame, Integers, Mask
from stellar_arrow_source.tables.relations import CHANGE, ENVELOPE, OPERATION_META, TX_RESULT, UPGRADE
from stellar_arrow_source.xdr import Program, Relation
from stellar_arrow_source.xdr.positions import gather_by_key, words_at
from stellar_arrow_source.xdr.sha256 import Digests, hash_spans

CHANGE_TYPE: Final = At(CHANGE)
CHANGE_END: Final = End(CHANGE)
OPERATION_COUNT: Final = At(ENVELOPE, "operations")


class Site(IntEnum):
    """Where in the ledger a change stands."""

    FEE_PROCESSING = 0
    TRANSACTION_BEFORE = 1
    OPERATION = 2
    TRANSACTION_AFTER = 3
    POST_FEE_PROCESSING = 4
    UPGRADE = 5


class _Phase(IntEnum):
    """What a ledger does one after the other."""

    FEES = 0
    TRANSACTIONS = 1
    BEFORE_PARALLEL = 2
    PARALLEL = 3
    POST_FEES = 4
    UPGRADES = 5


_SITE_OF_FIELD: Final = {
    "feeProcessing": Site.FEE_PROCESSING,
    "txChanges": Site.TRANSACTION_BEFORE,
    "txChangesBefore": Site.TRANSACTION_BEFORE,
    "txChangesAfter": Site.TRANSACTION_AFTER,
    "postTxApplyFeeProcessing": Site.POST_FEE_PROCESSING,
}
_SITE_OF_PARENT: Final = {OPERATION_META.name: Site.OPERATION, UPGRADE.name: Site.UPGRADE}
_PHASE_OF_SITE: Final = np.array(
    [_Phase.FEES, _Phase.TRANSACTIONS, _Phase.TRANSACTIONS, _Phase.TRANSACTIONS, _Phase.POST_FEES, _Phase.UPGRADES],
    np.int64,
)
_PARALLEL_PHASE: Final = "parallelTxsComponent"
_KEY_ARMS: Final = 16
"""What the type of an entry removed is raised by, so that one number tells type and whether there is but a key."""

_REMOVED: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_REMOVED)
_STATE: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_STATE)
_STARTS_PAIR, _ENDS_PAIR = np.zeros((2, len(LedgerEntryChangeType)), np.bool_)
_STARTS_PAIR[[LedgerEntryChangeType.LEDGER_ENTRY_STATE, LedgerEntryChangeType.LEDGER_ENTRY_RESTORED]] = True
_ENDS_PAIR[[LedgerEntryChangeType.LEDGER_ENTRY_UPDATED, LedgerEntryChangeType.LEDGER_ENTRY_REMOVED]] = True
REMOVED_END: Final = Where(CHANGE_END, lambda frame: is_removed(frame))


@dataclass(frozen=True, eq=False)
class OfEntry(Expression):
    """A path below the entry's data, by ``LedgerEntryType``; where the entry is removed, below its LedgerKey."""

    data: Mapping[int, str]
    key: Mapping[int, str]

    def needs(self) -> Iterator[Need]:
        yield Need(CHANGE.name)
        yield from (Need(CHANGE.name, path) for path in self._paths().values())

    def positions(self, frame: Frame) -> Integers:
        arena = frame.batch.arena
        slots, offsets = _arm_locations(arena.program, self)
        rows = frame.rows[CHANGE.name]
        out = np.empty(frame.length, np.int64)
        found = gather_by_key(arena.rows(CHANGE.name), slots, offsets, _arms(frame), rows, out)
        return out if found else frame.absent

    def _paths(self) -> dict[int, str]:
        data = {kind: f"data.{path}" for kind, path in self.data.items()}
        return data | {kind + _KEY_ARMS: f"removed.{path}" for kind, path in self.key.items()}


@lru_cache(maxsize=1024)
def _arm_locations(program: Program, expression: OfEntry) -> tuple[Integers, Integers]:
    locations = program.locations[program.index[CHANGE.name]]
    slots, offsets = np.full(2 * _KEY_ARMS, -1, np.int64), np.zeros(2 * _KEY_ARMS, np.int64)
    for kind, path in expression._paths().items():
        slots[kind], offsets[kind] = locations[path].slot, locations[path].offset
    return slots, offsets


def in_entry(arms: Mapping[int, str]) -> OfEntry:
    """A fact that only the entry tells; absent where it is removed."""
    return OfEntry(arms, {})


def in_key(arms: Mapping[int, str]) -> OfEntry:
    """A fact of the key, which stands in the entry under the same path."""
    return OfEntry(arms, arms)


_DURABILITY: Final = in_entry({LedgerEntryType.CONTRACT_DATA: "contractData.durability"})
_CODE_HASH: Final = in_entry({LedgerEntryType.CONTRACT_CODE: "contractCode.hash"})

CHANGE_NEEDS: Final[tuple[Expression | Relation, ...]] = (
    *TRANSACTION_NEEDS,
    CHANGE_TYPE,
    OPERATION_META,
    UPGRADE,
    OPERATION_COUNT,
)
KEY_NEEDS: Final[tuple[Expression, ...]] = (CHANGE_END, _DURABILITY, _CODE_HASH)
"""What :func:`keys` and all that builds on it read."""


def change_types(frame: Frame) -> Integers:
    """int64 (rows,): ``LedgerEntryChangeType``."""
    return frame.once(change_types, lambda: frame.words(CHANGE_TYPE))


def is_removed(frame: Frame) -> Mask:
    """bool (rows,): whether there is but the key of an entry removed."""
    removed: Mask = change_types(frame) == _REMOVED
    return removed


def entry_types(frame: Frame) -> Integers:
    """int64 (rows,): ``LedgerEntryType``."""

    def read() -> Integers:
        out = np.empty(frame.length, np.int64)
        words_at(frame.batch.words, _entries(frame), out)
        return out

    return frame.once(entry_types, read)


def _entries(frame: Frame) -> Integers:
    """Positions of LedgerEntry.data (which follows lastModifiedLedgerSeq) or of the LedgerKey: of the type."""
    return frame.positions(CHANGE_TYPE) + np.where(is_removed(frame), 1, 2)


def _arms(frame: Frame) -> Integers:
    return frame.once("entry arms", lambda: entry_types(frame) + _KEY_ARMS * is_removed(frame))


def changes(batch: Batch) -> Frame:
    """One row per change, in the order in which they took effect.

    Raises:
        DecodeError: a transaction's meta lists another number of operations than none or its own.
    """
    return batch.ledgers.once(changes, lambda: _changes(batch))


def _changes(batch: Batch) -> Frame:
    arena = batch.arena
    table, metas = arena.rows(CHANGE.name), arena.rows(OPERATION_META.name)
    _check_operations(batch)
    sites = _sites(arena.program)[table[:, 2]]
    parents = table[:, 1].astype(np.int64)
    meta = np.where(sites == Site.OPERATION, parents, -1)
    transaction = np.where(sites == Site.UPGRADE, -1, parents)
    of_operations = np.flatnonzero(meta >= 0)
    transaction[of_operations] = metas[meta[of_operations], 1]
    starts = arena.ledger_rows(CHANGE.name)
    order = np.empty(len(table), np.int64)
    order_changes(starts, _phases(batch, sites, transaction), len(_Phase), order)
    lists = np.cumsum((np.diff(parents, prepend=-1) != 0) | (np.diff(sites, prepend=-1) != 0))
    ledger = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
    rows = {CHANGE.name: order, TX_RESULT.name: transaction[order], OPERATION_META.name: meta[order]}
    frame = Frame(batch, ledger, rows)
    frame.once("sites", lambda: sites[order])
    frame.once("lists", lambda: lists[order])
    frame.once("numbers", lambda: np.arange(1, len(table) + 1, dtype=np.int64) - starts[ledger])
    return frame


@lru_cache(maxsize=256)
def _sites(program: Program) -> NDArray[np.int64]:
    """Site number of the relation → :class:`Site`."""
    found = program.sites[program.index[CHANGE.name]]
    return np.array(
        [_SITE_OF_PARENT.get(parent, _SITE_OF_FIELD.get(path.rpartition(".")[2])) for parent, path in found], np.int64
    )


def _phases(batch: Batch, sites: Integers, transaction: Integers) -> Integers:
    phases = _PHASE_OF_SITE[sites]
    envelopes = batch.arena.rows(ENVELOPE.name)
    program = batch.arena.program
    site_is_parallel = np.array([_PARALLEL_PHASE in path for _, path in program.sites[program.index[ENVELOPE.name]]])
    parallel = site_is_parallel[envelopes[batch.envelope_of_result, 2]]
    if parallel.any():
        applied = np.flatnonzero(phases == _Phase.TRANSACTIONS)
        applied = applied[parallel[transaction[applied]]]
        before = sites[applied] == Site.TRANSACTION_BEFORE
        phases[applied] = np.where(before, _Phase.BEFORE_PARALLEL, _Phase.PARALLEL)
    return phases


def _check_operations(batch: Batch) -> None:
    counts = batch.runs(OPERATION_META, TX_RESULT)[1]
    expected = batch.transactions.words(OPERATION_COUNT)
    bad = (counts > 0) & (counts != expected)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise batch.error(
            f"meta of {counts[row]} operations for a transaction of {expected[row]}",
            int(batch.ledger_of_result[row]),
            int(batch.results.positions(TRANSACTION_NEEDS[2])[row]),
            "TransactionResultMeta.txApplyProcessing.operations",
        )


def take(frame: Frame, chosen: Integers) -> Frame:
    """The rows ``chosen`` of a frame of changes, with what is known of them."""
    part = Frame(frame.batch, frame.ledger[chosen], {CHANGE.name: frame.rows[CHANGE.name][chosen]})
    for fact in (change_types, entry_types, key_hashes):
        values = frame.known(fact)
        if values is not None:
            part.once(fact, lambda values=values: values.take(chosen, axis=0))  # type: ignore[misc]
    return part


def sites(frame: Frame) -> Integers:
    """int64 (rows,): :class:`Site`."""
    return frame.once("sites", lambda: frame.absent)


def numbers(frame: Frame) -> Integers:
    """int64 (rows,): ordinals in the ledger, from 1."""
    return frame.once("numbers", lambda: frame.absent)


def operation_ordinals(frame: Frame) -> Integers:
    """int64 (rows,): the operation of each change in its transaction, from 1; 0 for changes of no operation."""
    first, _ = frame.batch.runs(OPERATION_META, TX_RESULT)
    meta = frame.rows[OPERATION_META.name]
    out = np.zeros(frame.length, np.int64)
    chosen = np.flatnonzero(meta >= 0)
    out[chosen] = meta[chosen] - first[frame.rows[TX_RESULT.name][chosen]] + 1
    return out


@dataclass(frozen=True, slots=True)
class _Keys:
    """Where the LedgerKeys lie: key i is the word ``type[i]``, then ``start[i]`` to ``end[i]``, mostly in one piece."""

    type: Integers
    start: Integers
    end: Integers


def _keys(frame: Frame) -> _Keys:
    def read() -> _Keys:
        entry, start, end = _entries(frame), np.empty(frame.length, np.int64), np.empty(frame.length, np.int64)
        removed_end, durability, code_hash = map(frame.positions, (REMOVED_END, _DURABILITY, _CODE_HASH))
        key_bounds(frame.batch.words, entry, removed_end, durability, code_hash, start, end)
        return _Keys(entry, start, end)

    return frame.once(_keys, read)


def copied_keys(frame: Frame, chosen: Integers | slice = slice(None)) -> tuple[NDArray[np.uint32], Integers, Integers]:
    """The LedgerKeys of entries changed: words, and where in them each key starts and ends, int64 (chosen,)."""
    found = _keys(frame)
    type, start, end = found.type[chosen], found.start[chosen], found.end[chosen]
    ends = np.cumsum(end - start + 1) + 1  # word 0 is never data
    starts = np.concatenate([np.ones(1, np.int64), ends])[: len(ends)]
    copied = np.zeros(int(ends[-1]) if len(ends) else 1, np.uint32)
    copy_keys(frame.batch.words, type, start, end, copied)
    return copied, starts, ends


def _repeats(frame: Frame) -> Mask:
    """bool (rows,): whether the key is that of the row before."""

    def read() -> Mask:
        found, repeated = _keys(frame), np.empty(frame.length, np.bool_)
        repeated_keys(frame.batch.words, found.type, found.start, found.end, repeated)
        return repeated

    return frame.once(_repeats, read)


def ends_pair(frame: Frame) -> Mask:
    """bool (rows,): whether the row before is the state that this change, UPDATED or REMOVED, starts from."""
    starts, ends = _STARTS_PAIR[change_types(frame)], _ENDS_PAIR[change_types(frame)]
    lists = frame.once("lists", lambda: frame.absent)
    paired: Mask = _repeats(frame) & ends
    paired[1:] &= starts[:-1] & (lists[1:] == lists[:-1])
    return paired


def key_hashes(frame: Frame) -> Digests:
    """uint32 (rows, 8): SHA-256 of each LedgerKey."""

    def read() -> Digests:
        found, repeated = _keys(frame), _repeats(frame)
        new = np.flatnonzero(~repeated)
        type, start, end = found.type[new], found.start[new], found.end[new]
        in_one_piece = start == type + 1
        digests = hash_spans(frame.batch.words, type * in_one_piece, end * in_one_piece)
        others = np.flatnonzero(~in_one_piece)
        digests[others] = hash_spans(*copied_keys(frame, new[others]))
        hashes: Digests = digests[np.cumsum(~repeated) - 1]
        return hashes

    return frame.once(key_hashes, read)
