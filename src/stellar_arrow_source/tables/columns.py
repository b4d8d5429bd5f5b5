"""Makers of columns: one for each way in which a fact is read. Streams are written with these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_source.tables.expressions import Expression, MuxedId, MuxedKey
from stellar_arrow_source.tables.frame import Frame
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import Relation, readers
from stellar_arrow_source.xdr.positions import expand_runs
from stellar_arrow_source.xdr.readers import EnumTable
from stellar_arrow_source.xdr.schema import enum_names
from stellar_arrow_source.xdr.sha256 import hash_spans

HASH: Final = pa.binary(32)
TIME: Final = pa.timestamp("us", tz="UTC")

Reader = Callable[..., pa.Array]


def at(type: pa.DataType, reader: Reader, expression: Expression, *args: Any) -> Callable[[Frame], pa.Array]:
    """Reads ``expression`` with a reader of :mod:`stellar_arrow_source.xdr.readers` that gives ``type``."""

    def read(frame: Frame) -> pa.Array:
        positions = frame.positions(expression)
        if positions is frame.absent:
            return frame.nulls(type)
        return reader(frame.batch.words, positions, *args)

    return read


def number(name: str, type: pa.DataType, where: Expression, description: str, **rest: Any) -> Column:
    """A word or hyper as an integer of the same width."""
    reader = readers.u32 if type.bit_width == 32 else readers.i64
    return Column(name, type, description, at(type, reader, where, type), (where,), **rest)


def amount(name: str, where: Expression, description: str, **rest: Any) -> Column:
    """A hyper of stroops."""
    return number(name, pa.int64(), where, description, unit="stroop", **rest)


def digest(name: str, where: Expression, description: str, **rest: Any) -> Column:
    """32 bytes."""
    return Column(name, HASH, description, at(HASH, readers.fixed, where, 32), (where,), **rest)


def account(name: str, key: Expression, description: str, **rest: Any) -> Column:
    """A 32-byte key as a G strkey."""
    return Column(name, pa.string(), description, at(pa.string(), readers.account, key), (key,), **rest)


def muxed(name: str, key: Expression, muxed_id: Expression, description: str) -> Column:
    """Key and id as an M strkey, null where there is no id."""

    def read(frame: Frame) -> pa.Array:
        if frame.positions(muxed_id) is frame.absent:
            return frame.nulls(pa.string())
        return readers.muxed_account(frame.batch.words, frame.positions(muxed_id), frame.positions(key))

    return Column(name, pa.string(), description, read, (key, muxed_id), nullable=True)


def muxed_pair(name: str, where: Expression, description: str, **rest: Any) -> tuple[Column, Column]:
    """A MuxedAccount as the G strkey and, where it is muxed, the M strkey."""
    key, muxed_id = MuxedKey(where), MuxedId(where)
    return (
        account(name, key, description, **rest),
        muxed(f"{name}_muxed", key, muxed_id, f"M address of {name}, where it is a muxed one"),
    )


def text(name: str, where: Expression, description: str, **rest: Any) -> Column:
    """A string as SEP-51 text."""
    return Column(name, pa.string(), description, at(pa.string(), readers.text, where), (where,), **rest)


def strings(name: str, reader: Reader, where: Expression, description: str, *args: Any, **rest: Any) -> Column:
    """What ``reader`` makes strings of, such as a strkey."""
    return Column(name, pa.string(), description, at(pa.string(), reader, where, *args), (where,), **rest)


def raw(name: str, start: Expression, end: Expression, description: str, **rest: Any) -> Column:
    """The XDR between two positions, left out unless asked for."""

    def read(frame: Frame) -> pa.Array:
        return readers.span(frame.batch.words, frame.positions(start), frame.positions(end))

    return Column(name, pa.binary(), description, read, (start, end), opt_in=True, **rest)


def derived(
    name: str,
    type: pa.DataType,
    read: Callable[[Frame], pa.Array],
    description: str,
    *reads: Expression | Relation,
    **rest: Any,
) -> Column:
    """A column with a function of its own."""
    return Column(name, type, description, read, reads, **rest)


def enum_table(enum: str, form: Callable[[str], str] = str) -> EnumTable:
    """Names of an XDR enum, each put through ``form``."""
    return EnumTable.from_mapping({code: form(name) for code, name in enum_names(enum).items()})


def enumeration(name: str, table: EnumTable, where: Expression, description: str, **rest: Any) -> Column:
    """The member name of the enum word there."""

    def read(frame: Frame) -> pa.Array:
        positions = frame.positions(where)
        if positions is frame.absent:
            return frame.nulls(pa.string())
        return readers.enum(np.where(positions > 0, frame.signed_words(where), -(2**40)), table)

    return Column(name, pa.string(), description, read, (where,), **rest)


AssetParts = tuple[Any, Any, Any]
"""Types (-1 absent), positions of codes, positions of issuers' keys; int64 (rows,)."""


def asset(
    where: Expression,
    description: str,
    prefix: str = "",
    *,
    nullable: bool = True,
    adjust: Callable[[Frame, AssetParts], AssetParts] | None = None,
    also: tuple[Expression, ...] = (),
) -> tuple[Column, Column, Column]:
    """An Asset as ``…asset_type``, ``…asset_code``, ``…asset_issuer``; ``adjust`` adds what is no Asset in the XDR."""

    def split(frame: Frame) -> AssetParts:
        types, code, _, issuer = readers.split_asset(frame.batch.words, frame.positions(where))
        return (types, code, issuer) if adjust is None else adjust(frame, (types, code, issuer))

    def parts(frame: Frame) -> AssetParts:
        return frame.once(("asset", where), lambda: split(frame))

    def of_parts(read: Callable[[Any, AssetParts], pa.Array]) -> Callable[[Frame], pa.Array]:
        def column(frame: Frame) -> pa.Array:
            if adjust is None and frame.positions(where) is frame.absent:
                return frame.nulls(pa.string())
            return read(frame.batch.words, parts(frame))

        return column

    read_type = of_parts(lambda words, parts: readers.asset_type(parts[0]))
    read_code = of_parts(lambda words, parts: readers.asset_code(words, parts[0], parts[1]))
    read_issuer = of_parts(lambda words, parts: readers.account(words, parts[2]))

    reads = (where, *also)
    return (
        Column(f"{prefix}asset_type", pa.string(), f"type of {description}", read_type, reads, nullable),
        Column(
            f"{prefix}asset_code", pa.string(), f"code of {description}; XLM for native", read_code, reads, nullable
        ),
        Column(
            f"{prefix}asset_issuer", pa.string(), f"issuer of {description}; null for native", read_issuer, reads, True
        ),
    )


def asset_struct(words: Any, positions: Any) -> pa.Array:
    """Assets as structs of type, code and issuer."""
    types, code, _, issuer = readers.split_asset(words, positions)
    parts = [readers.asset_type(types), readers.asset_code(words, types, code), readers.account(words, issuer)]
    return pa.StructArray.from_arrays(parts, fields=list(ASSET_STRUCT))


ASSET_STRUCT: Final = pa.struct(
    [
        pa.field("asset_type", pa.string(), False),
        pa.field("asset_code", pa.string()),
        pa.field("asset_issuer", pa.string()),
    ]
)


def as_words(digests: Any, present: Any) -> tuple[Any, Any]:
    """Digests (uint32 (n, 8)) as words and positions that readers take; absent outside ``present``."""
    words = np.concatenate([np.zeros(8, np.uint32), digests.reshape(-1)])
    return words, np.where(present, (np.arange(len(digests), dtype=np.int64) + 1) * 8, 0)


def either(first: pa.Array, second: pa.Array) -> pa.Array:
    """The first array's value, else the second's."""
    if second.null_count == len(second):
        return first
    return second if first.null_count == len(first) else pc.coalesce(first, second)


def hash_rows(start: Expression, end: Expression) -> Callable[[Frame], pa.Array]:
    """Reads the SHA-256 of the XDR between two positions."""

    def read(frame: Frame) -> pa.Array:
        words = frame.batch.words
        digests = hash_spans(words, frame.positions(start), frame.positions(end))
        return pa.Array.from_buffers(HASH, frame.length, [None, pa.py_buffer(digests)])

    return read


def listing(
    frame: Frame,
    relation: Relation,
    parent: Relation,
    read: Callable[[Frame], pa.Array],
    present: np.ndarray[Any, np.dtype[np.bool_]],
    type: pa.DataType,
) -> pa.Array:
    """Lists of what ``read`` makes of the ``relation`` rows below each row's ``parent``; null outside ``present``."""
    chosen = np.flatnonzero(present)
    if not len(chosen):
        return frame.nulls(type)
    first, counts = frame.batch.runs(relation, parent)
    parents = frame.rows[parent.name][chosen]
    lengths = counts[parents]
    ends = np.cumsum(lengths)
    rows = np.empty(int(ends[-1]), np.int64)
    expand_runs(first[parents], ends, rows)
    inner = Frame(frame.batch, np.zeros(len(rows), np.int64), {relation.name: rows})
    offsets = np.zeros(frame.length + 1, np.int32)
    offsets[chosen + 1] = lengths
    np.cumsum(offsets, out=offsets)
    return readers.list_array(offsets, read(inner), None if len(chosen) == frame.length else present, type)
