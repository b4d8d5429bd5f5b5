"""How the columns of a stream are columns of a table: types, comments, and values as COPY takes them.

=======================================  ==================  ===========================================
Arrow                                    PostgreSQL
=======================================  ==================  ===========================================
bool                                     boolean
int8, uint8, int16                       smallint
uint16, int32                            integer
uint32, int64                            bigint
uint64                                   numeric(20,0)       which alone holds all of its values
decimal128(p, s)                         numeric(p,s)
float, double                            real, double precision
string                                   text                see :func:`escape`
binary, fixed_size_binary                bytea
date32                                   date
timestamp with, without time zone        timestamptz, timestamp  microseconds at the finest
list of one of these                     array of it
struct, list of structs                  jsonb               numbers stay exact
=======================================  ==================  ===========================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb

from postgres_consumer.errors import TableIntegrityError
from stellar_arrow_client.errors import OutputMismatchError
from stellar_arrow_client.request import LEDGER

if TYPE_CHECKING:
    from pgpq._pgpq import EncoderBuilder

ROW: Final = "ledger_row"
"""The column that the table has beside those of the stream: with the ledger it is the primary key."""
SLICE_ROWS: Final = 8192
JSONB: Final = "jsonb"

_TYPES: Final[dict[pa.DataType, str]] = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.uint8(): "smallint",
    pa.int16(): "smallint",
    pa.uint16(): "integer",
    pa.int32(): "integer",
    pa.uint32(): "bigint",
    pa.int64(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
    pa.date32(): "date",
}
_MARK: Final = "\N{SYMBOL FOR NULL}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        type: as PostgreSQL's ``format_type`` writes it.
        comment: what the stream says of it, with the unit.
    """

    name: str
    type: str
    nullable: bool
    comment: str


ROW_COLUMN: Final = Column(ROW, "integer", False, "place of the row among those of its ledger in this stream, from 0")


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a stream, as a table has them.

    Raises:
        OutputMismatchError: a type has no exact counterpart.
        TableIntegrityError: the stream has no ledgers, or a column of the name that the table itself adds.
    """
    if LEDGER not in schema.names or schema.field(LEDGER).type != pa.uint32():
        raise TableIntegrityError(f"the stream has no column {LEDGER} of type uint32")
    if ROW in schema.names:
        raise TableIntegrityError(f"the stream has a column {ROW}, which tables have of their own")
    return tuple(_column(field) for field in schema)


def escape(text: str) -> str:
    """A text as PostgreSQL can hold it, which has no U+0000: that becomes ``␀0``, and ``␀`` becomes ``␀␀``."""
    return text.replace(_MARK, _MARK * 2).replace("\0", f"{_MARK}0")


class Encoder:
    """Batches of one stream as PostgreSQL's binary COPY takes them.

    Args:
        schema: of the stream.
    """

    def __init__(self, schema: pa.Schema) -> None:
        converters = [_converter(field.type) for field in schema]
        self._converters = {index: made for index, made in enumerate(converters) if made is not None}
        json_names = {column.name for column in columns_of(schema) if column.type == JSONB}
        fields = [field.with_type(pa.string()) if field.name in json_names else field for field in schema]
        self._schema = pa.schema([*fields, pa.field(ROW, pa.int32(), nullable=False)])
        self._builders: dict[str, EncoderBuilder] = {
            field.name: StringEncoderBuilder.new_with_output(field, Jsonb())
            if field.name in json_names
            else ArrowToPostgresBinaryEncoder.infer_encoder(field)
            for field in self._schema
        }

    @property
    def names(self) -> list[str]:
        """The columns in the order in which they are encoded."""
        return list(self._schema.names)

    def start(self) -> ArrowToPostgresBinaryEncoder:
        """What makes the bytes of one COPY: a header, batches given by :meth:`slices`, an end."""
        return ArrowToPostgresBinaryEncoder.new_with_encoders(self._schema, self._builders)

    def slices(self, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """The rows of whole ledgers in the form that is encoded, a bounded number at a time."""
        arrays = [
            self._converters[index](array) if index in self._converters else array
            for index, array in enumerate(batch.columns)
        ]
        arrays.append(pa.array(_ordinals(batch.column(LEDGER).to_numpy()), pa.int32()))
        whole = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        return [whole.slice(at, SLICE_ROWS) for at in range(0, whole.num_rows, SLICE_ROWS)]


def _column(field: pa.Field) -> Column:
    metadata = field.metadata or {}
    comment = metadata.get(b"description", b"").decode(errors="replace")
    if unit := metadata.get(b"unit", b"").decode(errors="replace"):
        comment = f"{comment} ({unit})" if comment else unit
    found = _type(field.type)
    if found is None:
        raise OutputMismatchError(
            f"the column {field.name} has the type {field.type}, which no type of PostgreSQL holds exactly; leave it "
            "out with --columns"
        )
    return Column(field.name, found, field.nullable, escape(comment))


def _type(type_: pa.DataType) -> str | None:
    """The type of PostgreSQL, None when there is none."""
    if type_ in _TYPES:
        return _TYPES[type_]
    if pa.types.is_decimal128(type_) and 0 <= type_.scale <= type_.precision:
        return f"numeric({type_.precision},{type_.scale})"
    if pa.types.is_fixed_size_binary(type_):
        return "bytea"
    if pa.types.is_timestamp(type_) and type_.unit != "ns":
        return f"timestamp {'with' if type_.tz else 'without'} time zone"
    if pa.types.is_list(type_):
        inner = _type(type_.value_type)
        return inner if inner is None or inner == JSONB else None if inner.endswith("[]") else f"{inner}[]"
    if pa.types.is_struct(type_) and all(_is_json(field.type) for field in type_):
        return JSONB
    return None


def _is_json(type_: pa.DataType) -> bool:
    """Whether JSON holds the values of a type exactly."""
    if pa.types.is_list(type_):
        return _is_json(type_.value_type)
    if pa.types.is_struct(type_):
        return all(_is_json(field.type) for field in type_)
    return pa.types.is_integer(type_) or pa.types.is_boolean(type_) or type_ in (pa.string(), pa.large_string())


def _converter(type_: pa.DataType) -> Callable[[pa.Array], pa.Array] | None:
    """What makes of an array what the encoder takes; None where it takes it as it is."""
    if _type(type_) == JSONB:
        return _as_json
    if type_ in (pa.string(), pa.large_string()):
        return _escaped
    if pa.types.is_list(type_) and type_.value_type in (pa.string(), pa.large_string()):
        return _escaped_list
    return None


def _needs_escape(texts: pa.Array) -> bool:
    """Whether a text, or what lies where a null is, has something to replace."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return False
    ends = np.frombuffer(offsets, np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    start, end = int(ends[texts.offset]), int(ends[texts.offset + len(texts)])
    content = data.slice(start, end - start).to_pybytes()
    return b"\0" in content or _MARK.encode() in content


def _escaped(texts: pa.Array) -> pa.Array:
    """:func:`escape` of every text."""
    if not _needs_escape(texts):
        return texts
    return pc.replace_substring(pc.replace_substring(texts, _MARK, _MARK * 2), "\0", f"{_MARK}0")


def _escaped_list(lists: pa.Array) -> pa.Array:
    if not _needs_escape(lists.values):
        return lists
    values = [None if row is None else [text and escape(text) for text in row] for row in lists.to_pylist()]
    return pa.array(values, lists.type)


def _as_json(values: pa.Array) -> pa.Array:
    """JSON texts; only values that are there cost anything."""
    present = values.is_valid()
    texts = [json.dumps(_json_value(value), ensure_ascii=False) for value in values.filter(present).to_pylist()]
    return pc.replace_with_mask(pa.nulls(len(values), pa.string()), present, pa.array(texts, pa.string()))


def _json_value(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return {name: _json_value(item) for name, item in value.items()} if isinstance(value, dict) else value


def _ordinals(ledgers: np.ndarray[Any, np.dtype[np.uint32]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The place of each row among those of its ledger."""
    if not len(ledgers):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.append(True, ledgers[1:] != ledgers[:-1]))
    lengths = np.diff(np.append(starts, len(ledgers)))
    return np.arange(len(ledgers)) - np.repeat(starts, lengths)
