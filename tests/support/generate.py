"""Random but well-formed ledgers: every XDR type that stellar_sdk knows can occur, and hashes join.

Values are drawn by walking the signatures of stellar_sdk's classes; a union's valid discriminants are found by
trying to pack it. What the draw alone cannot make true (results that fit their operations, hashes, plausible
fees) is put right afterwards.
"""

from __future__ import annotations

import random
import re
import types
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from stellar_sdk import xdr

UNBOUNDED = 2**32 - 1
DEPTH = 30
"""Levels of types; an argument of an invocation lies at about 16."""

RANGES = {
    xdr.Int32: (-(2**31), 2**31 - 1),
    xdr.Uint32: (0, 2**32 - 1),
    xdr.Int64: (-(2**63), 2**63 - 1),
    xdr.Uint64: (0, 2**64 - 1),
}

POINTER_ARMS = {
    (xdr.SCVal, xdr.SCValType.SCV_VEC): "vec",
    (xdr.SCVal, xdr.SCValType.SCV_MAP): "map",
    (xdr.ClaimPredicate, xdr.ClaimPredicateType.CLAIM_PREDICATE_NOT): "not_predicate",
}
"""Arms that XDR declares as a pointer: the union packs without them, so packing does not ask for them. They are
always given, as stellar_sdk can write no JSON of a union without."""

STRINGS = (b"", b"native", "mémo ☃".encode(), b"\xff\xfe", b"a\0b", b'say "hi"\\\n\r\t', b"\xed\xa0\x80", b"\x7f")
"""Texts worth trying: empty, UTF-8, not UTF-8 (also a surrogate), quotes, backslash and control characters."""


class Size(NamedTuple):
    """Declared length of an array, opaque or string."""

    length: int
    is_fixed: bool
    is_text: bool


@cache
def hints(cls: type) -> dict[str, Any]:
    found = get_type_hints(cls.__init__, vars(xdr))
    found.pop("return", None)
    return found


@cache
def sizes(cls: type) -> dict[str, Size]:
    """Attribute → declared size, from the XDR text in the class's docstring."""
    pattern = r"(\w+)\s+(\w+)\s*([\[<])\s*(\w*)\s*[\]>]\s*;"
    found = {}
    for kind, name, bracket, length in re.findall(pattern, cls.__doc__ or ""):
        limit = int(length) if length.isdigit() else getattr(xdr.constants, length) if length else UNBOUNDED
        found[name.replace("_", "").lower()] = Size(limit, bracket == "[", kind == "string")
    return {name: found[key] for name in hints(cls) if (key := name.replace("_", "")) in found}


@cache
def is_union(cls: type) -> bool:
    text = (cls.__doc__ or "").split("::", 1)[-1].lstrip()
    return text.startswith("union")


@cache
def union_cases(cls: type) -> tuple[tuple[Any, str | None], ...]:
    """The union's valid discriminants, each with the name of its arm (None: void)."""
    kind = next(iter(hints(cls).values()))
    cases: list[tuple[Any, str | None]] = []
    for value in kind if isinstance(kind, type) and issubclass(kind, Enum) else range(6):
        try:
            cls(value).to_xdr_bytes()
        except ValueError as error:
            wanted = re.fullmatch(r"(\w+) should not be None\.", str(error))
            if wanted:
                cases.append((value, wanted[1]))
        else:
            cases.append((value, POINTER_ARMS.get((cls, value))))
    assert cases, f"no valid discriminant of {cls.__name__}"
    return tuple(cases)


class Generator:
    """Draws XDR values; the same seed gives the same values."""

    def __init__(self, seed: int, budget: int = 4000) -> None:
        self.chance = random.Random(seed)
        self.budget = budget
        self.depth = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the value under way must come to an end: no more elements, no more recursion."""
        return self.budget < 0 or self.depth > DEPTH

    def make(self, cls: type, **given: Any) -> Any:
        """A value of this class; ``given`` attributes are taken as they are."""
        self.budget -= 1
        self.depth += 1
        try:
            return self.draw(cls, given)
        finally:
            self.depth -= 1

    def draw(self, cls: type, given: dict[str, Any]) -> Any:
        if issubclass(cls, Enum):
            return self.chance.choice(list(cls))
        if cls in RANGES:
            return cls(self.integer(*RANGES[cls]))
        if is_union(cls):
            cases = union_cases(cls)
            simple = [case for case in cases if case[1] is None] if self.is_exhausted else []
            return self.arm(cls, *self.chance.choice(simple or cases))
        for name, hint in hints(cls).items():
            if name not in given:
                given[name] = self.value(cls, name, hint)
        return cls(**given)

    def case(self, cls: type, discriminant: Any) -> Any:
        """A union with this discriminant."""
        return self.arm(cls, discriminant, dict(union_cases(cls))[discriminant])

    def arm(self, cls: type, discriminant: Any, name: str | None) -> Any:
        if name is None:
            return cls(discriminant)
        hint = hints(cls)[name]
        (present,) = (part for part in get_args(hint) if part is not types.NoneType)
        return cls(discriminant, **{name: self.value(cls, name, present)})

    def value(self, cls: type, name: str, hint: Any) -> Any:
        if get_origin(hint) in (Union, types.UnionType):
            if self.is_exhausted or self.chance.random() < 0.4:
                return None
            (hint,) = (part for part in get_args(hint) if part is not types.NoneType)
        if get_origin(hint) is list:
            (item,) = get_args(hint)
            return [self.value(cls, "", item) for _ in range(self.length(sizes(cls)[name]))]
        if hint is bytes:
            return self.octets(sizes(cls)[name])
        if hint is bool:
            return self.chance.random() < 0.5
        if hint is int:
            return self.integer(0, 2**31 - 1)
        return self.make(hint)

    def integer(self, low: int, high: int) -> int:
        corner = [low, high, 0, 1, max(low, -1), high // 2]
        ordinary = (self.chance.randint(0, 1000), self.chance.randint(0, 2**31 - 1), self.chance.randint(low, high))
        return self.chance.choice((*corner, *ordinary * 3))

    def length(self, size: Size) -> int:
        if size.is_fixed:
            return size.length
        if self.is_exhausted:
            return 0
        return min(size.length, self.chance.choice((0, 1, 1, 2, 3)))

    def octets(self, size: Size) -> bytes:
        if size.is_fixed:
            # Codes of assets are fixed-size opaques: some end in NULs.
            filled = self.chance.choice((size.length, size.length, self.chance.randint(0, size.length)))
            letters = b"ABCxyz019" if self.chance.random() < 0.5 else bytes(range(256))
            return bytes(self.chance.choices(letters, k=filled)).ljust(size.length, b"\0")
        if size.is_text and self.chance.random() < 0.5:
            return self.chance.choice(STRINGS)[: size.length]
        return self.chance.randbytes(self.chance.randint(0, min(size.length, 70)))
