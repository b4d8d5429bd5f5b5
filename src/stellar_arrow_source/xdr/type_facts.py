"""Sizes of XDR types, in words."""

from __future__ import annotations

from collections.abc import Mapping

from stellar_arrow_source.xdr.schema import Array, Opaque, Optional, Primitive, Ref, Struct, Type, Union, Void


class TypeFacts:
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
