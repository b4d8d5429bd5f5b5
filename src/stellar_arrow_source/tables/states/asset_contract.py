"""What entries of contract data say of assets: the Stellar Asset Contract's (SAC) instance and its balances.

Any contract may store what looks the same. An instance is an asset's only where the contract's id is the one that is
derived from the asset. A balance does not name its asset; its form is all that tells it.
Sources: CAP-46-06; rs-soroban-env, stellar_asset_contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from stellar_sdk import Address, scval
from stellar_sdk.xdr import AssetType, ContractIDPreimageType, EnvelopeType, SCVal

from stellar_arrow_source.tables.frame import Integers, Mask
from stellar_arrow_source.tables.states.layouts import Layout, as_words, find_in_storage
from stellar_arrow_source.xdr.jit import Words
from stellar_arrow_source.xdr.sha256 import hash_spans

_KEY_WORDS: Final = 8
_I128_WORDS: Final = 4


def _variant(name: str, *values: SCVal) -> SCVal:
    """An enum of Rust: a vector of the name and what it holds."""
    return scval.to_vec([scval.to_symbol(name), *values])


def _struct(**fields: SCVal) -> SCVal:
    """A struct of Rust: a map, whose keys stand in order."""
    return scval.to_map({scval.to_symbol(name): fields[name] for name in sorted(fields)})


def _balance_key(fill: bytes) -> SCVal:
    return _variant("Balance", scval.to_address(Address.from_raw_contract(fill * 32)))


def _balance(amount: int, flag: bool) -> SCVal:
    return _struct(amount=scval.to_int128(amount), authorized=scval.to_bool(flag), clawback=scval.to_bool(flag))


_BALANCE_KEY: Final = Layout(_balance_key(b"\0"), _balance_key(b"\xff"))
_BALANCE: Final = Layout(_balance(0, False), _balance(-1, True))


def balances(
    words: Words, key: Integers, key_end: Integers, value: Integers, value_end: Integers
) -> tuple[Integers, Integers]:
    """(positions of the holders' contract ids, of the amounts' Int128Parts) of SAC balances; 0 where it is none."""
    found = _BALANCE_KEY.matches(words, key, key_end) & _BALANCE.matches(words, value, value_end)
    amount = (value + _BALANCE.holes[0]) * found
    found &= words[amount].byteswap() >> 31 == 0  # the SAC keeps no negative balance
    return (key + _BALANCE_KEY.holes[0]) * found, amount * found


# -- assets


@dataclass(frozen=True)
class _Form:
    """How an instance names an asset of one type, and the words of its code."""

    type: AssetType
    layout: Layout
    code_words: int


def _credit(name: str, code_bytes: int) -> Layout:
    def info(fill: bytes) -> SCVal:
        code, issuer = scval.to_string(fill * code_bytes), scval.to_bytes(fill * 32)
        return _variant(name, _struct(asset_code=code, issuer=issuer))

    return Layout(info(b"\0"), info(b"\xff"))


_NATIVE: Final = _variant("Native")
_INFO_KEY: Final = as_words(_variant("AssetInfo"))
_FORMS: Final = (
    _Form(AssetType.ASSET_TYPE_NATIVE, Layout(_NATIVE, _NATIVE), 0),
    _Form(AssetType.ASSET_TYPE_CREDIT_ALPHANUM4, _credit("AlphaNum4", 4), 1),
    _Form(AssetType.ASSET_TYPE_CREDIT_ALPHANUM12, _credit("AlphaNum12", 12), 3),
)
_RECORD: Final = 16
"""Words of a record: of them 14 are a ContractIDPreimage with the longest asset."""


def _word(value: int) -> np.uint32:
    return np.uint32(value).byteswap()


def assets(
    words: Words, value: Integers, value_end: Integers, contract: Integers, network_id: bytes
) -> tuple[NDArray[np.uint32], Integers]:
    """The assets that instances of the SAC are contracts of.

    Args:
        value, value_end: int64 (n,), bounds of the values stored, of any type.
        contract: int64 (n,), position of the id of the contract that stores; 0 where it is no contract.

    Returns:
        (words, positions in them of an Asset each; 0 where there is none that the contract's id is derived from).
    """
    rows = np.flatnonzero((value > 0) & (contract > 0))
    first, last = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    find_in_storage(words, value[rows], value_end[rows], _INFO_KEY, first, last)
    rows, first, last = (part[first > 0] for part in (rows, first, last))
    records = np.zeros((len(rows) + 1, _RECORD), np.uint32)
    records[:, 0] = _word(ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET)
    start = np.arange(1, len(rows) + 1, dtype=np.int64) * _RECORD
    end = np.zeros(len(rows), np.int64)
    for form in _FORMS:
        found = form.layout.matches(words, first, last)
        _fill(records[1:], found, words, first[found], form)
        end[found] = (start + 2 + (form.code_words + 1 + _KEY_WORDS if form.code_words else 0))[found]
    flat = records.reshape(-1)
    tag = int(EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID).to_bytes(4, "big")
    # HashIDPreimage: ENVELOPE_TYPE_CONTRACT_ID, network id, ContractIDPreimage
    derived = hash_spans(flat, start * (end > 0), end, np.frombuffer(tag + network_id, np.uint32))
    own = words[contract[rows, None] + np.arange(_KEY_WORDS)]
    positions = np.zeros(len(value), np.int64)
    positions[rows] = (start + 1) * ((end > 0) & (derived == own).all(axis=1))
    return flat, positions


def _fill(records: NDArray[np.uint32], found: Mask, words: Words, info: Integers, form: _Form) -> None:
    """Write the Assets that instances name."""
    made = records[found]
    made[:, 1] = _word(form.type)
    if form.code_words:
        code, issuer = form.layout.holes
        of_code, of_issuer = np.arange(form.code_words), np.arange(_KEY_WORDS)
        made[:, 2 : 2 + form.code_words] = words[info[:, None] + code + of_code]
        key = 3 + form.code_words  # after the key's type, which is zero
        made[:, key : key + _KEY_WORDS] = words[info[:, None] + issuer + of_issuer]
    records[found] = made
