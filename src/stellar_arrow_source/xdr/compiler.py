"""Compiles relations, by the schema, to a program for the walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stellar_arrow_source.xdr.emitter import Emitter
from stellar_arrow_source.xdr.plan import END, ROW_HEADER, Location, Op, Program, Relation
from stellar_arrow_source.xdr.schema import (
    Arm,
    Array,
    Bool,
    Enum,
    Opaque,
    Optional,
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
from stellar_arrow_source.xdr.type_facts import TypeFacts

_INLINE_LIMIT = 30
"""Types that take at most so many instructions to skip are inlined, larger ones shared."""


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
    next_slot: int = ROW_HEADER
    width: int = ROW_HEADER

    def restart(self) -> None:
        self.slots = {name: ROW_HEADER + i for i, name in enumerate(sorted(self.forced))}
        self.next_slot = self.width = ROW_HEADER + len(self.slots)
        self.locations = {}

    def slot(self, name: str) -> int:
        """The word of a mark; a new one at first."""
        if name not in self.slots:
            self.slots[name] = self.next_slot
            self.next_slot += 1
            self.width = max(self.width, self.next_slot)
        return self.slots[name]

    def covers(self, path: str) -> bool:
        """Whether something below ``path`` is wanted."""
        inner = self.relation.canonical(path)
        return (
            any(inner == "" or f.startswith((inner + ".", inner + "?")) for f in self.wanted)
            or any(e.startswith(path + ".") for e in self.ends)
            or any(s == path or s.startswith(path + ".") for s in self.relation.strip)
            or any(site.startswith((inner + ".", inner + "[")) for site in self.children)
        )


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


class _Compiler(Emitter):
    def __init__(
        self,
        relations: Sequence[Relation],
        fields: Mapping[str, frozenset[str]],
        ends: Mapping[str, frozenset[str]],
    ) -> None:
        super().__init__()
        self._schema = load_schema()
        self._facts = TypeFacts(self._schema)
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
            widths=np.array([layout.width for layout in self._layouts], np.int64),
            locations=tuple({"": Location(0, 0), **layout.locations} for layout in self._layouts),
            sites=tuple(tuple(sites) for sites in self._sites),
            breadcrumbs=tuple(self._crumbs),
        )

    def _begin(self) -> None:
        self._clear()
        self._entries: list[int] = []
        self._entry_numbers: dict[tuple[int, str], int] = {}
        self._pending_bodies: list[tuple[int, str, int]] = []
        self._shared: dict[Type, int] = {}
        self._pending_calls: list[tuple[int, Type, str]] = []
        self._sites: list[list[tuple[str, str]]] = [[] for _ in self._layouts]
        self._conflict = False
        for layout in self._layouts:
            layout.restart()

    def _check_complete(self) -> None:
        for layout in self._layouts:
            wanted = layout.wanted | {end + END for end in layout.ends}
            missing = sorted(wanted - layout.locations.keys() - {""})
            if missing:
                raise KeyError(f"relation {layout.relation.name} has no {', '.join(missing)}")

    def _row(self, number: int, type_name: str, parent: int | None, path: str) -> int:
        site = len(self._sites[number])
        self._sites[number].append(
            ("" if parent is None else self._layouts[parent].relation.name, path.removesuffix("[]"))
        )
        entry = self._entry_numbers.get((number, type_name))
        if entry is None:
            entry = self._entry_numbers[number, type_name] = len(self._entries)
            self._entries.append(-1)
            self._pending_bodies.append((number, type_name, entry))
        self._crumb = path or type_name
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
            slot = layout.slot(name)
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
        layout = self._layout
        first_slot = layout.next_slot
        exclusive = layout.relation.canonical(path) in layout.relation.exclusive
        for arm in arms:
            starts.append((arm.labels, len(self._code)))
            self._base = inside
            if exclusive:
                layout.next_slot = first_slot
            if not isinstance(arm.field.type, Void):
                self._walk(arm.field.type, prefix + arm.field.name)
            after.append(self._base)
            jumps.append(self._emit(Op.JUMP))
        layout.next_slot = layout.width if exclusive else layout.next_slot
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
