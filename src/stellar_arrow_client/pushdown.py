"""What an Arrow expression, as query engines push it down, asks of a server: ledgers, columns and a filter.

Whatever is not understood here is left out: then the server sends more rows than needed, never fewer, and who reads
them evaluates the whole expression.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.request import LEDGER, TIME

MAX_PUSHED_CHARS: Final = 4096
"""Longest filter that a server reads."""

MAX_PUSHED_DEPTH: Final = 8
"""Most levels of a condition that is pushed down: parsing deep ones is work, and may fail."""

_METADATA: Final = re.compile(r"^(call|end|field_ref|nested_field_ref|literal|options): '(.*)'$", re.M)
_COMPARISONS: Final = {
    "equal": ("=", "equal"),
    "not_equal": ("<>", "not_equal"),
    "less": ("<", "greater"),
    "less_equal": ("<=", "greater_equal"),
    "greater": (">", "less"),
    "greater_equal": (">=", "less_equal"),
}
"""Arrow's function: SQL's operator, and the function that says the same with its sides exchanged."""
_JUNCTIONS: Final = {"and": "AND", "and_kleene": "AND", "or": "OR", "or_kleene": "OR"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Values that can meet a condition: ``low`` to ``high``; None where the condition says nothing of that side."""

    low: int | None = None
    high: int | None = None

    def __and__(self, other: Bounds) -> Bounds:
        return Bounds(
            max((low for low in (self.low, other.low) if low is not None), default=None),
            min((high for high in (self.high, other.high) if high is not None), default=None),
        )

    def __or__(self, other: Bounds) -> Bounds:
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Bounds(low, high)

    @property
    def are_empty(self) -> bool:
        return self.low is not None and self.high is not None and self.low > self.high


NO_VALUE: Final = Bounds(1, 0)


@dataclass(frozen=True, slots=True)
class Pushdown:
    """What an expression asks of a server.

    Attributes:
        ledgers: no row of another ledger meets it.
        times: no row of a ledger that closed at another time meets it; microseconds since 1970.
        columns: that it reads; None when that is not known.
        filter: a condition in the server's notation that every row meeting the expression meets; None for none.
    """

    ledgers: Bounds = Bounds()
    times: Bounds = Bounds()
    columns: tuple[str, ...] | None = ()
    filter: str | None = None


def push_down(expression: pc.Expression | None, schema: pa.Schema, room: int = MAX_PUSHED_CHARS) -> Pushdown:
    """Read an expression over the columns of ``schema``; the filter has ``room`` characters at most."""
    if expression is None:
        return Pushdown()
    types = dict(zip(schema.names, schema.types, strict=True))
    try:
        tree = _tree(expression)
        columns = tuple(dict.fromkeys(_fields(tree)))
        return Pushdown(_bounds(tree, LEDGER), _bounds(tree, TIME), columns, _filter(tree, types, room))
    except (ValueError, LookupError, RecursionError, pa.ArrowException):
        return Pushdown(columns=None)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    arguments: tuple[_Node, ...]
    options: dict[str, Any]


_Node: TypeAlias = _Field | _Call | pa.Scalar


def _tree(expression: pc.Expression) -> _Node:
    """The expression taken apart.

    Arrow offers no other view of it than the form in which it is pickled: a record batch that holds the literals, and
    as its metadata the nodes, depth first.
    """
    _, (pickled,) = expression.__reduce__()
    batch = pa.ipc.open_file(pickled).get_batch(0)
    text = batch.schema.to_string(truncate_metadata=False, show_field_metadata=False)
    nodes = iter(_METADATA.findall(text.partition("-- schema metadata --")[2]))
    kind, value = next(nodes)
    return _node(nodes, kind, value, batch)


def _node(nodes: Iterator[tuple[str, str]], kind: str, value: str, batch: pa.RecordBatch) -> _Node:
    match kind:
        case "field_ref":
            return _Field(value)
        case "literal":
            return batch.column(int(value))[0]
        case "nested_field_ref":
            path = [_Field(name) for _, (_, name) in zip(range(int(value)), nodes, strict=False)]
            return _Call(kind, tuple(path), {})
        case "call":
            arguments: list[_Node] = []
            options: dict[str, Any] = {}
            for kind, item in nodes:
                if kind == "end":
                    return _Call(value, tuple(arguments), options)
                if kind == "options":
                    options = dict(batch.column(int(item))[0].items())
                else:
                    arguments.append(_node(nodes, kind, item, batch))
    raise ValueError(f"an expression has a node {kind!r} where none is expected")


def _fields(node: _Node) -> Iterator[str]:
    if isinstance(node, _Field):
        yield node.name
    elif isinstance(node, _Call):
        # Of a path into a nested column the column is what counts.
        for argument in node.arguments[:1] if node.function == "nested_field_ref" else node.arguments:
            yield from _fields(argument)


def _comparison(node: _Node) -> tuple[str, str, pa.Scalar] | None:
    """(Arrow function, column, literal) of a comparison, whichever side the column stands on."""
    match node:
        case _Call(function, (_Field(name), pa.Scalar() as literal)) if function in _COMPARISONS:
            return function, name, literal
        case _Call(function, (pa.Scalar() as literal, _Field(name))) if function in _COMPARISONS:
            return _COMPARISONS[function][1], name, literal
    return None


def _unguarded(node: _Node) -> tuple[_Node, bool]:
    """What ``if_else(is_valid(column), node, null)`` guards, and whether it was guarded."""
    match node:
        case _Call("if_else", (_Call("is_valid", (_Field(name),)), _Call() as inner, pa.Scalar() as other)):
            if not other.is_valid and set(_fields(inner)) == {name}:
                return inner, True
    return node, False


def _bounds(node: _Node, column: str) -> Bounds:
    node, _ = _unguarded(node)
    compared = _comparison(node)
    if compared is not None:
        return _side(compared[0], _number(compared[2])) if compared[1] == column else Bounds()
    match node:
        case _Call("is_in", (_Field(name),), options) if name == column:
            values = [number for number in map(_number, options["value_set"]) if number is not None]
            return Bounds(min(values), max(values)) if values else NO_VALUE
        case _Call(function, arguments) if _JUNCTIONS.get(function) == "AND":
            return reduce(operator.and_, (_bounds(argument, column) for argument in arguments))
        case _Call(function, arguments) if _JUNCTIONS.get(function) == "OR":
            sides = [side for side in (_bounds(argument, column) for argument in arguments) if not side.are_empty]
            return reduce(operator.or_, sides) if sides else NO_VALUE
    return Bounds()


def _side(function: str, number: int | None) -> Bounds:
    match function:
        case _ if number is None:
            return Bounds()
        case "equal":
            return Bounds(number, number)
        case "less" | "less_equal":
            return Bounds(high=number - (function == "less"))
        case "greater" | "greater_equal":
            return Bounds(low=number + (function == "greater"))
    return Bounds()


def _number(literal: pa.Scalar) -> int | None:
    """An integer, or a time in whole microseconds since 1970; None for anything else."""
    if not literal.is_valid:
        return None
    if pa.types.is_integer(literal.type):
        return int(literal.as_py())
    if pa.types.is_timestamp(literal.type):
        return int(literal.cast(pa.timestamp("us", literal.type.tz)).value)
    return None


def _filter(tree: _Node, types: Mapping[str, pa.DataType], room: int) -> str | None:
    """The conjuncts that the server understands, as many as fit."""
    chosen: list[str] = []
    for conjunct in _joined("AND", tree):
        compared = _comparison(conjunct)
        if compared is not None and compared[1] == LEDGER and compared[0] != "not_equal":
            continue  # the bounds say it
        text = _sql(conjunct, types, MAX_PUSHED_DEPTH)
        if text is not None and len(" AND ".join([*chosen, text])) <= room:
            chosen.append(text)
    return " AND ".join(chosen) or None


def _joined(junction: str, node: _Node) -> Iterator[_Node]:
    """The conditions that AND or OR joins, however they were put into pairs."""
    if isinstance(node, _Call) and _JUNCTIONS.get(node.function) == junction:
        for argument in node.arguments:
            yield from _joined(junction, argument)
    else:
        yield node


def _sql(node: _Node, types: Mapping[str, pa.DataType], depth: int) -> str | None:
    """A condition that is true, false and null where ``node`` is; None when there is no such."""
    if depth == 0:
        return None
    compared = _comparison(node)
    if compared is not None:
        function, name, literal = compared
        value = _literal(literal, types[name])
        return None if value is None else f'"{name}" {_COMPARISONS[function][0]} {value}'
    node, guarded = _unguarded(node)
    match node:
        case _Field(name) if pa.types.is_boolean(types[name]):
            return f'"{name}"'
        case _Call("is_null", (_Field(name),)):
            return f'"{name}" IS NULL'
        case _Call("is_valid", (_Field(name),)):
            return f'"{name}" IS NOT NULL'
        case _Call("invert", (inner,)):
            text = _sql(inner, types, depth - 1)
            return None if text is None else f"NOT ({text})"
        case _Call("is_in", (_Field(name),), options):
            values = [_literal(value, types[name]) for value in options["value_set"]]
            if not values or None in values:
                return None
            among = f'"{name}" IN ({", ".join(str(value) for value in values)})'
            # Arrow's is_in is false where SQL's IN is null.
            return among if guarded else f'("{name}" IS NOT NULL AND {among})'
        case _Call(function) if function in _JUNCTIONS:
            junction = _JUNCTIONS[function]
            texts = [_sql(part, types, depth - 1) for part in _joined(junction, node)]
            return None if None in texts else f"({f' {junction} '.join(str(text) for text in texts)})"
    return None


def _literal(literal: pa.Scalar, kind: pa.DataType) -> str | None:
    """``literal`` in the server's notation, when it can be compared with a column of type ``kind`` exactly."""
    if not literal.is_valid:
        return None
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(literal.type) and literal.type.unit == "ns":
        return None
    value = literal.as_py()
    match value:
        case bool() if pa.types.is_boolean(kind):
            return str(value).upper()
        case int() if pa.types.is_integer(kind):
            return str(value) if _fits(literal, kind) else None
        case int() | Decimal() if pa.types.is_decimal(kind):
            return f"{Decimal(value):f}" if _fits(literal, kind) else None
        case str() if pa.types.is_string(kind) and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        case bytes() if pa.types.is_fixed_size_binary(kind) and len(value) == kind.byte_width:
            return f"'{value.hex()}'"
        case datetime() if pa.types.is_timestamp(kind) and value.tzinfo is not None:
            return f"'{value.isoformat()}'"
    return None


def _fits(literal: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        literal.cast(kind)
    except pa.ArrowException:
        return False
    return True
