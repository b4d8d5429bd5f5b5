"""What is looked for in the ledgers, and the program that finds it.

A *relation* is a set of rows, one per occurrence of an XDR type (its *anchors*) or of an array element at named
*sites* of another relation. A row is a handful of int32 words: position, parent row, site, and *marks*. A field's
position is a mark plus a static offset, so most fields cost nothing to find; only what follows an item of variable
size needs a mark of its own. All positions count 32-bit words: XDR is aligned to four bytes.

Paths name a place below the anchor: ``fee``, ``body.paymentOp.amount``; ``[]`` is an array's element and a final
``?`` the value of an optional (without it, its presence word).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Op(IntEnum):
    """Instructions of the walk kernel; the operands stand in its docstring."""

    SWITCH = 0
    RETURN = 1
    ROW = 2
    MARK = 3
    CALL = 4
    JUMP = 5
    OPTIONAL = 6
    REPEAT = 7
    OPAQUE = 8
    FIXED_ARRAY = 9
    RANGE = 10


INSTRUCTION_WORDS = 6
"""int32 words of an instruction: operation, words to skip before it, four operands."""

ROW_HEADER = 3
"""Words of a row before its marks: position, parent row (or ledger), site."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What becomes a row.

    Attributes:
        name: its name in the program.
        anchors: XDR types each occurrence of which, outside the relation itself, is a row.
        sites: for rows that are array elements at fixed places only: (parent relation, canonical path of the array).
        type: XDR type of a row that is given by ``sites``.
        strip: path prefixes that are left out, so that the versions of a type share their field names.
        overlay: paths of unions whose arms share one mark; the discriminant tells which arm it is.
        exclusive: paths of unions whose arms share the words of their marks: a row is shorter (of operations: a third),
            but a mark within an arm means something only where the discriminant says so.
    """

    name: str
    anchors: tuple[str, ...] = ()
    sites: tuple[tuple[str, str], ...] = ()
    type: str = ""
    strip: tuple[str, ...] = ()
    overlay: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()

    def canonical(self, path: str) -> str:
        """``path`` without its longest stripped prefix."""
        best = max((p for p in self.strip if path == p or path.startswith(p + ".")), key=len, default=None)
        return path if best is None else path[len(best) + 1 :]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a field lies: mark ``slot`` of the row (0 is the row's own position) plus ``offset`` words."""

    slot: int
    offset: int


END = "$"
"""Suffix of the location that follows a path: its end."""


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled plan.

    Attributes:
        relations: in the order of their numbers.
        code: int32, shape (instructions * INSTRUCTION_WORDS,).
        table: int32, the SWITCH tables.
        start: first instruction.
        widths: int64, words of a row per relation.
        locations: per relation, path → where it lies; ``path + "$"`` is the end of it.
        sites: per relation, (parent relation name or "", path) of each site number.
        breadcrumbs: per instruction, where in the schema it stands.
    """

    relations: tuple[Relation, ...]
    code: NDArray[np.int32]
    table: NDArray[np.int32]
    start: int
    widths: NDArray[np.int64]
    locations: tuple[Mapping[str, Location], ...]
    sites: tuple[tuple[tuple[str, str], ...], ...]
    breadcrumbs: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Relation name → number."""
        return {relation.name: number for number, relation in enumerate(self.relations)}
