"""Where a column's values lie: expressions that turn the rows of a frame into positions in the raw ledgers.

An expression is declared once and compared by identity, so that a frame computes its positions once however many
columns read them. What it :meth:`~Expression.needs` decides what the program marks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.relations import OP_RESULT, OPERATION
from stellar_arrow_source.xdr import Program, Relation
from stellar_arrow_source.xdr.plan import END
from stellar_arrow_source.xdr.positions import gather, gather_by_key
from stellar_arrow_source.xdr.readers import split_muxed

if TYPE_CHECKING:
    from stellar_arrow_source.tables.frame import Frame

Positions = NDArray[np.int64]


class Need(NamedTuple):
    """A relation, and a path of it whose position (or, if ``end``, whose end) must be known; "" is the row."""

    relation: str
    path: str = ""
    end: bool = False


class Expression(ABC):
    """Positions of one fact for every row of a frame; 0 where it is absent."""

    @abstractmethod
    def needs(self) -> Iterator[Need]:
        """What the program must mark."""

    @abstractmethod
    def positions(self, frame: Frame) -> Positions:
        """int64, shape (rows of the frame,). Read it through :meth:`Frame.positions`, which keeps it."""


@dataclass(frozen=True, eq=False)
class At(Expression):
    """A path of a relation; with several, the one that is there."""

    relation: Relation
    paths: tuple[str, ...]

    def __init__(self, relation: Relation, *paths: str) -> None:
        object.__setattr__(self, "relation", relation)
        object.__setattr__(self, "paths", paths or ("",))

    def needs(self) -> Iterator[Need]:
        yield from (Need(self.relation.name, path) for path in self.paths)

    def positions(self, frame: Frame) -> Positions:
        return _coalesce(frame, self.relation, self.paths)


@dataclass(frozen=True, eq=False)
class End(Expression):
    """The position after a path; paths in full, with the prefixes that a relation strips."""

    relation: Relation
    paths: tuple[str, ...]

    def __init__(self, relation: Relation, *paths: str) -> None:
        object.__setattr__(self, "relation", relation)
        object.__setattr__(self, "paths", paths or ("",))

    def needs(self) -> Iterator[Need]:
        yield from (Need(self.relation.name, path, end=True) for path in self.paths)

    def positions(self, frame: Frame) -> Positions:
        return _coalesce(frame, self.relation, tuple(path + END for path in self.paths))


def _coalesce(frame: Frame, relation: Relation, paths: tuple[str, ...]) -> Positions:
    total = frame.absent
    for path in paths:
        total = _either(frame, total, _gather(frame, relation, path))
    return total


def _either(frame: Frame, first: Positions, second: Positions) -> Positions:
    """The first position where present, else the second."""
    if first is frame.absent:
        return second
    return first if second is frame.absent else np.where(first > 0, first, second)


def _gather(frame: Frame, relation: Relation, path: str) -> Positions:
    arena = frame.batch.arena
    location = arena.location(relation.name, path)
    rows = frame.rows[relation.name]
    out = np.empty(len(rows), np.int64)
    found = gather(arena.rows(relation.name), location.slot, location.offset, rows, out)
    return out if found else frame.absent


@dataclass(frozen=True, eq=False)
class ByOperation(Expression):
    """Paths below the operation's ``body``, or another root, by its ``OperationType``; of several, the one there."""

    arms: Mapping[int, str | tuple[str, ...]]
    relation: Relation = OPERATION
    root: str = "body"

    def needs(self) -> Iterator[Need]:
        yield Need(OPERATION.name, "body")
        for layer in self._layers():
            yield from (Need(self.relation.name, f"{self.root}.{path}") for path in layer.values())

    def positions(self, frame: Frame) -> Positions:
        total = frame.absent
        for layer in range(len(self._layers())):
            total = _either(frame, total, self._gather(frame, layer))
        return total

    @lru_cache(maxsize=1024)  # noqa: B019 - expressions are constants
    def _layers(self) -> list[dict[int, str]]:
        """The first path of each type, then the second of those that have one, and so on."""
        choices = {kind: (paths,) if isinstance(paths, str) else paths for kind, paths in self.arms.items()}
        depth = max(map(len, choices.values()))
        return [{kind: paths[i] for kind, paths in choices.items() if i < len(paths)} for i in range(depth)]

    def _gather(self, frame: Frame, layer: int) -> Positions:
        arena = frame.batch.arena
        types, slots, offsets = _arm_locations(arena.program, self, layer)
        if not frame.has_types(types):
            return frame.absent
        rows = frame.rows[self.relation.name]
        out = np.empty(len(rows), np.int64)
        found = gather_by_key(arena.rows(self.relation.name), slots, offsets, frame.operation_types, rows, out)
        return out if found else frame.absent


def by_result(arms: Mapping[int, str | tuple[str, ...]]) -> ByOperation:
    """Paths below the operation's inner result by its ``OperationType``."""
    return ByOperation(arms, OP_RESULT, "tr")


@lru_cache(maxsize=4096)
def _arm_locations(
    program: Program, expression: ByOperation, layer: int
) -> tuple[frozenset[int], NDArray[np.int64], NDArray[np.int64]]:
    locations = program.locations[program.index[expression.relation.name]]
    slots = np.full(64, -1, np.int64)
    offsets = np.zeros(64, np.int64)
    arms = expression._layers()[layer]
    for kind, path in arms.items():
        location = locations[f"{expression.root}.{path}"]
        slots[kind], offsets[kind] = location.slot, location.offset
    return frozenset(arms), slots, offsets


@dataclass(frozen=True, eq=False)
class Plus(Expression):
    """Another expression's positions, some words further, where present."""

    base: Expression
    words: int

    def needs(self) -> Iterator[Need]:
        return self.base.needs()

    def positions(self, frame: Frame) -> Positions:
        base = frame.positions(self.base)
        return base if base is frame.absent else (base + self.words) * (base > 0)


@dataclass(frozen=True, eq=False)
class FirstOf(Expression):
    """The first expression's position where present, else the second's."""

    first: Expression
    second: Expression

    def needs(self) -> Iterator[Need]:
        yield from self.first.needs()
        yield from self.second.needs()

    def positions(self, frame: Frame) -> Positions:
        return _either(frame, frame.positions(self.first), frame.positions(self.second))


@dataclass(frozen=True, eq=False)
class Where(Expression):
    """Another expression's positions in the rows where a condition holds."""

    base: Expression
    condition: Callable[[Frame], NDArray[np.bool_]]
    also: tuple[Expression, ...] = ()
    """What the condition reads besides."""

    def needs(self) -> Iterator[Need]:
        yield from self.base.needs()
        for expression in self.also:
            yield from expression.needs()

    def positions(self, frame: Frame) -> Positions:
        base = frame.positions(self.base)
        if base is frame.absent:
            return base
        chosen = base * self.condition(frame)
        return chosen if chosen.any() else frame.absent


@dataclass(frozen=True, eq=False)
class MuxedKey(Expression):
    """The 32-byte key of a MuxedAccount."""

    account: Expression

    def needs(self) -> Iterator[Need]:
        return self.account.needs()

    def positions(self, frame: Frame) -> Positions:
        return frame.once(("muxed", self.account), lambda: _split(frame, self.account))[0]


@dataclass(frozen=True, eq=False)
class MuxedId(Expression):
    """The 8-byte id of a MuxedAccount, absent where the account is not muxed."""

    account: Expression

    def needs(self) -> Iterator[Need]:
        return self.account.needs()

    def positions(self, frame: Frame) -> Positions:
        return frame.once(("muxed", self.account), lambda: _split(frame, self.account))[1]


def _split(frame: Frame, account: Expression) -> tuple[Positions, Positions]:
    at = frame.positions(account)
    if at is frame.absent:
        return at, at
    key, muxed_id = split_muxed(frame.batch.words, at)
    return key, muxed_id if muxed_id.any() else frame.absent
