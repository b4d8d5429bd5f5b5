"""XDR by concatenation (RFC 4506): the few shapes that synthetic ledgers are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from stellar_sdk.xdr import CryptoKeyType, LedgerEntryType, OperationType, SCAddressType, SCValType

u32 = Struct(">I").pack
i32 = Struct(">i").pack
i64 = Struct(">q").pack
u64 = Struct(">Q").pack

VOID = u32(0)
"""An absent optional, an empty array, ``false``, and ``case 0: void`` of an extension."""

_I128 = Struct(">IqQ").pack
_U64_MASK = (1 << 64) - 1


def array(items: Sequence[bytes]) -> bytes:
    """``T name<>``"""
    return u32(len(items)) + b"".join(items)


def opaque(data: bytes) -> bytes:
    """``opaque name<>`` and ``string name<>``"""
    return u32(len(data)) + data + bytes(-len(data) % 4)


def some(value: bytes) -> bytes:
    """``T*`` that is present."""
    return u32(1) + value


def account_id(key: bytes) -> bytes:
    """``AccountID`` of an ed25519 key of 32 bytes; also ``SignerKey`` of that kind."""
    return VOID + key


def muxed_account(key: bytes, memo_id: int | None = None) -> bytes:
    """``MuxedAccount``"""
    if memo_id is None:
        return u32(CryptoKeyType.KEY_TYPE_ED25519) + key
    return u32(CryptoKeyType.KEY_TYPE_MUXED_ED25519) + u64(memo_id) + key


def operation_body(kind: OperationType, *fields: bytes) -> bytes:
    """``Operation.body``"""
    return u32(kind) + b"".join(fields)


def operation_result(kind: OperationType, code: int = 0, *fields: bytes) -> bytes:
    """``OperationResult`` of ``opINNER``; code 0 is success for every operation."""
    return VOID + u32(kind) + i32(code) + b"".join(fields)


def ledger_key(kind: LedgerEntryType, *fields: bytes) -> bytes:
    """``LedgerKey``"""
    return u32(kind) + b"".join(fields)


def account_address(key: bytes) -> bytes:
    """``SCAddress`` of an account."""
    return u32(SCAddressType.SC_ADDRESS_TYPE_ACCOUNT) + account_id(key)


def contract_address(contract: bytes) -> bytes:
    """``SCAddress`` of a contract."""
    return u32(SCAddressType.SC_ADDRESS_TYPE_CONTRACT) + contract


def balance_address(balance_id: bytes) -> bytes:
    """``SCAddress`` of a claimable balance, whose id is V0 of 32 bytes."""
    return u32(SCAddressType.SC_ADDRESS_TYPE_CLAIMABLE_BALANCE) + VOID + balance_id


def pool_address(pool: bytes) -> bytes:
    """``SCAddress`` of a liquidity pool."""
    return u32(SCAddressType.SC_ADDRESS_TYPE_LIQUIDITY_POOL) + pool


def scv_address(address: bytes) -> bytes:
    """``SCVal`` of an ``SCAddress``."""
    return u32(SCValType.SCV_ADDRESS) + address


def scv_symbol(text: bytes) -> bytes:
    """``SCVal`` of a symbol."""
    return u32(SCValType.SCV_SYMBOL) + opaque(text)


def scv_string(text: bytes) -> bytes:
    """``SCVal`` of a string, which need not be UTF-8."""
    return u32(SCValType.SCV_STRING) + opaque(text)


def scv_bytes(data: bytes) -> bytes:
    """``SCVal`` of bytes."""
    return u32(SCValType.SCV_BYTES) + opaque(data)


def scv_u64(value: int) -> bytes:
    """``SCVal`` of an unsigned 64-bit number."""
    return u32(SCValType.SCV_U64) + u64(value)


def scv_i128(value: int) -> bytes:
    """``SCVal`` of a signed 128-bit number."""
    return _I128(SCValType.SCV_I128, value >> 64, value & _U64_MASK)


def scv_vec(items: Sequence[bytes]) -> bytes:
    """``SCVal`` of a vector."""
    return u32(SCValType.SCV_VEC) + some(array(items))


def scv_map(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """``SCVal`` of a map; the entries must be in order of their keys."""
    return u32(SCValType.SCV_MAP) + some(array([key + value for key, value in entries]))
