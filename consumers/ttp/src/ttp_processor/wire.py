"""Rows as messages of gRPC: ``token_transfer.TokenTransferEvent`` in Protocol Buffers, made from columns.

Field numbers are those of ``protos/*.proto``; tests parse what is made here with the generated classes.
"""

from __future__ import annotations

import base64
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ttp_processor.columns import EVENT_TYPES, Part, content, each, hexadecimal, join, seconds, text_of

_VARINT, _LENGTH = 0, 2  # wire types
_SHORT: Final = 1 << 14
"""Varints below it are looked up."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _field(number: int, value: bytes) -> bytes:
    return _tag(number, _LENGTH) + _varint(len(value)) + value


_VARINTS: Final = pa.array([_varint(number) for number in range(_SHORT)], pa.binary())


def _varints(numbers: pa.Array) -> pa.Array:
    """Unsigned integers (rows,) as varints: binary (rows,), null for null."""
    if len(numbers) == numbers.null_count or pc.max(numbers).as_py() < _SHORT:
        return _VARINTS.take(numbers)
    return each(numbers, _varint)


def _fields(tag: Part, values: pa.Array) -> pa.Array:
    """Values as fields of a message: tag, length, value; null where the value is null."""
    return join(tag, _varints(pc.binary_length(values)), values, strict=True)


def encode(batch: pa.RecordBatch) -> pa.Array:
    """Each row as a serialized TokenTransferEvent: binary (rows,).

    Args:
        batch: with the columns of :data:`ttp_processor.columns.COLUMNS`.
    """
    kinds = batch["event_type"]
    body = _body(batch, pc.equal(kinds, "transfer"))
    tags = {kind: _tag(number, _LENGTH) for number, kind in enumerate(EVENT_TYPES, 2)}
    return join(_fields(_tag(1, _LENGTH), _meta(batch)), _fields(each(kinds, tags.__getitem__), body))


def frame(messages: pa.Array) -> memoryview:
    """All messages with gRPC's prefix: a zero byte (not compressed) and the length, 32 bits big-endian."""
    sizes = pc.binary_length(messages).to_numpy().astype(">u4")
    prefixes = np.zeros((len(messages), 5), np.uint8)
    prefixes[:, 1:] = sizes.view(np.uint8).reshape(-1, 4)
    framed = join(pa.Array.from_buffers(pa.binary(5), len(messages), [None, pa.py_buffer(prefixes)]), messages)
    return content(framed)


def _meta(batch: pa.RecordBatch) -> pa.Array:
    """EventMeta of each row."""
    sequences = each(batch["ledger_sequence"], lambda sequence: _tag(1, _VARINT) + _varint(sequence))
    closed = each(seconds(batch["ledger_close_time"]), lambda time: _field(2, _timestamp(time)))
    return join(
        sequences,
        closed,
        _fields(_tag(3, _LENGTH), hexadecimal(batch["transaction_hash"]).cast(pa.binary())),
        join(_tag(4, _VARINT), _varints(batch["transaction_index"])),
        join(_tag(5, _VARINT), _varints(batch["operation_index"]), strict=True),
        each(batch["contract_id"], lambda contract: _field(6, contract.encode())),
        _muxed(batch),
    )


def _timestamp(time: int) -> bytes:
    return _tag(1, _VARINT) + _varint(time) if time else b""


def _body(batch: pa.RecordBatch, transfers: pa.Array) -> pa.Array:
    """Transfer, Mint, Burn, Clawback or Fee: who gives, who gets, asset, amount; of two addresses only a transfer."""
    asset = _assets(batch)
    return join(
        _fields(_tag(1, _LENGTH), pc.coalesce(batch["from_address"], batch["to_address"])),
        _fields(_tag(2, _LENGTH), pc.if_else(transfers, batch["to_address"], None)),
        _fields(_either(transfers, 3, 2), asset),
        _fields(_either(transfers, 4, 3), batch["amount_raw"]),
    )


def _either(transfers: pa.Array, number: int, other: int) -> pa.Array:
    return pc.if_else(transfers, _tag(number, _LENGTH), _tag(other, _LENGTH))


def _assets(batch: pa.RecordBatch) -> pa.Array:
    """Asset of each row, null for none."""
    issued = each(join(batch["asset_code"], b":", batch["asset_issuer"], strict=True), _issued_asset)
    return pc.if_else(pc.equal(batch["asset_type"], "native"), _tag(1, _VARINT) + b"\1", issued)


def _issued_asset(name: bytes) -> bytes:
    code, _, issuer = name.rpartition(b":")
    return _field(2, _field(1, code) + _field(2, issuer))


def _muxed(batch: pa.RecordBatch) -> pa.Array:
    """The field to_muxed_info of each row, null for none."""
    kinds = batch["to_muxed_kind"]
    return each(join(kinds, b":", text_of(batch), strict=True), _muxed_info)


def _muxed_info(named: bytes) -> bytes:
    kind, _, value = named.partition(b":")
    match kind:
        case b"text":
            info = _field(1, value)
        case b"id":
            info = _tag(2, _VARINT) + _varint(int(value))
        case _:
            info = _field(3, base64.b64decode(value))
    return _field(7, info)
