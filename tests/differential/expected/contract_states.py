"""Expected rows of ``contract_data``, ``contract_code`` and ``ttl``, and of keys restored or evicted."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from stellar_sdk import StrKey, xdr

from .changes import CHANGE, TYPE, Change
from .join import Ledger
from .states import last_changes, state_row
from .values import asset_columns, compact_json, plain, sc_address

Row = dict[str, Any]
SAC = xdr.ContractExecutableType.CONTRACT_EXECUTABLE_STELLAR_ASSET
CONTRACT = xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT
PERSISTENT = xdr.ContractDataDurability.PERSISTENT


def contract_state_rows(ledger: Ledger, changes: list[Change]) -> dict[str, list[Row]]:
    """Stream → rows of one ledger."""
    restored = [change for change in changes if change.type == CHANGE.LEDGER_ENTRY_RESTORED]
    return {
        "contract_data": [
            data_row(ledger, change) for change in last_changes(changes, TYPE.CONTRACT_DATA)
        ],
        "contract_code": [
            state_row("contract_code", change, code_values) for change in last_changes(changes, TYPE.CONTRACT_CODE)
        ],
        "ttl": [state_row("ttl", change, ttl_values) for change in lives_left(changes)],
        "restored_keys": [restored_row(change) for change in last_of_each(restored)],
        "evicted_keys": [] if ledger.version == 0 else [evicted_row(ledger, key) for key in ledger.body.evicted_keys],
    }  # fmt: skip


# -- contract data


def data_row(ledger: Ledger, change: Change) -> Row:
    def values(key: Any, entry: Any) -> Row:
        row = {
            "contract_address": sc_address(key.contract),
            **data_key_columns(key),
            **asset_columns("asset", None),
            "key_xdr": key.key.to_xdr_bytes(),
        }
        if entry is None:
            return row
        row |= {"val": compact_json(entry.val), "val_xdr": entry.val.to_xdr_bytes()}
        if key.contract.type == CONTRACT and key.durability == PERSISTENT:
            row |= asset_columns("asset", asset_of(ledger, plain(key.contract.contract_id), entry.val))
            row |= balance_columns(key.key, entry.val)
        return row

    return state_row("contract_data", change, values)


def data_key_columns(key: Any) -> Row:
    is_contract = key.contract.type == CONTRACT
    return {
        "contract_id": StrKey.encode_contract(plain(key.contract.contract_id)) if is_contract else None,
        "contract_key_type": key.key.type.name,
        "contract_durability": key.durability.name,
        "key": compact_json(key.key),
    }


def symbol_of(value: Any) -> bytes | None:
    return plain(value.sym)


def items_of(value: Any) -> list[Any]:
    """Items of a vector; none for what is no vector."""
    return value.vec.sc_vec if value.vec is not None else []


def fields_of(value: Any) -> dict[bytes | None, Any]:
    """Entries of a map whose keys are different symbols in order; none for what is not such a map."""
    entries = value.map.sc_map if value.map is not None else []
    names = [symbol_of(entry.key) for entry in entries]
    if None in names or names != sorted(set(names)):  # type: ignore[type-var]
        return {}
    return {symbol_of(entry.key): entry.val for entry in entries}


def asset_of(ledger: Ledger, contract: bytes, value: Any) -> Any:
    """The asset that an instance is the contract of, if its id is derived from it."""
    instance = value.instance
    if instance is None or instance.executable.type != SAC or instance.storage is None:
        return None
    infos = [entry.val for entry in instance.storage.sc_map if is_info_key(entry.key)]
    asset = asset_named(infos[0]) if infos else None
    if asset is None:
        return None
    kind = xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET
    preimage = xdr.HashIDPreimageContractID(xdr.Hash(ledger.network_id), xdr.ContractIDPreimage(kind, from_asset=asset))
    identity = xdr.HashIDPreimage(xdr.EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID, contract_id=preimage)
    return asset if sha256(identity.to_xdr_bytes()).digest() == contract else None


def is_info_key(key: Any) -> bool:
    items = items_of(key)
    return len(items) == 1 and symbol_of(items[0]) == b"AssetInfo"


def asset_named(info: Any) -> Any:
    """The asset that the SAC's AssetInfo names."""
    items = items_of(info)
    if not items:
        return None
    name, fields = symbol_of(items[0]), fields_of(items[1]) if len(items) == 2 else {}
    if name == b"Native" and len(items) == 1:
        return xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
    if set(fields) != {b"asset_code", b"issuer"}:
        return None
    code, key = plain(fields[b"asset_code"].str), plain(fields[b"issuer"].bytes)
    if code is None or key is None or len(key) != 32:
        return None
    issuer = xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, xdr.Uint256(key)))
    if name == b"AlphaNum4" and len(code) == 4:
        kind = xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4
        return xdr.Asset(kind, alpha_num4=xdr.AlphaNum4(xdr.AssetCode4(code), issuer))
    if name == b"AlphaNum12" and len(code) == 12:
        kind = xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM12
        return xdr.Asset(kind, alpha_num12=xdr.AlphaNum12(xdr.AssetCode12(code), issuer))
    return None


def balance_columns(key: Any, value: Any) -> Row:
    """Of an entry in the form of the SAC's balances."""
    items, fields = items_of(key), fields_of(value)
    if len(items) != 2 or symbol_of(items[0]) != b"Balance" or items[1].address is None:
        return {}
    if items[1].address.type != CONTRACT or set(fields) != {b"amount", b"authorized", b"clawback"}:
        return {}
    parts = fields[b"amount"].i128
    if parts is None or any(fields[name].b is None for name in (b"authorized", b"clawback")):
        return {}
    amount = (plain(parts.hi) << 64) + plain(parts.lo)
    if amount < 0:
        return {}
    return {
        "balance_holder": StrKey.encode_contract(plain(items[1].address.contract_id)),
        "balance": amount if amount < 10**38 else None,
        "balance_raw": str(amount),
    }


# -- contract code

COUNTED = (
    "n_instructions", "n_functions", "n_globals", "n_table_entries", "n_types", "n_data_segments", "n_elem_segments",
    "n_imports", "n_exports", "n_data_segment_bytes",
)  # fmt: skip


def code_values(key: Any, entry: Any) -> Row:
    row = {"contract_code_hash": plain(key.hash)}
    if entry is None:
        return row
    row |= {
        "contract_code_ext_v": entry.ext.v,
        "contract_code_size": len(entry.code),
        "contract_code_wasm": entry.code,
    }
    if entry.ext.v1 is not None:
        row |= {name: plain(getattr(entry.ext.v1.cost_inputs, name)) for name in COUNTED}
    return row


# -- lives


def lives_left(changes: Iterable[Change]) -> list[Change]:
    """Of each TTL entry, the removal if it comes last, else of all changes since the last removal the latest of those
    that let it live longest."""
    since: dict[bytes, list[Change]] = {}
    for change in changes:
        if change.key.type != TYPE.TTL or change.type == CHANGE.LEDGER_ENTRY_STATE:
            continue
        before = since.setdefault(change.key_xdr, [])
        if change.removed or (before and before[-1].removed):
            before.clear()
        before.append(change)
    left = [max(found, key=lambda change: (live_until(change), change.index)) for found in since.values()]
    return sorted(left, key=lambda change: change.index)


def live_until(change: Change) -> int:
    return -1 if change.removed else int(plain(change.entry.data.ttl.live_until_ledger_seq))


def ttl_values(key: Any, entry: Any) -> Row:
    return {
        "key_hash": plain(key.key_hash),
        "live_until_ledger_seq": plain(entry.live_until_ledger_seq) if entry is not None else None,
    }


# -- keys that come and go


def last_of_each(changes: Iterable[Change]) -> list[Change]:
    return sorted({change.key_xdr: change for change in changes}.values(), key=lambda change: change.index)


def soroban_key_columns(key: Any) -> Row:
    """The columns that tell which contract data, contract code or TTL entry it is; null for the other types."""
    row: Row = dict.fromkeys(
        ("contract_id", "contract_key_type", "contract_durability", "key", "contract_code_hash", "key_hash")
    )
    match key.type:
        case TYPE.CONTRACT_DATA:
            row |= data_key_columns(key.contract_data)
        case TYPE.CONTRACT_CODE:
            row["contract_code_hash"] = plain(key.contract_code.hash)
        case TYPE.TTL:
            row["key_hash"] = plain(key.ttl.key_hash)
    return row


def restored_row(change: Change) -> Row:
    return {
        **change.ledger.position_columns,
        "ledger_key_hash": change.key_hash,
        "ledger_entry_type": change.key.type.name.lower(),
        **soroban_key_columns(change.key),
        "last_modified_ledger": plain(change.entry.last_modified_ledger_seq),
        "ledger_key_xdr": change.key_xdr,
    }


def evicted_row(ledger: Ledger, key: Any) -> Row:
    return {
        **ledger.position_columns,
        "ledger_key_hash": sha256(key.to_xdr_bytes()).digest(),
        "ledger_entry_type": key.type.name.lower(),
        **soroban_key_columns(key),
        "ledger_key_xdr": key.to_xdr_bytes(),
    }
