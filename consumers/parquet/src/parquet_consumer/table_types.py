"""Types of a stream as tables know them: Delta Lake and Iceberg have no unsigned integers and at most 38 digits.

==========================  ====================  =====================================
of the stream               in the table          why nothing is lost
==========================  ====================  =====================================
int8, int16, uint8, uint16  int32                 Iceberg has no smaller integer
uint32                      int64                 holds all of 0 to 2^32 - 1
uint64                      decimal(20, 0)        holds all of 0 to 2^64 - 1
decimal, up to 38 digits    the same
decimal, more digits        string                the number in full, in decimal
timestamp, to microseconds  timestamp in UTC      the same instant; without zone stays so
fixed-size binary           the same              Delta Lake: binary, of the same bytes
string, binary, bool, …     the same
==========================  ====================  =====================================

Lists and structs follow their members. Anything else is refused.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from stellar_arrow_client.errors import OutputMismatchError

_SAME: Final = (pa.types.is_boolean, pa.types.is_int32, pa.types.is_int64, pa.types.is_float32, pa.types.is_float64,
                pa.types.is_date32, pa.types.is_string, pa.types.is_binary, pa.types.is_fixed_size_binary)  # fmt: skip
_OTHERS: Final = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.uint8(), pa.uint16()), pa.int32()),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
}
_MAX_DIGITS: Final = 38


def table_schema(schema: pa.Schema, *, fixed_binary: bool = True) -> pa.Schema:
    """The columns of a stream, in the same order and with the same metadata, as a table has them.

    Args:
        fixed_binary: whether the table knows binary of a fixed size.

    Raises:
        OutputMismatchError: a column has a type that no table can hold; names it.
    """
    return pa.schema([_field(field, field.name, fixed_binary) for field in schema], schema.metadata)


def _field(field: pa.Field, column: str, fixed_binary: bool) -> pa.Field:
    return field.with_type(_type(field.type, column, fixed_binary))


def _type(kind: pa.DataType, column: str, fixed_binary: bool) -> pa.DataType:
    if pa.types.is_fixed_size_binary(kind) and not fixed_binary:
        return pa.binary()
    if any(is_same(kind) for is_same in _SAME):
        return kind
    if kind in _OTHERS:
        return _OTHERS[kind]
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= kind.precision:
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= _MAX_DIGITS else pa.string()
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_field(kind.value_field, column, fixed_binary))
    if pa.types.is_struct(kind):
        return pa.struct([_field(kind.field(at), column, fixed_binary) for at in range(kind.num_fields)])
    raise OutputMismatchError(
        f"no table can hold the column {column}, of type {kind}, exactly; leave it out with --columns or use "
        "--format parquet"
    )


def to_table(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of a stream with the types of :func:`table_schema`; every value is the same as before."""
    if rows.schema.types == schema.types:
        return rows
    columns = [column.cast(field.type) for column, field in zip(rows.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
