"""Compiles the schema and the relations asked for into a program for the walk kernel.

A *relation* is a set of rows, one per occurrence of an XDR type (its *anchors*) or of an array element at named
*sites* of another relation. A row is a handful of int32 words: position, parent row, site, and *marks*. A field's
position is a mark plus a static offset, so most fields cost nothing to find; only what follows an item of variable
size needs a mark of its own. All positions count 32-bit words: XDR is aligned to four bytes.

Paths name a place below the anchor: ``fee``, ``body.paymentOp.amount``; ``[]`` is an array's element and a final
``?`` the value of an optional (without it, its presence word).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr.schema import (
    Arm,
    Array,
    Bool,
    Enum,
    Field,
    Opaque,
    Optional,
    Primitive,
    Ref,
    SchemaError,
    Struct,
    Type,
    Union,
    VarArray,
    VarOpaque,
    Void,
    load_schema,
)


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

_INLINE_LIMIT = 30
"""Types that take at most so many instructions to skip are inlined, larger ones shared (12: +4% time, 200: no gain)."""


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
    """

    name: str
    anchors: tuple[str, ...] = ()
    sites: tuple[tuple[str, str], ...] = ()
    type: str = ""
    strip: tuple[str, ...] = ()
    overlay: tuple[str, ...] = ()

    def canonical(self, path: str) -> str:
        """``path`` without its longest stripped prefix."""
        best = max((p for p in self.strip if path == p or path.startswith(p + ".")), key=len, default=None)
        return path if best is None else path[len(best) + 1 :]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a field lies: mark ``slot`` of the row (0 is the row's own position) plus ``offset`` words."""

    slot: int
    offset: int


@dataclass
class _Layout:
    """A relation while it is compiled: fields wanted, marks given."""

    relation: Relation
    wanted: frozenset[str]
    ends: frozenset[str]
    forced: set[str] = field(default_factory=set)
    slots: dict[str, int] = field(default_factory=dict)
    locations: dict[str, Location] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)

    def restart(self) -> None:
        self.slots = {name: ROW_HEADER + i for i, name in enumerate(sorted(self.forced))}
        self.locations = {}

    def covers(self, path: str) -> bool:
        """Whether something below ``path`` is wanted."""
        inner = self.relation.canonical(path)
        return (
            any(inner == "" or f.startswith((inner + ".", inner + "?")) for f in self.wanted)
            or any(e.startswith(path + ".") for e in self.ends)
            or any(s == path or s.startswith(path + ".") for s in self.relation.strip)
            or any(site.startswith((inner + ".", inner + "[")) for site in self.children)
        )


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


def compile_program(
    relations: Sequence[Relation],
    fields: Mapping[str, frozenset[str]],
    ends: Mapping[str, frozenset[str]],
    root: str = "LedgerCloseMeta",
) -> Program:
    """Compile ``relations`` with the paths wanted of each.

    Args:
        relations: the first one whose anchors hold ``root`` is where the walk begins.
        fields: relation name → canonical paths whose positions are wanted.
        ends: relation name → uncanonical paths whose end positions are wanted (``""``: the row itself).
        root: XDR type of each item that is walked.

    Raises:
        KeyError: a path wanted is not in the schema.
    """
    compiler = _Compiler(relations, fields, ends)
    return compiler.compile(root)


class _Compiler:
    def __init__(
        self,
        relations: Sequence[Relation],
        fields: Mapping[str, frozenset[str]],
        ends: Mapping[str, frozenset[str]],
    ) -> None:
        self._schema = load_schema()
        self._facts = _TypeFacts(self._schema)
        self._layouts = [_Layout(r, fields.get(r.name, frozenset()), ends.get(r.name, frozenset())) for r in relations]
        self._anchors = {a: i for i, r in enumerate(relations) for a in r.anchors}
        numbers = {r.name: i for i, r in enumerate(relations)}
        for child, relation in enumerate(relations):
            for parent, path in relation.sites:
                self._layouts[numbers[parent]].children[path + "[]"] = child
        self._reach: dict[Type, bool] = {}
        self._base: Location | None = None

    # -- driver

    def compile(self, root: str) -> Program:
        for _ in range(8):
            self._begin()
            start = self._row(self._anchors[root], root, None, "")
            while self._pending_bodies:
                self._body(*self._pending_bodies.pop())
            self._link_shared()
            if not self._conflict:
                break
        else:
            raise SchemaError("the marks of the relations do not settle")
        for instruction in self._code:
            if instruction[0] == Op.ROW:
                instruction[5] = self._entries[instruction[5]]
        self._thread_jumps()
        self._check_complete()
        return Program(
            relations=tuple(layout.relation for layout in self._layouts),
            code=np.array(self._code, np.int32).reshape(-1),
            table=np.array(self._table, np.int32),
            start=start,
            widths=np.array([ROW_HEADER + len(layout.slots) for layout in self._layouts], np.int64),
            locations=tuple({"": Location(0, 0), **layout.locations} for layout in self._layouts),
            sites=tuple(tuple(sites) for sites in self._sites),
            breadcrumbs=tuple(self._crumbs),
        )

    def _begin(self) -> None:
        self._code: list[list[int]] = []
        self._crumbs: list[str] = []
        self._table: list[int] = []
        self._entries: list[int] = []
        self._entry_numbers: dict[tuple[int, str], int] = {}
        self._pending_bodies: list[tuple[int, str, int]] = []
        self._shared: dict[Type, int] = {}
        self._pending_calls: list[tuple[int, Type, str]] = []
        self._sites: list[list[tuple[str, str]]] = [[] for _ in self._layouts]
        self._skip = 0
        self._conflict = False
        for layout in self._layouts:
            layout.restart()

    def _check_complete(self) -> None:
        for layout in self._layouts:
            wanted = layout.wanted | {end + END for end in layout.ends}
            missing = sorted(wanted - layout.locations.keys() - {""})
            if missing:
                raise KeyError(f"relation {layout.relation.name} has no {', '.join(missing)}")

    # -- emission

    def _emit(self, op: Op, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
        self._code.append([op, self._skip, a, b, c, d])
        self._crumbs.append(self._crumb)
        self._skip = 0
        return len(self._code) - 1

    def _target(self, at: int, operand: int = 0) -> None:
        """Let operand ``operand`` of instruction ``at`` point to the next instruction."""
        self._code[at][2 + operand] = len(self._code)

    def _row(self, number: int, type_name: str, parent: int | None, path: str) -> int:
        relation = self._layouts[number].relation
        site = len(self._sites[number])
        self._sites[number].append(
            ("" if parent is None else self._layouts[parent].relation.name, path.removesuffix("[]"))
        )
        entry = self._entry_numbers.get((number, type_name))
        if entry is None:
            entry = self._entry_numbers[number, type_name] = len(self._entries)
            self._entries.append(-1)
            self._pending_bodies.append((number, type_name, entry))
        self._crumb = path or relation.name
        return self._emit(Op.ROW, number, site, -1 if parent is None else parent, entry)

    def _body(self, number: int, type_name: str, entry: int) -> None:
        self._entries[entry] = len(self._code)
        self._number, self._layout, self._base = number, self._layouts[number], Location(0, 0)
        self._root_name = type_name
        self._crumb = type_name
        self._descend(Ref(type_name), "")
        if "" in self._layout.ends:
            self._locate(END)
        self._emit(Op.RETURN)

    # -- locations

    def _locate(self, name: str) -> None:
        layout = self._layout
        if name in layout.forced or self._base is None:
            slot = layout.slots.setdefault(name, ROW_HEADER + len(layout.slots))
            self._emit(Op.MARK, self._number, slot)
            self._base = Location(slot, 0)
        known = layout.locations.get(name)
        if known is not None and known != self._base and name not in layout.forced:
            layout.forced.add(name)
            self._conflict = True
        layout.locations[name] = self._base

    def _advance(self, words: int) -> None:
        self._skip += words
        if self._base is not None:
            self._base = Location(self._base.slot, self._base.offset + words)

    # -- walking with detail

    def _walk(self, kind: Type, path: str) -> None:
        layout = self._layout
        self._crumb = f"{self._root_name}.{path}"
        inner = layout.relation.canonical(path)
        if inner and inner in layout.wanted:
            self._locate(inner)
        if isinstance(kind, Ref) and kind.name in self._anchors:
            call = self._emit(Op.CALL, len(self._code) + 2)
            jump = self._emit(Op.JUMP)
            assert call + 1 == jump
            self._row(self._anchors[kind.name], kind.name, self._number, path)
            self._target(jump)
            self._base = None
        elif layout.covers(path) or self._reaches(kind):
            self._descend(kind, path)
        else:
            self._skip_type(kind)
        if path in layout.ends:
            self._locate(path + END)

    def _descend(self, kind: Type, path: str) -> None:
        while isinstance(kind, Ref):
            kind = self._schema[kind.name]
            if isinstance(kind, Ref) and kind.name in self._anchors:
                return self._walk(kind, path)
        prefix = path + "." if path else ""
        match kind:
            case Struct(fields):
                for part in fields:
                    self._walk(part.type, prefix + part.name)
            case Union(arms):
                self._descend_union(arms, path, prefix)
            case VarArray(element, limit):
                self._descend_array(element, limit, path)
            case Optional(element):
                at = self._emit(Op.OPTIONAL)
                self._base = None
                self._descend_optional(element, path)
                self._close_branch()
                self._target(at)
                self._base = None
            case _:
                self._skip_type(kind)
        return None

    def _descend_union(self, arms: tuple[Arm, ...], path: str, prefix: str) -> None:
        if self._only_arm(arms):
            return self._walk(arms[0].field.type, prefix + arms[0].field.name)
        # An overlay's arms start at one known place.
        shared = self._layout.relation.canonical(path) in self._layout.relation.overlay
        before = self._base
        at = self._emit(Op.SWITCH)
        inside = Location(before.slot, before.offset + 1) if shared and before is not None else None
        starts, jumps, after = [], [], []
        for arm in arms:
            starts.append((arm.labels, len(self._code)))
            self._base = inside
            if not isinstance(arm.field.type, Void):
                self._walk(arm.field.type, prefix + arm.field.name)
            after.append(self._base)
            jumps.append(self._emit(Op.JUMP))
        for jump in jumps:
            self._target(jump)
        self._code[at][2] = self._switch_table(starts)
        self._base = after[0] if shared and len(set(after)) == 1 else None
        return None

    def _only_arm(self, arms: tuple[Arm, ...]) -> bool:
        """Whether the union has but one arm with one label; if so its discriminant is checked here."""
        only = len(arms) == 1 and len(arms[0].labels) == 1 and arms[0].labels[0] is not None
        if only:
            label = arms[0].labels[0]
            assert label is not None
            self._range(label, label)
        return only

    def _descend_array(self, element: Type, limit: int, path: str) -> None:
        site = path + "[]"
        at = self._emit(Op.REPEAT, len(self._code) + 2, limit, max(1, self._facts.least(element)))
        jump = self._emit(Op.JUMP)
        assert at + 1 == jump
        self._base = None
        child = self._layout.children.get(self._layout.relation.canonical(path) + "[]")
        if child is not None:
            self._row(child, self._layouts[child].relation.type, self._number, site)
        elif isinstance(element, Ref) and element.name in self._anchors:
            self._row(self._anchors[element.name], element.name, self._number, site)
        else:
            self._walk(element, site)
            self._emit(Op.RETURN)
        self._target(jump)
        self._base = None

    def _descend_optional(self, element: Type, path: str) -> None:
        value = self._layout.relation.canonical(path) + "?"
        if value in self._layout.wanted:
            self._locate(value)
        if isinstance(element, Ref) and element.name in self._anchors:
            self._walk(element, path)
        elif self._layout.covers(path) or self._reaches(element):
            self._descend(element, path)
        else:
            self._skip_type(element)

    def _reaches(self, kind: Type) -> bool:
        """Whether an anchored type lies anywhere within ``kind``."""
        known = self._reach.get(kind)
        if known is None:
            seen: set[str] = set()
            known = any(name in self._anchors for name in self._names_within(kind, seen))
            self._reach[kind] = known
        return known

    def _names_within(self, kind: Type, seen: set[str]) -> Iterator[str]:
        stack = [kind]
        while stack:
            current = stack.pop()
            match current:
                case Ref(name):
                    if name not in seen:
                        seen.add(name)
                        yield name
                        stack.append(self._schema[name])
                case VarArray(element) | Array(element) | Optional(element):
                    stack.append(element)
                case Struct(fields):
                    stack.extend(part.type for part in fields)
                case Union(arms):
                    stack.extend(arm.field.type for arm in arms)

    # -- skipping

    def _skip_type(self, kind: Type) -> None:
        words = self._facts.fixed(kind)
        if words is not None:
            return self._advance(words)
        match kind:
            case Bool():
                self._range(0, 1)
            case Enum(members):
                values = sorted(value for _, value in members)
                if values != list(range(values[0], values[-1] + 1)):
                    raise SchemaError("an enum with holes stands in the ledgers; the plan has no check for it")
                self._range(values[0], values[-1])
            case Ref(name):
                definition = self._schema[name]
                if self._facts.instructions(kind) <= _INLINE_LIMIT:
                    self._skip_type(definition)
                else:
                    self._base = None
                    self._pending_calls.append((self._emit(Op.CALL), kind, name))
            case VarOpaque(limit):
                self._base = None
                self._emit(Op.OPAQUE, limit)
            case Opaque(size):
                # Not a whole number of words: the padding must be zero, so it is read as an opaque of known size.
                raise SchemaError(f"opaque[{size}] is not a whole number of words")
            case VarArray(element, limit):
                self._base = None
                words = self._facts.fixed(element)
                if words is not None:
                    self._emit(Op.FIXED_ARRAY, words, limit)
                else:
                    at = self._emit(Op.REPEAT, 0, limit, max(1, self._facts.least(element)))
                    crumb = element.name if isinstance(element, Ref) else self._crumb + "[]"
                    self._pending_calls.append((at, element, crumb))
            case Optional(element):
                self._base = None
                at = self._emit(Op.OPTIONAL)
                self._skip_type(element)
                self._close_branch()
                self._target(at)
                self._base = None
            case Struct(fields):
                for part in fields:
                    self._skip_type(part.type)
            case Union(arms):
                self._skip_union(arms)
            case Array(element, size):
                for _ in range(size):
                    self._skip_type(element)
        return None

    def _range(self, low: int, high: int) -> None:
        base = self._base
        self._emit(Op.RANGE, low, high)
        self._base = None if base is None else Location(base.slot, base.offset + 1)

    def _skip_union(self, arms: tuple[Arm, ...]) -> None:
        if self._only_arm(arms):
            return self._skip_type(arms[0].field.type)
        at = self._emit(Op.SWITCH)
        starts, jumps = [], []
        for arm in arms:
            starts.append((arm.labels, len(self._code)))
            self._base = None
            self._skip_type(arm.field.type)
            jumps.append(self._emit(Op.JUMP))
        for jump in jumps:
            self._target(jump)
        self._code[at][2] = self._switch_table(starts)
        self._base = None
        return None

    def _close_branch(self) -> None:
        """A pending skip belongs to the branch alone: end it with a jump to what follows."""
        if self._skip:
            self._emit(Op.JUMP, len(self._code) + 1)

    def _switch_table(self, starts: Sequence[tuple[tuple[int | None, ...], int]]) -> int:
        targets: dict[int, int] = {}
        default = -1
        for labels, start in starts:
            for label in labels:
                if label is None:
                    default = start
                else:
                    targets[label] = start
        low, high = min(targets, default=0), max(targets, default=-1)
        base = len(self._table)
        # low, count, then (target, words to skip) for the default and for every value
        self._table += [low, high - low + 1, default, 0]
        for value in range(low, high + 1):
            self._table += [targets.get(value, default), 0]
        return base

    def _link_shared(self) -> None:
        while self._pending_calls:
            at, kind, crumb = self._pending_calls.pop()
            if kind not in self._shared:
                self._shared[kind] = len(self._code)
                self._base, self._crumb = None, crumb
                definition = self._schema[kind.name] if isinstance(kind, Ref) else kind
                self._skip_named(definition, crumb)
                self._emit(Op.RETURN)
            self._code[at][2] = self._shared[kind]

    def _skip_named(self, definition: Type, crumb: str) -> None:
        match definition:
            case Struct(fields):
                for part in fields:
                    self._crumb = f"{crumb}.{part.name}"
                    self._skip_type(part.type)
            case _:
                self._skip_type(definition)

    # -- peephole: jumps to jumps and to returns

    def _thread_jumps(self) -> None:
        changed = True
        while changed:
            changed = False
            for instruction in self._code:
                if instruction[0] != Op.JUMP:
                    continue
                target = self._code[instruction[2]]
                if target[0] in (Op.JUMP, Op.RETURN) and target is not instruction:
                    instruction[0] = target[0]
                    instruction[1] += target[1]
                    instruction[2] = target[2]
                    changed = True
            for instruction in self._code:
                if instruction[0] == Op.SWITCH:
                    changed |= self._thread_table(instruction[2])

    def _thread_table(self, base: int) -> bool:
        changed = False
        for entry in [base + 2, *(base + 4 + 2 * i for i in range(self._table[base + 1]))]:
            target = self._table[entry]
            if target >= 0 and self._code[target][0] == Op.JUMP:
                self._table[entry] = self._code[target][2]
                self._table[entry + 1] += self._code[target][1]
                changed = True
        return changed


class _TypeFacts:
    """Sizes of types, in words."""

    def __init__(self, schema: Mapping[str, Type]) -> None:
        self._schema = schema
        self._fixed: dict[Type, int | None] = {}
        self._least: dict[Type, int] = {}
        self._instructions: dict[Type, int] = {}

    def fixed(self, kind: Type, seen: tuple[str, ...] = ()) -> int | None:
        """The size of a type in which nothing needs a check, else None."""
        if kind in self._fixed:
            return self._fixed[kind]
        size: int | None = None
        match kind:
            case Ref(name):
                size = None if name in seen else self.fixed(self._schema[name], (*seen, name))
            case Primitive(_, words):
                size = words
            case Void():
                size = 0
            case Opaque(length):
                size = length // 4 if length % 4 == 0 else None
            case Array(element, count):
                one = self.fixed(element, seen)
                size = None if one is None else one * count
            case Struct(fields):
                sizes = [self.fixed(part.type, seen) for part in fields]
                size = None if None in sizes else sum(s for s in sizes if s is not None)
        if not seen:
            self._fixed[kind] = size
        return size

    def least(self, kind: Type, seen: tuple[str, ...] = ()) -> int:
        """The least size that a value can have."""
        if kind in self._least:
            return self._least[kind]
        size = 1  # every item of variable size begins with a word
        match kind:
            case Ref(name):
                size = 0 if name in seen else self.least(self._schema[name], (*seen, name))
            case Primitive(_, words):
                size = words
            case Void():
                size = 0
            case Opaque(length):
                size = (length + 3) // 4
            case Array(element, count):
                size = self.least(element, seen) * count
            case Struct(fields):
                size = sum(self.least(part.type, seen) for part in fields)
            case Union(arms):
                size = 1 + min(self.least(arm.field.type, seen) for arm in arms)
        if not seen:
            self._least[kind] = size
        return size

    def instructions(self, kind: Type, seen: tuple[str, ...] = ()) -> int:
        """About how many instructions skip a value inline; large for recursive types."""
        if kind in self._instructions:
            return self._instructions[kind]
        if self.fixed(kind) is not None:
            return 0
        count = 1
        match kind:
            case Ref(name):
                count = 999 if name in seen else self.instructions(self._schema[name], (*seen, name))
            case Optional(element):
                count = 2 + self.instructions(element, seen)
            case Struct(fields):
                count = sum(self.instructions(part.type, seen) for part in fields)
            case Union(arms):
                count = 1 + sum(1 + self.instructions(arm.field.type, seen) for arm in arms)
            case Array(element, size):
                count = size * self.instructions(element, seen)
        if not seen:
            self._instructions[kind] = count
        return count


__all__ = ["END", "Field", "Location", "Op", "Program", "Relation", "compile_program"]
