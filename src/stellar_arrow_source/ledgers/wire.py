"""The messages of RawLedgerService that carry ledgers, read in place and written at one go.

protobuf's own classes copy each ledger three times on its way out and twice on its way in. For megabytes a message,
that is a third of the time of the whole call. What is written and accepted is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.source import RawLedger

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_UNKNOWN_FIELDS: Final = 64
"""Most fields of a message beside the ones expected, such as those of a later version of the service."""

_SEQUENCE: Final = pb.RawLedger.SEQUENCE_FIELD_NUMBER
_XDR: Final = pb.RawLedger.LEDGER_CLOSE_META_XDR_FIELD_NUMBER
_LEDGERS: Final = pb.GetLedgerRangeResponse.LEDGERS_FIELD_NUMBER
_LATEST: Final = pb.GetLedgerRangeResponse.LATEST_LEDGER_FIELD_NUMBER


def encode_ledger(ledger: RawLedger) -> bytes:
    """A RawLedger message."""
    return b"".join((_head(ledger), ledger.xdr))


def encode_range(ledgers: Iterable[RawLedger], latest: int) -> bytes:
    """A GetLedgerRangeResponse message."""
    parts: list[bytes | memoryview] = [pb.GetLedgerRangeResponse(latest_ledger=latest).SerializeToString()]
    for ledger in ledgers:
        head = _head(ledger)
        parts += (_prefix(_LEDGERS, len(head) + len(ledger.xdr)), head, ledger.xdr)
    return b"".join(parts)


def decode_ledger(message: bytes | memoryview) -> RawLedger:
    """Read a RawLedger message; the XDR is a view of it.

    Raises:
        ValueError: it is no such message.
    """
    sequence, xdr = 0, memoryview(b"")
    for number, value in _fields(message, 2):
        if number == _SEQUENCE and isinstance(value, int):
            sequence = value & 0xFFFFFFFF
        elif number == _XDR and isinstance(value, memoryview):
            xdr = value
    return RawLedger(sequence, xdr)


def decode_range(message: bytes | memoryview, most: int) -> tuple[list[RawLedger], int]:
    """Read a GetLedgerRangeResponse message of at most ``most`` ledgers: they, and the latest one of the server.

    Raises:
        ValueError: it is no such message, or holds more.
    """
    ledgers: list[RawLedger] = []
    latest = 0
    for number, value in _fields(message, most + 1):
        if number == _LEDGERS and isinstance(value, memoryview):
            ledgers.append(decode_ledger(value))
        elif number == _LATEST and isinstance(value, int):
            latest = value & 0xFFFFFFFF
    if len(ledgers) > most:
        raise ValueError(f"{len(ledgers)} ledgers where at most {most} were asked for")
    return ledgers, latest


def _head(ledger: RawLedger) -> bytes:
    """What comes before the XDR in a RawLedger message."""
    sequence: bytes = pb.RawLedger(sequence=ledger.sequence).SerializeToString()
    return sequence + _prefix(_XDR, len(ledger.xdr))


def _prefix(number: int, size: int) -> bytes:
    """Tag and length of a field of ``size`` bytes."""
    out = bytearray([number << 3 | _BYTES])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _fields(message: bytes | memoryview, expected: int) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field; those of fixed sizes, which no message here has, are passed over."""
    view, at = memoryview(message), 0
    left = expected + _UNKNOWN_FIELDS
    while at < len(view):
        if left == 0:
            raise ValueError(f"more than {expected + _UNKNOWN_FIELDS} fields")
        left -= 1
        tag, at = _varint(view, at)
        if not 8 <= tag < 1 << 32:
            raise ValueError(f"no field's tag before byte {at}")
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(view, at)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if size > len(view) - at:
            raise ValueError(f"a field of {size} bytes where {len(view) - at} are left")
        if kind == _BYTES:
            yield tag >> 3, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    value = 0
    for index, byte in enumerate(view[at : at + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError(f"no number at byte {at}")
