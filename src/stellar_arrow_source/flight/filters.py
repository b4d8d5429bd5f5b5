"""Conditions on rows: a small, safe subset of SQL expressions, parsed by sqlglot and evaluated by Arrow.

    asset_code = 'USDC' AND amount >= 10000000000 AND NOT (memo IS NULL OR destination IN ('G…', 'G…'))

Columns are compared with literals by ``= <> != < <= > >=``, ``[NOT] IN (…)``, ``[NOT] BETWEEN … AND …``,
``[NOT] LIKE '…'``, ``IS [NOT] NULL``; a boolean column stands for itself; conditions join by ``AND``, ``OR``, ``NOT``
and parentheses. Hashes are written in hex, times in ISO 8601 (UTC unless they say otherwise), numbers exactly. As in
SQL, a row is kept where the condition is true, neither where it is false nor where it is null.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp

from stellar_arrow_client.errors import InvalidRequestError, UnknownColumnError
from stellar_arrow_client.request import LEDGER, TIME
from stellar_arrow_source.flight.conditions import RowFilter, Span

MAX_FILTER_CHARS: Final = 4096
"""Longest condition: it also bounds what the parser can be made to do."""

_COMPARISONS: Final[dict[type[exp.Binary], Callable[[Any, Any], Any]]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}
_MOST_DIGITS: Final = 60
_TIMES: Final = {exp.DataType.Type[name] for name in ("TIMESTAMP", "TIMESTAMPNTZ", "TIMESTAMPTZ", "DATE")}
_MIRRORED: Final[dict[type[exp.Binary], type[exp.Binary]]] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}


def parse_filter(text: str, types: Mapping[str, pa.DataType], stream: str) -> RowFilter:
    """Read a condition over the columns ``types`` of ``stream``.

    Raises:
        InvalidRequestError: it is too long, no condition of the kinds above, or a literal does not fit its column.
        UnknownColumnError: naming the nearest column.
    """
    if len(text) > MAX_FILTER_CHARS:
        raise InvalidRequestError(f"the filter has {len(text)} characters; at most {MAX_FILTER_CHARS} are read")
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
        reader = _Reader(types, stream)
        expression = reader.condition(tree)
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        reason = str(error).splitlines()[0] if not isinstance(error, RecursionError) else "it is nested too deeply"
        raise InvalidRequestError(
            f"cannot read the filter ({reason}); write it like: asset_code = 'USDC' AND amount >= 10000000"
        ) from None
    return RowFilter(tuple(reader.columns), expression, reader.span(tree, LEDGER), reader.span(tree, TIME))


class _Reader:
    def __init__(self, types: Mapping[str, pa.DataType], stream: str) -> None:
        self._types, self._stream = types, stream
        self.columns: dict[str, None] = {}

    def condition(self, node: exp.Expression) -> pc.Expression:
        match node:
            case exp.Paren():
                return self.condition(node.this)
            case exp.And():
                return self.condition(node.left) & self.condition(node.right)
            case exp.Or():
                return self.condition(node.left) | self.condition(node.right)
            case exp.Not():
                return ~self.condition(node.this)
            case exp.Column():
                return self._flag(node)
            case exp.Is():
                return self._is(node)
            case exp.In():
                return self._in(node)
            case exp.Between():
                low, high = node.args["low"], node.args["high"]
                return self._compare(exp.GTE, node.this, low) & self._compare(exp.LTE, node.this, high)
            case exp.Like():
                return self._like(node)
        if isinstance(node, exp.Binary) and type(node) in _COMPARISONS:
            return self._compare(type(node), node.left, node.right)
        raise InvalidRequestError(
            f"a filter cannot hold {node.sql(dialect='duckdb')[:80]!r}; compare columns with literals by =, <>, <, "
            "<=, >, >=, IN, BETWEEN, LIKE and IS NULL, joined by AND, OR and NOT"
        )

    def span(self, node: exp.Expression, column: str) -> Span:
        """What a condition that :meth:`condition` has read leaves possible for a column."""
        match node:
            case exp.Paren():
                return self.span(node.this, column)
            case exp.And():
                return self.span(node.left, column).both(self.span(node.right, column))
            case exp.Or():
                return self.span(node.left, column).either(self.span(node.right, column))
            case exp.Between() if node.this.name == column:
                return Span(self._value(node.args["low"], column), self._value(node.args["high"], column))
            case exp.In() if node.this.name == column:
                values = [self._value(literal, column) for literal in node.expressions]
                return Span(min(values), max(values))
        if not isinstance(node, exp.Binary) or type(node) not in _COMPARISONS:
            return Span()
        kind, left, right = _with_column_left(type(node), node.left, node.right)
        if left.name != column or kind is exp.NEQ:
            return Span()
        value = self._value(right, column)
        return Span(None if kind in (exp.LT, exp.LTE) else value, None if kind in (exp.GT, exp.GTE) else value)

    def _value(self, literal: exp.Expression, column: str) -> int:
        scalar = _scalar(literal, column, self._types[column])
        return int(scalar.value if pa.types.is_timestamp(scalar.type) else scalar.as_py())

    def _column(self, node: exp.Expression) -> tuple[str, pc.Expression, pa.DataType]:
        if not isinstance(node, exp.Column) or len(node.parts) != 1:
            raise InvalidRequestError(f"a filter needs a column where {node.sql(dialect='duckdb')[:80]!r} stands")
        name = node.name
        if name not in self._types:
            near = get_close_matches(name, self._types, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"see the schema of {self._stream}"
            raise UnknownColumnError(f"stream {self._stream} has no column {name!r} to filter by; {hint}")
        self.columns[name] = None
        return name, pc.field(name), self._types[name]

    def _flag(self, node: exp.Column) -> pc.Expression:
        name, field, kind = self._column(node)
        if not pa.types.is_boolean(kind):
            raise InvalidRequestError(f"column {name} is no condition by itself; compare it with a value")
        return field

    def _is(self, node: exp.Is) -> pc.Expression:
        name, field, kind = self._column(node.this)
        if isinstance(node.expression, exp.Null):
            return field.is_null()
        if isinstance(node.expression, exp.Boolean) and pa.types.is_boolean(kind):
            return pc.coalesce(field == bool(node.expression.this), False)
        raise InvalidRequestError(f"IS compares {name} with NULL only")

    def _in(self, node: exp.In) -> pc.Expression:
        if not node.expressions:
            raise InvalidRequestError("IN needs a list of literals")
        tests = [self._compare(exp.EQ, node.this, literal) for literal in node.expressions]
        return _join(tests)

    def _like(self, node: exp.Like) -> pc.Expression:
        name, field, kind = self._column(node.this)
        if not pa.types.is_string(kind) or not isinstance(node.expression, exp.Literal):
            raise InvalidRequestError(f"LIKE compares a text column with a pattern; {name} is of type {kind}")
        return pc.match_like(field, node.expression.this)

    def _compare(self, kind: type[exp.Binary], left: exp.Expression, right: exp.Expression) -> pc.Expression:
        kind, left, right = _with_column_left(kind, left, right)
        name, field, column_type = self._column(left)
        return _COMPARISONS[kind](field, _scalar(right, name, column_type))


def _with_column_left(
    kind: type[exp.Binary], left: exp.Expression, right: exp.Expression
) -> tuple[type[exp.Binary], exp.Expression, exp.Expression]:
    if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
        return _MIRRORED.get(kind, kind), right, left
    return kind, left, right


def _join(tests: list[pc.Expression]) -> pc.Expression:
    """Any of the tests, as a tree of little depth."""
    while len(tests) > 1:
        tests = [reduce(operator.or_, tests[i : i + 2]) for i in range(0, len(tests), 2)]
    return tests[0]


def _scalar(node: exp.Expression, name: str, kind: pa.DataType) -> pa.Scalar:
    """The literal ``node`` as a value of the column's type."""
    value = _literal(node)
    try:
        converted = _convert(value, kind)
    except (ValueError, InvalidOperation, OverflowError, pa.ArrowException):
        converted = None
    if converted is None:
        shown = node.sql(dialect="duckdb")[:80]
        raise InvalidRequestError(f"column {name} of type {kind} cannot be compared with {shown}")
    return converted


def _literal(node: exp.Expression) -> str | Decimal | bool | None:
    """Text, number or boolean; None for anything else."""
    match node:
        case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return -Decimal(node.this.this)
        case exp.Literal():
            return str(node.this) if node.is_string else Decimal(node.this)
        case exp.Boolean():
            return bool(node.this)
        case exp.Cast() if node.to.this in _TIMES and isinstance(node.this, exp.Literal):
            return str(node.this.this)
    return None


def _convert(value: str | Decimal | bool | None, kind: pa.DataType) -> pa.Scalar | None:
    match value:
        case bool():
            return pa.scalar(value) if pa.types.is_boolean(kind) else None
        case Decimal() if abs(value.adjusted()) > _MOST_DIGITS:
            return None  # its digits are not to be written out
        case Decimal() if pa.types.is_integer(kind):
            return pa.scalar(int(value), kind) if value == int(value) else None
        case Decimal() if pa.types.is_decimal(kind):
            return pa.scalar(value, kind)
        case str() if pa.types.is_string(kind):
            return pa.scalar(value, kind)
        case str() if pa.types.is_fixed_size_binary(kind):
            return pa.scalar(bytes.fromhex(value), kind)
        case str() if pa.types.is_timestamp(kind):
            time = dt.datetime.fromisoformat(value)
            return pa.scalar(time if time.tzinfo else time.replace(tzinfo=dt.UTC), kind)
    return None
