"""Splits a LedgerCloseMetaBatch (SEP-54) into its ledgers."""

from __future__ import annotations

from functools import cache
from threading import local
from typing import NamedTuple

from stellar_arrow_source.xdr.arena import Arena, LedgerBuffer
from stellar_arrow_source.xdr.compiler import compile_program
from stellar_arrow_source.xdr.plan import END, Program, Relation

_BATCH = Relation("batch", anchors=("LedgerCloseMetaBatch",))
_LEDGER = Relation("ledger", sites=(("batch", "ledgerCloseMetas"),), type="LedgerCloseMeta")
_thread = local()


class LedgerBatch(NamedTuple):
    """The parts of a LedgerCloseMetaBatch: the sequences it declares and each LedgerCloseMeta's bytes."""

    start: int
    end: int
    ledgers: list[memoryview]


def split_batch(data: bytes | memoryview) -> LedgerBatch:
    """Split ``data``; the ledgers are views of it. Every ledger is checked in full.

    Raises:
        DecodeError: the bytes are not one valid LedgerCloseMetaBatch.
    """
    buffer, arena = _scratch()
    view = memoryview(data).cast("B")
    buffer.clear()
    buffer.append(view)
    arena.walk(buffer.words, buffer.bounds)
    first = int(buffer.bounds[0, 0])
    end = arena.location("ledger", END)
    rows = arena.rows("ledger")
    ledgers = [view[(int(row[0]) - first) * 4 : (int(row[end.slot]) + end.offset - first) * 4] for row in rows.tolist()]
    return LedgerBatch(start=int.from_bytes(view[0:4], "big"), end=int.from_bytes(view[4:8], "big"), ledgers=ledgers)


def _scratch() -> tuple[LedgerBuffer, Arena]:
    if not hasattr(_thread, "scratch"):
        _thread.scratch = (LedgerBuffer(), Arena(_program(), capacity=64))
    scratch: tuple[LedgerBuffer, Arena] = _thread.scratch
    return scratch


@cache
def _program() -> Program:
    return compile_program([_BATCH, _LEDGER], {}, {"ledger": frozenset({""})}, root="LedgerCloseMetaBatch")
