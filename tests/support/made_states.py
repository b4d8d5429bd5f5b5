"""Makes random entries of contracts more like real ones: tokens of assets, and lives prolonged more than once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from typing import Any

from stellar_sdk import Address, scval, xdr

AMOUNTS = (0, 1, 10**9, 10**38 - 1, 10**38, 2**127 - 1, -1, -(2**127))
LIVES = (bytes(32), b"\1" * 32, b"\2" * 32)
"""Key hashes of few TTL entries."""


def make_states_plausible(chance: random.Random, changed: Any, network_id: bytes) -> None:
    """Change some entries and keys within ``changed`` in place."""
    for found in values_within(changed, (xdr.ContractDataEntry, xdr.TTLEntry, xdr.LedgerKeyTtl)):
        if chance.random() < 0.4:
            continue
        if isinstance(found, xdr.ContractDataEntry):
            chance.choice([make_instance, make_balance])(chance, found, network_id)
        else:
            found.key_hash = xdr.Hash(chance.choice(LIVES))


def values_within(value: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    """Every value of these classes, at any depth."""
    if isinstance(value, kinds):
        yield value
    parts = value if isinstance(value, list) else vars(value).values() if hasattr(value, "__dict__") else ()
    for part in parts:
        if not isinstance(part, Enum):
            yield from values_within(part, kinds)


def make_instance(chance: random.Random, entry: Any, network_id: bytes) -> None:
    """The instance of an asset's contract, or what nearly is one."""
    code, issuer = chance.choice([b"USD\0", b"\xffU\0D", b"LONGERCODE\0\0", b"TWELVELETTER"]), chance.randbytes(32)
    asset = chance.choice([xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE), asset_of(code, issuer)])
    named = info_of(asset, code, issuer)
    if chance.random() < 0.2:
        named = chance.choice(
            [scval.to_void(), scval.to_vec([]), variant("Native", scval.to_void()), info_of(asset, code[:-1], issuer),
             info_of(asset, code, issuer[1:]), variant("AlphaNum5", struct(asset_code=scval.to_string(code)))]
        )  # fmt: skip
    storage = [
        (scval.to_symbol("METADATA"), scval.to_vec([scval.to_vec([]), scval.to_map({})])),
        (variant("Admin"), scval.to_void()),
        (variant("AssetInfo"), named),
        (scval.to_symbol("AssetInfo"), scval.to_void()),
    ]
    chance.shuffle(storage)
    kinds = xdr.ContractExecutableType
    executable = xdr.ContractExecutable(kinds.CONTRACT_EXECUTABLE_STELLAR_ASSET)
    if chance.random() < 0.1:
        executable = xdr.ContractExecutable(kinds.CONTRACT_EXECUTABLE_WASM, wasm_hash=xdr.Hash(bytes(32)))
    entries = [xdr.SCMapEntry(key, value) for key, value in storage[: chance.choice([4, 4, 4, 4, 2, 0])]]
    instance = xdr.SCContractInstance(executable, xdr.SCMap(entries) if chance.random() < 0.9 else None)
    entry.key = xdr.SCVal(xdr.SCValType.SCV_LEDGER_KEY_CONTRACT_INSTANCE)
    entry.val = xdr.SCVal(xdr.SCValType.SCV_CONTRACT_INSTANCE, instance=instance)
    identity = contract_of(asset, network_id if chance.random() < 0.9 else bytes(32))
    keep(chance, entry, identity)


def make_balance(chance: random.Random, entry: Any, network_id: bytes) -> None:
    """A balance of an asset's contract, or what nearly is one."""
    flag = scval.to_bool(chance.random() < 0.5)
    fields = {"amount": scval.to_int128(chance.choice(AMOUNTS)), "authorized": flag, "clawback": flag}
    holder = scval.to_address(Address.from_raw_contract(chance.randbytes(32)))
    key = [scval.to_symbol("Balance"), holder]
    names = sorted(fields)
    match chance.randrange(12):
        case 0:
            names.reverse()
        case 1:
            fields["amount"] = scval.to_int64(5)
        case 2:
            fields["clawback"] = scval.to_void()
        case 3:
            names.append("more")
            fields["more"] = flag
        case 4:
            key[1] = scval.to_address(Address.from_raw_account(chance.randbytes(32)))
        case 5:
            key[0] = chance.choice([scval.to_symbol("Balances"), scval.to_string("Balance")])
        case 6:
            key.append(holder)
    entry.key = scval.to_vec(key)
    entry.val = scval.to_map({scval.to_symbol(name): fields[name] for name in names})
    keep(chance, entry, chance.randbytes(32))


def keep(chance: random.Random, entry: Any, contract: bytes) -> None:
    """Put the entry where the asset's contract would, mostly."""
    if chance.random() < 0.9:
        kind = xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT
        entry.contract = xdr.SCAddress(kind, contract_id=xdr.ContractID(xdr.Hash(contract)))
    if chance.random() < 0.9:
        entry.durability = xdr.ContractDataDurability.PERSISTENT


def variant(name: str, *values: Any) -> Any:
    return scval.to_vec([scval.to_symbol(name), *values])


def struct(**fields: Any) -> Any:
    return scval.to_map({scval.to_symbol(name): value for name, value in fields.items()})


def asset_of(code: bytes, issuer: bytes) -> Any:
    owner = xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, xdr.Uint256(issuer)))
    if len(code) == 4:
        kind = xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4
        return xdr.Asset(kind, alpha_num4=xdr.AlphaNum4(xdr.AssetCode4(code), owner))
    kind = xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12
    return xdr.Asset(kind, alpha_num12=xdr.AlphaNum12(xdr.AssetCode12(code), owner))


def info_of(asset: Any, code: bytes, issuer: bytes) -> Any:
    if asset.type == xdr.AssetType.ASSET_TYPE_NATIVE:
        return variant("Native")
    name = "AlphaNum4" if asset.alpha_num4 is not None else "AlphaNum12"
    return variant(name, struct(asset_code=scval.to_string(code), issuer=scval.to_bytes(issuer)))


def contract_of(asset: Any, network_id: bytes) -> bytes:
    kind = xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET
    preimage = xdr.ContractIDPreimage(kind, from_asset=asset)
    parts = xdr.HashIDPreimageContractID(xdr.Hash(network_id), preimage)
    identity = xdr.HashIDPreimage(xdr.EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID, contract_id=parts)
    return sha256(identity.to_xdr_bytes()).digest()
