"""XDR values as the columns show them."""

from __future__ import annotations

import json
from enum import Enum
from hashlib import sha256
from typing import Any

from stellar_sdk import StrKey, xdr

POOL_SHARES = "liquidity_pool_shares"


def plain(value: Any) -> Any:
    """The number or bytes inside nested typedefs (``SequenceNumber`` → ``Int64`` → ``int``); None stays None."""
    while hasattr(value, "__dict__") and not isinstance(value, Enum) and len(vars(value)) == 1:
        (value,) = vars(value).values()
    return value


def arm(union: Any) -> Any:
    """The one value that a union carries beside its discriminant; None for a void arm."""
    values = [v for name, v in vars(union).items() if name not in {"type", "code", "v"} and v is not None]
    assert len(values) <= 1, f"{type(union).__name__} has several arms"
    return values[0] if values else None


def digest(value: Any) -> bytes:
    """SHA-256 of the value's XDR."""
    return sha256(value.to_xdr_bytes()).digest()


def text51(value: bytes | None) -> str | None:
    """An XDR string in SEP-51's escaped ASCII."""
    if value is None:
        return None
    short = {0: "\\0", 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}
    return "".join(short.get(b) or (chr(b) if 0x20 <= b <= 0x7E else f"\\x{b:02x}") for b in value)


def compact_json(value: Any) -> str:
    """SEP-51 XDR-JSON without spaces."""
    return json.dumps(value.to_json_dict(), separators=(",", ":"))


def account(account_id: Any) -> str | None:
    """G-strkey of an AccountID."""
    if account_id is None:
        return None
    return StrKey.encode_ed25519_public_key(plain(account_id.account_id.ed25519))


def muxed(address: Any) -> tuple[str | None, str | None]:
    """G- and M-strkey of a MuxedAccount; the latter is None for an address that is not muxed."""
    if address is None:
        return None, None
    if address.ed25519 is not None:
        return StrKey.encode_ed25519_public_key(plain(address.ed25519)), None
    key, number = plain(address.med25519.ed25519), plain(address.med25519.id)
    return StrKey.encode_ed25519_public_key(key), muxed_strkey(key, number)


def muxed_strkey(key: bytes, number: int) -> str:
    """M-strkey (SEP-23): the key, then the big-endian id."""
    return StrKey.encode_med25519_public_key(key + number.to_bytes(8, "big"))


def muxed_columns(name: str, address: Any) -> dict[str, str | None]:
    """The columns ``name`` and ``name_muxed``."""
    plain_form, muxed_form = muxed(address)
    return {name: plain_form, f"{name}_muxed": muxed_form}


def asset_parts(asset: Any) -> tuple[str | None, str | None, str | None]:
    """Type, code and issuer of an Asset, ChangeTrustAsset or TrustLineAsset."""
    if asset is None:
        return None, None, None
    match asset.type:
        case xdr.AssetType.ASSET_TYPE_NATIVE:
            return "native", "XLM", None
        case xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4:
            return "credit_alphanum4", asset_code(asset.alpha_num4.asset_code), account(asset.alpha_num4.issuer)
        case xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12:
            return "credit_alphanum12", asset_code(asset.alpha_num12.asset_code), account(asset.alpha_num12.issuer)
        case xdr.AssetType.ASSET_TYPE_POOL_SHARE:
            return POOL_SHARES, None, None
    raise AssertionError(asset.type)


def asset_code(code: Any) -> str | None:
    """The text of an AssetCode4 or AssetCode12, without its trailing NULs."""
    return text51(plain(code).rstrip(b"\0"))


def asset_columns(prefix: str, asset: Any) -> dict[str, str | None]:
    """The columns ``<prefix>_type``, ``_code`` and ``_issuer``."""
    return dict(zip((f"{prefix}_type", f"{prefix}_code", f"{prefix}_issuer"), asset_parts(asset), strict=True))


def asset_struct(asset: Any) -> dict[str, str | None]:
    """An element of ``path``."""
    return asset_columns("asset", asset)


def balance_id(identifier: Any) -> str | None:
    """B-strkey: one byte of type, then the hash."""
    if identifier is None:
        return None
    return StrKey.encode_claimable_balance(bytes([identifier.type]) + plain(identifier.v0))


def claimant_struct(claimant: Any) -> dict[str, str | None]:
    """An element of ``claimants``."""
    return {"destination": account(claimant.v0.destination), "predicate": compact_json(claimant.v0.predicate)}


def signer_key(key: Any) -> str:
    """G-, T-, X- or P-strkey of a SignerKey."""
    match key.type:
        case xdr.SignerKeyType.SIGNER_KEY_TYPE_ED25519:
            return StrKey.encode_ed25519_public_key(plain(key.ed25519))
        case xdr.SignerKeyType.SIGNER_KEY_TYPE_PRE_AUTH_TX:
            return StrKey.encode_pre_auth_tx(plain(key.pre_auth_tx))
        case xdr.SignerKeyType.SIGNER_KEY_TYPE_HASH_X:
            return StrKey.encode_sha256_hash(plain(key.hash_x))
        case xdr.SignerKeyType.SIGNER_KEY_TYPE_ED25519_SIGNED_PAYLOAD:
            return StrKey.encode_ed25519_signed_payload(key.ed25519_signed_payload.to_xdr_bytes())
    raise AssertionError(key.type)


def sc_address(address: Any) -> str:
    """G-, C-, M-, B- or L-strkey of an SCAddress."""
    match address.type:
        case xdr.SCAddressType.SC_ADDRESS_TYPE_ACCOUNT:
            return str(account(address.account_id))
        case xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT:
            return StrKey.encode_contract(plain(address.contract_id))
        case xdr.SCAddressType.SC_ADDRESS_TYPE_MUXED_ACCOUNT:
            return muxed_strkey(plain(address.muxed_account.ed25519), plain(address.muxed_account.id))
        case xdr.SCAddressType.SC_ADDRESS_TYPE_CLAIMABLE_BALANCE:
            return str(balance_id(address.claimable_balance_id))
        case xdr.SCAddressType.SC_ADDRESS_TYPE_LIQUIDITY_POOL:
            return StrKey.encode_liquidity_pool(plain(address.liquidity_pool_id))
    raise AssertionError(address.type)


def pool_strkey(pool: bytes) -> str:
    """L-strkey of a pool id."""
    return StrKey.encode_liquidity_pool(pool)
