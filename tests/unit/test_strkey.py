"""Strkeys against stellar_sdk and against the vectors of SEP-23."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from stellar_sdk import StrKey, xdr

from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.strkey import Version
from tests.support.xdr_values import place, random_address

KEYS: list[tuple[Version, Callable[[bytes], str]]] = [
    (Version.ACCOUNT, StrKey.encode_ed25519_public_key),
    (Version.CONTRACT, StrKey.encode_contract),
    (Version.LIQUIDITY_POOL, StrKey.encode_liquidity_pool),
    (Version.PRE_AUTH_TX, StrKey.encode_pre_auth_tx),
    (Version.HASH_X, StrKey.encode_sha256_hash),
]


@pytest.mark.parametrize(("version", "encode"), KEYS, ids=lambda v: getattr(v, "__name__", v))
def test_keys_of_32_bytes(version: Version, encode: Callable[[bytes], str]) -> None:
    rng = random.Random(version)
    payloads = [bytes(32), b"\xff" * 32, None, *(rng.randbytes(32) for _ in range(60)), None]
    words, pos, _ = place(payloads)
    found = readers.strkey(words, pos, version)
    found.validate(full=True)
    assert found.to_pylist() == [None if p is None else encode(p) for p in payloads]


def test_every_byte_at_every_place() -> None:
    payloads = [bytes([byte if k == place_ else 0 for k in range(32)]) for place_ in (0, 15, 31) for byte in range(256)]
    words, pos, _ = place(payloads)
    assert readers.account(words, pos).to_pylist() == [StrKey.encode_ed25519_public_key(p) for p in payloads]


def test_muxed_accounts() -> None:
    rng = random.Random(1)
    ids = [bytes(8), b"\x80" + bytes(7), b"\xff" * 8, *(rng.randbytes(8) for _ in range(40))]
    values = [number + rng.randbytes(32) for number in ids]
    words, pos, _ = place([*values, None])
    key = pos + 2 * (pos > 0)
    expected = [StrKey.encode_med25519_public_key(value[8:] + value[:8]) for value in values]
    assert readers.muxed_account(words, pos, key).to_pylist() == [*expected, None]


def test_claimable_balances() -> None:
    rng = random.Random(2)
    values = [bytes(4) + rng.randbytes(32) for _ in range(40)]
    words, pos, _ = place([*values, None])
    expected = [StrKey.encode_claimable_balance(value[3:]) for value in values]
    assert readers.claimable_balance(words, pos).to_pylist() == [*expected, None]


def test_addresses_of_every_arm() -> None:
    rng = random.Random(3)
    addresses = [random_address(rng) for _ in range(100)]
    assert len({address.type for address in addresses}) == 5
    words, pos, _ = place([*(address.to_xdr_bytes() for address in addresses), None])
    found = readers.address(words, pos)
    found.validate(full=True)
    assert found.to_pylist() == [*(address.to_json_dict() for address in addresses), None]


def signer(kind: xdr.SignerKeyType, key: bytes, payload: bytes) -> xdr.SignerKey:
    if kind == xdr.SignerKeyType.SIGNER_KEY_TYPE_ED25519:
        return xdr.SignerKey(kind, ed25519=xdr.Uint256(key))
    if kind == xdr.SignerKeyType.SIGNER_KEY_TYPE_PRE_AUTH_TX:
        return xdr.SignerKey(kind, pre_auth_tx=xdr.Uint256(key))
    if kind == xdr.SignerKeyType.SIGNER_KEY_TYPE_HASH_X:
        return xdr.SignerKey(kind, hash_x=xdr.Uint256(key))
    signed = xdr.SignerKeyEd25519SignedPayload(xdr.Uint256(key), payload)
    return xdr.SignerKey(kind, ed25519_signed_payload=signed)


def test_signers_of_every_kind_and_payload_length() -> None:
    rng = random.Random(4)
    signers = [signer(kind, rng.randbytes(32), rng.randbytes(n)) for kind in xdr.SignerKeyType for n in range(65)]
    words, pos, _ = place([*(s.to_xdr_bytes() for s in signers), None])
    found = readers.signer_key(words, pos)
    found.validate(full=True)
    assert found.to_pylist() == [*(s.to_json_dict() for s in signers), None]
