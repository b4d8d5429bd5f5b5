"""The stream ``contract_data``: ContractDataEntry, what contracts store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import ContractDataDurability, LedgerEntryType, SCAddressType

from stellar_arrow_source.tables.amounts import DECIMAL, decimal_texts, decimals
from stellar_arrow_source.tables.changes import in_entry, in_key, is_removed
from stellar_arrow_source.tables.columns import derived, strings
from stellar_arrow_source.tables.expressions import At, Expression, Plus, Where
from stellar_arrow_source.tables.frame import Frame, Integers
from stellar_arrow_source.tables.relations import CHANGE
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.asset_contract import assets, balances
from stellar_arrow_source.tables.states.common import state_stream
from stellar_arrow_source.tables.states.soroban_keys import data_key_columns
from stellar_arrow_source.xdr import readers, scval
from stellar_arrow_source.xdr.jit import Words
from stellar_arrow_source.xdr.strkey import Version


def _in_key(kind: LedgerEntryType, path: str) -> Expression:
    return in_key({kind: path})


_DATA: Final = LedgerEntryType.CONTRACT_DATA
_ADDRESS: Final = _in_key(_DATA, "contractData.contract")
_KEY: Final = _in_key(_DATA, "contractData.key")
_DURABILITY: Final = _in_key(_DATA, "contractData.durability")
_VALUE: Final = in_entry({_DATA: "contractData.val"})
_VALUE_END: Final = Where(At(CHANGE, "ext"), lambda frame: ~is_removed(frame))
"""LedgerEntry.ext, which follows the data."""
_NEEDS: Final = (_ADDRESS, _KEY, _DURABILITY, _VALUE, _VALUE_END)
_CONTRACT: Final = Where(
    Plus(_ADDRESS, 1), lambda frame: frame.words(_ADDRESS) == SCAddressType.SC_ADDRESS_TYPE_CONTRACT
)


def _persistent(frame: Frame) -> Integers:
    """Positions of the contract ids that keep an entry as the Stellar Asset Contract does: not for a time only."""
    persistent = frame.words(_DURABILITY) == ContractDataDurability.PERSISTENT
    kept: Integers = frame.positions(_CONTRACT) * persistent
    return kept


def _assets(frame: Frame) -> tuple[Words, Integers, Integers, Integers]:
    def read() -> tuple[Words, Integers, Integers, Integers]:
        value, end, network = frame.positions(_VALUE), frame.positions(_VALUE_END), frame.batch.network_id
        words, positions = assets(frame.batch.words, value, end, _persistent(frame), network)
        types, code, _, issuer = readers.split_asset(words, positions)
        return words, types, code, issuer

    return frame.once("assets", read)


def _asset_type(frame: Frame) -> pa.Array:
    return readers.asset_type(_assets(frame)[1])


def _asset_code(frame: Frame) -> pa.Array:
    words, types, code, _ = _assets(frame)
    return readers.asset_code(words, types, code)


def _asset_issuer(frame: Frame) -> pa.Array:
    words, _, _, issuer = _assets(frame)
    return readers.account(words, issuer)


def _balances(frame: Frame) -> tuple[Integers, Integers]:
    def read() -> tuple[Integers, Integers]:
        bounds = (frame.positions(where) for where in (_KEY, _DURABILITY, _VALUE, _VALUE_END))
        holder, amount = balances(frame.batch.words, *bounds)
        kept = _persistent(frame) > 0
        return holder * kept, amount * kept

    return frame.once("balances", read)


def _of_balance(read: Callable[[Words, Integers], pa.Array], part: int) -> Callable[[Frame], pa.Array]:
    return lambda frame: read(frame.batch.words, _balances(frame)[part])


def _span(start: Expression, end: Expression) -> Callable[[Frame], pa.Array]:
    return lambda frame: readers.span(frame.batch.words, frame.positions(start), frame.positions(end))


def _derived(name: str, type: pa.DataType, read: Callable[[Frame], pa.Array], description: str, **rest: bool) -> Column:
    return derived(name, type, read, description, *_NEEDS, **rest)


_ASSET: Final = "the asset whose contract (SAC) this is, where the entry is its instance and the contract's id says so"
_BALANCE: Final = (
    "of an entry in the form of a SAC's balances, which does not tell whether the contract is one; "
    "in the token's smallest unit"
)

CONTRACT_DATA: Final = state_stream(
    "contract_data",
    _DATA,
    "entry of contract data",
    (
        strings(
            "contract_address",
            readers.address,
            _ADDRESS,
            "who holds the data: a contract (C), or the account (G) that a nonce is of",
        ),
        *data_key_columns(_in_key, nullable=False),
        strings(
            "val", scval.scval_json, _VALUE, "the value as XDR-JSON (SEP-51); null where it is deleted", nullable=True
        ),
        _derived("asset_type", pa.string(), _asset_type, f"type of {_ASSET}", nullable=True),
        _derived("asset_code", pa.string(), _asset_code, "code of that asset; XLM for native", nullable=True),
        _derived("asset_issuer", pa.string(), _asset_issuer, "issuer of that asset; null for native", nullable=True),
        _derived(
            "balance_holder",
            pa.string(),
            _of_balance(lambda words, pos: readers.strkey(words, pos, Version.CONTRACT), 0),
            "contract (C) whose balance the entry is, where it has the form of a SAC's; null for others",
            nullable=True,
        ),
        _derived(
            "balance",
            DECIMAL,
            _of_balance(decimals, 1),
            f"balance {_BALANCE}; null where it has more than 38 digits",
            nullable=True,
        ),
        _derived(
            "balance_raw",
            pa.string(),
            _of_balance(decimal_texts, 1),
            "the same balance as an exact decimal integer",
            nullable=True,
        ),
        _derived("key_xdr", pa.binary(), _span(_KEY, _DURABILITY), "XDR of the key (SCVal)", opt_in=True),
        _derived(
            "val_xdr",
            pa.binary(),
            _span(_VALUE, _VALUE_END),
            "XDR of the value (SCVal); null where it is deleted",
            nullable=True,
            opt_in=True,
        ),
    ),
)
