"""The XDR schema of Stellar, read from the installed stellar-sdk.

Every class of ``stellar_sdk.xdr`` quotes its XDR source in its docstring; parsing those texts gives the whole
schema (about 470 types) in some 20 ms, so a protocol upgrade is an upgrade of stellar-sdk.
Source of the notation: RFC 4506, section 6.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import stellar_sdk.xdr as sdk
from stellar_sdk.xdr import constants as sdk_constants

UNBOUNDED = 0x7FFFFFFF
"""Limit of a variable-length item whose declaration names none."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """A number of fixed width: ``int``, ``unsigned int``, ``hyper``, ``unsigned hyper``, ``float``, ``double``."""

    name: str
    words: int


@dataclass(frozen=True, slots=True)
class Bool:
    """``bool``: one word, 0 or 1."""


@dataclass(frozen=True, slots=True)
class Void:
    """No data."""


@dataclass(frozen=True, slots=True)
class Enum:
    """``enum``: one word, one of the members' values."""

    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """``opaque x[size]``: bytes padded to whole words."""

    size: int


@dataclass(frozen=True, slots=True)
class VarOpaque:
    """``opaque x<limit>`` or ``string x<limit>``."""

    limit: int


@dataclass(frozen=True, slots=True)
class Array:
    """``T x[size]``."""

    element: Type
    size: int


@dataclass(frozen=True, slots=True)
class VarArray:
    """``T x<limit>``."""

    element: Type
    limit: int


@dataclass(frozen=True, slots=True)
class Optional:
    """``T* x``."""

    element: Type


@dataclass(frozen=True, slots=True)
class Field:
    """A named part of a struct or an arm of a union."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Struct:
    """``struct { … }``."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """The labels of a union (None is ``default``) and what they select."""

    labels: tuple[int | None, ...]
    field: Field


@dataclass(frozen=True, slots=True)
class Union:
    """``union switch (…) { … }``; the discriminant takes one word."""

    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """A type by its name."""

    name: str


Type = Primitive | Bool | Void | Enum | Opaque | VarOpaque | Array | VarArray | Optional | Struct | Union | Ref

_PRIMITIVES: dict[str, Type] = {
    "int": Primitive("int", 1),
    "unsigned int": Primitive("unsigned int", 1),
    "hyper": Primitive("hyper", 2),
    "unsigned hyper": Primitive("unsigned hyper", 2),
    "float": Primitive("float", 1),
    "double": Primitive("double", 2),
    "bool": Bool(),
    "void": Void(),
}
_TOKEN = re.compile(
    r"\s+|//[^\n]*|/\*.*?\*/|(?P<word>[A-Za-z_]\w*|-?0x[0-9a-fA-F]+|-?\d+|[{}\[\]<>();:,=*])", re.DOTALL
)


class SchemaError(Exception):
    """The XDR source that stellar-sdk quotes cannot be parsed: the installed version is not supported."""


class _Parser:
    """Recursive-descent parser of one type definition."""

    def __init__(self, source: str, constants: Mapping[str, int]) -> None:
        self._tokens = list(_tokenize(source))
        self._next = 0
        self._constants = constants

    def definition(self, name: str) -> tuple[str, Type]:
        """One ``typedef``, ``struct``, ``union`` or ``enum``; ``name`` serves where the source has none."""
        keyword = self._take()
        if keyword == "typedef":
            field = self._declaration()
            return field.name, field.type
        if self._peek() not in ("{", "switch"):
            name = self._take()
        return name, self._body(keyword)

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if not token or (expected is not None and token != expected):
            raise SchemaError(f"expected {expected or 'a token'}, found {token!r}")
        self._next += 1
        return token

    def _value(self, token: str) -> int:
        try:
            return int(token, 0)
        except ValueError:
            return self._constants[token]

    def _body(self, keyword: str) -> Type:
        match keyword:
            case "struct":
                return self._struct()
            case "union":
                return self._union()
            case "enum":
                return self._enum()
        raise SchemaError(f"unknown definition {keyword!r}")

    def _type(self) -> Type:
        token = self._take()
        if token == "unsigned":
            token = f"unsigned {self._take()}"
        if token in _PRIMITIVES:
            return _PRIMITIVES[token]
        if token in ("struct", "union", "enum"):
            return self._body(token)
        return Ref(token)

    def _declaration(self) -> Field:
        base = self._type()
        if isinstance(base, Void):
            return Field("", base)
        optional = self._peek() == "*"
        if optional:
            self._take()
        name = self._take()
        is_bytes = base in (Ref("opaque"), Ref("string"))
        match self._peek():
            case "[":
                self._take()
                size = self._value(self._take())
                self._take("]")
                base = Opaque(size) if is_bytes else Array(base, size)
            case "<":
                self._take()
                limit = UNBOUNDED if self._peek() == ">" else self._value(self._take())
                self._take(">")
                base = VarOpaque(limit) if is_bytes else VarArray(base, limit)
        return Field(name, Optional(base) if optional else base)

    def _struct(self) -> Struct:
        self._take("{")
        fields = []
        while self._peek() != "}":
            fields.append(self._declaration())
            self._take(";")
        self._take("}")
        return Struct(tuple(fields))

    def _union(self) -> Union:
        for token in ("switch", "("):
            self._take(token)
        self._declaration()
        for token in (")", "{"):
            self._take(token)
        arms = []
        while self._peek() != "}":
            labels: list[int | None] = []
            while self._peek() in ("case", "default"):
                labels.append(self._value(self._take()) if self._take() == "case" else None)
                self._take(":")
            arms.append(Arm(tuple(labels), self._declaration()))
            self._take(";")
        self._take("}")
        return Union(tuple(arms))

    def _enum(self) -> Enum:
        self._take("{")
        members = []
        while self._peek() != "}":
            name = self._take()
            self._take("=")
            members.append((name, self._value(self._take())))
            if self._peek() == ",":
                self._take()
        self._take("}")
        return Enum(tuple(members))


def _tokenize(source: str) -> Iterator[str]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise SchemaError(f"unexpected character in XDR source: {source[at : at + 40]!r}")
        if match.group("word"):
            yield match.group("word")
        at = match.end()


@cache
def load_schema() -> Mapping[str, Type]:
    """Type name → definition, for every XDR type that the installed stellar-sdk documents.

    Raises:
        SchemaError: when a docstring's XDR source does not parse.
    """
    constants: dict[str, int] = {"TRUE": 1, "FALSE": 0}
    constants.update({name: getattr(sdk_constants, name) for name in dir(sdk_constants) if name.isupper()})
    sources: list[tuple[str, str]] = []
    for name, cls in vars(sdk).items():
        text = cls.__doc__ if inspect.isclass(cls) else None
        if text and "XDR Source Code" in text:
            sources.append((name, text.split("XDR Source Code::", 1)[1]))
            if issubclass(cls, int):
                constants.update({member.name: member.value for member in cls})
    return MappingProxyType(dict(_Parser(source, constants).definition(name) for name, source in sources))


def enum_names(name: str) -> dict[int, str]:
    """Value → member name of the XDR enum ``name``, such as ``{0: "txSUCCESS", …}``."""
    definition = load_schema()[name]
    if not isinstance(definition, Enum):
        raise SchemaError(f"{name} is not an enum")
    return {value: member for member, value in definition.members}
