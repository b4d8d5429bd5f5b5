"""Splits a LedgerCloseMetaBatch (SEP-54) into its ledgers."""

from __future__ import annotations

from functools import cache
from threading import local
from typing import NamedTuple

import numpy as np

from stellar_arrow_source.xdr.arena import Arena, words_of
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
    view = memoryview(data).cast("B")
    words = words_of(view)
    arena = _arena()
    arena.walk(words, np.array([[0, len(words)]], np.int64))
    end = arena.location("ledger", END)
    rows = arena.rows("ledger").tolist()
    ledgers = [view[row[0] * 4 : (row[end.slot] + end.offset) * 4] for row in rows]
    return LedgerBatch(start=int.from_bytes(view[0:4], "big"), end=int.from_bytes(view[4:8], "big"), ledgers=ledgers)


def _arena() -> Arena:
    if not hasattr(_thread, "arena"):
        _thread.arena = Arena(_program(), capacity=64)
    arena: Arena = _thread.arena
    return arena


@cache
def _program() -> Program:
    return compile_program([_BATCH, _LEDGER], {}, {"ledger": frozenset({""})}, root="LedgerCloseMetaBatch")
