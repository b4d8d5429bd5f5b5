"""XDR values laid out as the readers see them: uint32 words in memory order, and word positions in them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from stellar_sdk import xdr

ABSENT = None


def place(
    values: Sequence[bytes | None],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lay `values` (None = absent) out behind a pad word → (words, start positions, end positions)."""
    blob, start, end = bytearray(4), [], []
    for value in values:
        start.append(0 if value is None else len(blob) // 4)
        blob += value or b""
        end.append(0 if value is None else len(blob) // 4)
    return np.frombuffer(blob, np.uint32), np.array(start, np.int64), np.array(end, np.int64)


def opaque(value: bytes) -> bytes:
    """XDR opaque<> or string<>."""
    return len(value).to_bytes(4, "big") + value + bytes(-len(value) % 4)


def odd_bytes(rng: random.Random, longest: int) -> bytes:
    """Any bytes, with a liking for those that need escaping."""
    some = rng.choice([bytes(range(0x20, 0x7F)), b'\0\t\n\r\\"x0', bytes(range(256)), "é€😀".encode()])
    return bytes(rng.choices(some, k=rng.randint(0, longest)))


def random_address(rng: random.Random) -> xdr.SCAddress:
    """An SCAddress of any arm."""
    arm = xdr.SCAddressType(rng.randrange(5))
    key, number = rng.randbytes(32), rng.getrandbits(64)
    if arm == xdr.SCAddressType.SC_ADDRESS_TYPE_ACCOUNT:
        kind = xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519
        return xdr.SCAddress(arm, account_id=xdr.AccountID(xdr.PublicKey(kind, xdr.Uint256(key))))
    if arm == xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT:
        return xdr.SCAddress(arm, contract_id=xdr.ContractID(xdr.Hash(key)))
    if arm == xdr.SCAddressType.SC_ADDRESS_TYPE_MUXED_ACCOUNT:
        return xdr.SCAddress(arm, muxed_account=xdr.MuxedEd25519Account(xdr.Uint64(number), xdr.Uint256(key)))
    if arm == xdr.SCAddressType.SC_ADDRESS_TYPE_CLAIMABLE_BALANCE:
        balance = xdr.ClaimableBalanceID(xdr.ClaimableBalanceIDType.CLAIMABLE_BALANCE_ID_TYPE_V0, v0=xdr.Hash(key))
        return xdr.SCAddress(arm, claimable_balance_id=balance)
    return xdr.SCAddress(arm, liquidity_pool_id=xdr.PoolID(xdr.Hash(key)))
