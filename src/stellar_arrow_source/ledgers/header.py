"""Sequence, close time and predecessor of a ledger, read from its header without decoding the rest."""

from __future__ import annotations

import struct

from stellar_arrow_client.errors import IntegrityError

_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")
_MAX_UPGRADES = 6  # UpgradeType upgrades<6>
_MAX_UPGRADE = 128  # typedef opaque UpgradeType<128>
_MAX_SIGNATURE = 64  # typedef opaque Signature<64>


def ledger_sequence(xdr: bytes | memoryview) -> int:
    """``ledgerSeq`` of the LedgerHeader in a LedgerCloseMeta.

    Raises:
        IntegrityError: the bytes do not begin with a LedgerCloseMeta of version 0, 1 or 2.
    """
    try:
        at = _header_offset(xdr) + 4 + 32 + 32 + 8  # ledgerVersion, previousLedgerHash, txSetHash, closeTime
        for _ in range(_bounded(xdr, at, _MAX_UPGRADES)):
            at += 4 + _padded(_bounded(xdr, at + 4, _MAX_UPGRADE))
        return _uint32(xdr, _after_value_ext(xdr, at + 4) + 32 + 32)  # txSetResultHash, bucketListHash
    except (struct.error, ValueError) as error:
        raise IntegrityError(f"these {len(xdr)} bytes are no LedgerCloseMeta: {error}") from error


def ledger_close_time(xdr: bytes | memoryview) -> int:
    """``closeTime`` of the StellarValue in the LedgerHeader of a LedgerCloseMeta, in Unix seconds.

    Raises:
        IntegrityError: the bytes do not begin with a LedgerCloseMeta of version 0, 1 or 2.
    """
    try:
        # ledgerVersion, previousLedgerHash, txSetHash
        close_time: int = _UINT64.unpack_from(xdr, _header_offset(xdr) + 4 + 32 + 32)[0]
        return close_time
    except (struct.error, ValueError) as error:
        raise IntegrityError(f"these {len(xdr)} bytes are no LedgerCloseMeta: {error}") from error


def require_successor(before: bytes | memoryview, xdr: bytes | memoryview, where: str) -> None:
    """Refuse a ledger whose ``previousLedgerHash`` is not the hash that came with the one ``before`` it.

    Args:
        where: the endpoint that gave it.

    Raises:
        IntegrityError: it is no successor, or either is no LedgerCloseMeta.
    """
    sequence = ledger_sequence(xdr)
    own_hash = _header_offset(before) - 32  # LedgerHeaderHistoryEntry.hash
    previous = _header_offset(xdr) + 4  # ledgerVersion
    if ledger_sequence(before) + 1 != sequence or before[own_hash : own_hash + 32] != xdr[previous : previous + 32]:
        raise IntegrityError(
            f"ledger {sequence} of {where} does not follow ledger {ledger_sequence(before)} of the source before it: "
            "they are of different networks, or one of them is wrong; compare both with 'stellar-ledger-source verify'"
        )


def _header_offset(xdr: bytes | memoryview) -> int:
    """Where LedgerHeader begins: after version, LedgerCloseMetaExt (from version 1 on) and hash."""
    version = _bounded(xdr, 0, 2)
    if version == 0:
        return 4 + 32
    ext_v1 = _bounded(xdr, 4, 1)
    return 8 + ext_v1 * (4 + 8) + 32  # LedgerCloseMetaExtV1: ext, sorobanFeeWrite1KB


def _after_value_ext(xdr: bytes | memoryview, at: int) -> int:
    """The end of StellarValue's extension, whose discriminant (StellarValueType) is at ``at``."""
    kind = _bounded(xdr, at, 2)
    at += 4
    if kind == 0:  # STELLAR_VALUE_BASIC
        return at
    if kind == 2:  # STELLAR_VALUE_EMPTY_TX_SET: txSetHash, previousLedgerHash, previousLedgerVersion
        at += 32 + 32 + 4
    at += 4 + 32  # LedgerCloseValueSignature.nodeID
    return at + 4 + _padded(_bounded(xdr, at, _MAX_SIGNATURE))


def _uint32(xdr: bytes | memoryview, at: int) -> int:
    value: int = _UINT32.unpack_from(xdr, at)[0]
    return value


def _bounded(xdr: bytes | memoryview, at: int, most: int) -> int:
    value = _uint32(xdr, at)
    if value > most:
        raise ValueError(f"{value} at byte {at} where at most {most} is allowed")
    return value


def _padded(size: int) -> int:
    return (size + 3) & ~3
