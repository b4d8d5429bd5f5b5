"""The stream ``ledger_entry_changes``: one row per LedgerEntryChange, in the order in which they took effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import (
    CHANGE_END,
    CHANGE_NEEDS,
    CHANGE_TYPE,
    KEY_NEEDS,
    Site,
    change_types,
    changes,
    copied_keys,
    ends_pair,
    entry_types,
    in_entry,
    in_key,
    is_removed,
    key_hashes,
    numbers,
    operation_ordinals,
    sites,
)  # fmt: skip
from stellar_arrow_source.tables.columns import (
    HASH,
    AssetParts,
    account,
    amount,
    asset,
    derived,
    digest,
    enum_table,
    number,
    raw,
    strings,
)  # fmt: skip
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.expressions import At, Expression, FirstOf, Plus, Where
from stellar_arrow_source.tables.frame import RESULT_PAIR, Frame, Integers, Mask
from stellar_arrow_source.tables.relations import CHANGE, TX_RESULT
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.readers import EnumTable
from stellar_arrow_source.xdr.strkey import Version

_T: Final = LedgerEntryType
_CONTRACT_ADDRESS: Final = 1  # SC_ADDRESS_TYPE_CONTRACT
_POOL_SHARES: Final = 3  # ASSET_TYPE_POOL_SHARE
_CHANGE_TYPES: Final = enum_table("LedgerEntryChangeType")
_ENTRY_TYPES: Final = enum_table("LedgerEntryType", str.lower)
_SITES: Final = EnumTable.from_mapping({site.value: site.name.lower() for site in Site})


def in_words(base: Expression, value: int) -> Callable[[Frame], Mask]:
    """A condition: the word at ``base`` is ``value``."""

    def holds(frame: Frame) -> Mask:
        equal: Mask = frame.words(base) == value
        return equal

    return holds


# -- facts of entries that the state streams share

OWNER: Final = in_key(
    {
        _T.ACCOUNT: "account.accountID",
        _T.TRUSTLINE: "trustLine.accountID",
        _T.OFFER: "offer.sellerID",
        _T.DATA: "data.accountID",
    }
)
SPONSOR: Final = Plus(At(CHANGE, "ext.v1.sponsoringID?"), 1)
LAST_MODIFIED: Final = Where(At(CHANGE, "lastModifiedLedgerSeq"), lambda frame: ~is_removed(frame))
LINE_ASSET: Final = in_key({_T.TRUSTLINE: "trustLine.asset"})
LINE_POOL: Final = Where(Plus(LINE_ASSET, 1), in_words(LINE_ASSET, _POOL_SHARES))
_CLAIMABLE_ASSET: Final = in_entry({_T.CLAIMABLE_BALANCE: "claimableBalance.asset"})
_CONTRACT: Final = in_key({_T.CONTRACT_DATA: "contractData.contract"})
ENTRY: Final = Where(Plus(CHANGE_TYPE, 1), lambda frame: ~is_removed(frame))


def _add_lumens(frame: Frame, parts: AssetParts) -> AssetParts:
    types, code, issuer = parts
    return np.where(entry_types(frame) == _T.ACCOUNT, 0, types), code, issuer


def _numbers(
    values: Callable[[Frame], Integers], type: pa.DataType, valid: Callable[[Frame], Mask] | None = None
) -> Callable[[Frame], pa.Array]:
    """Reads computed integers; null where not ``valid``."""

    def read(frame: Frame) -> pa.Array:
        converted = values(frame).astype(type.to_pandas_dtype())
        return readers.from_numpy(converted, type, None if valid is None else valid(frame))

    return read


def _of_transaction(frame: Frame) -> Mask:
    chosen: Mask = frame.rows[TX_RESULT.name] >= 0
    return chosen


def _of_operation(frame: Frame) -> Mask:
    chosen: Mask = sites(frame) == Site.OPERATION
    return chosen


def _per_transaction(values: Callable[[Frame], np.ndarray]) -> Callable[[Frame], np.ndarray]:
    """Values of each row's transaction; 0 for rows of none."""

    def read(frame: Frame) -> np.ndarray:
        # row -1, of no transaction, reads what is appended
        extended = np.append(values(frame), np.zeros(1, values(frame).dtype))
        return extended[frame.rows[TX_RESULT.name]]

    return read


_transaction_ids = _per_transaction(lambda frame: frame.batch.transaction_ids)


def _key_hashes(frame: Frame) -> pa.Array:
    return pa.Array.from_buffers(HASH, frame.length, [None, pa.py_buffer(key_hashes(frame))])


def _key_xdr(frame: Frame) -> pa.Array:
    return readers.span(*copied_keys(frame))


LEDGER_KEY_HASH: Final = derived(
    "ledger_key_hash", HASH, _key_hashes, "SHA-256 of the LedgerKey: the keyHash of a TTL entry", *KEY_NEEDS
)
LEDGER_KEY_XDR: Final = derived("ledger_key_xdr", pa.binary(), _key_xdr, "LedgerKey", *KEY_NEEDS, opt_in=True)
LEDGER_ENTRY_TYPE: Final = derived(
    "ledger_entry_type",
    pa.string(),
    lambda frame: readers.enum(entry_types(frame), _ENTRY_TYPES),
    "type of the entry, in lower case",
)
LAST_MODIFIED_LEDGER: Final = number(
    "last_modified_ledger",
    pa.uint32(),
    LAST_MODIFIED,
    "ledger that the entry names as its last; null where it is removed",
    nullable=True,
)
SPONSOR_COLUMN: Final = account("sponsor", SPONSOR, "account that sponsors the entry's reserve", nullable=True)


def contract_id(where: Expression) -> Column:
    """The contract that holds the data, from the SCAddress there."""
    return strings(
        "contract_id",
        readers.strkey,
        Where(Plus(where, 1), in_words(where, _CONTRACT_ADDRESS)),
        "contract that holds the data; a C strkey",
        Version.CONTRACT,
        nullable=True,
    )


_TRANSACTION_COLUMNS: Final[tuple[Column, ...]] = (
    derived(
        "transaction_id",
        pa.int64(),
        _numbers(_transaction_ids, pa.int64(), _of_transaction),
        "id of the transaction (SEP-35); null for upgrades",
        nullable=True,
    ),
    derived(
        "transaction_index",
        pa.uint32(),
        _numbers(_per_transaction(lambda frame: frame.batch.transaction_index), pa.uint32(), _of_transaction),
        "position of the transaction in the order of application, from 1; null for upgrades",
        nullable=True,
    ),
    derived(
        "operation_id",
        pa.int64(),
        _numbers(lambda frame: _transaction_ids(frame) + operation_ordinals(frame), pa.int64(), _of_operation),
        "id of the operation (SEP-35); null for changes of no operation",
        nullable=True,
    ),
    derived(
        "operation_index",
        pa.uint32(),
        _numbers(operation_ordinals, pa.uint32(), _of_operation),
        "position of the operation in its transaction, from 1; null for changes of no operation",
        nullable=True,
    ),
    digest(
        "transaction_hash",
        RESULT_PAIR,
        "hash of the transaction; of a fee bump, the outer one; null for upgrades",
        nullable=True,
    ),
)

LEDGER_ENTRY_CHANGES: Final = Stream(
    name="ledger_entry_changes",
    description=(
        "one row per change of a ledger entry, in the order in which they took effect: all fees, then transaction by "
        "transaction what precedes, does and follows its operations (of the parallel phase, first what precedes the "
        "operations of all its transactions), then fees given back after that, then upgrades; transactions of the "
        "parallel phase that prolong the life of one entry start from the same TTL, of which the ledger keeps the "
        "greatest: see ttl"
    ),
    frame=changes,
    reads=CHANGE_NEEDS,
    columns=(
        *LEDGER_COLUMNS,
        *_TRANSACTION_COLUMNS,
        derived(
            "change_site",
            pa.string(),
            lambda frame: readers.enum(sites(frame), _SITES),
            "where in the ledger the change stands: " + ", ".join(site.name.lower() for site in Site),
        ),
        derived(
            "change_index", pa.uint32(), _numbers(numbers, pa.uint32()), "position of the change in the ledger, from 1"
        ),
        derived(
            "change_type",
            pa.string(),
            lambda frame: readers.enum(change_types(frame), _CHANGE_TYPES),
            "kind of change, as the XDR member is named; LEDGER_ENTRY_STATE is what an entry was before a change",
        ),
        derived("change_type_code", pa.int32(), _numbers(change_types, pa.int32()), "code of the kind of change"),
        LEDGER_ENTRY_TYPE,
        LEDGER_KEY_HASH,
        LAST_MODIFIED_LEDGER,
        SPONSOR_COLUMN,
        derived(
            "pre_change_index",
            pa.uint32(),
            _numbers(lambda frame: numbers(frame) - 1, pa.uint32(), ends_pair),
            "change_index of the LEDGER_ENTRY_STATE or LEDGER_ENTRY_RESTORED that this update or removal starts from",
            *KEY_NEEDS,
            nullable=True,
        ),
        account("account_id", Plus(OWNER, 1), "owner of an account, trust line, offer or data entry", nullable=True),
        *asset(
            FirstOf(LINE_ASSET, _CLAIMABLE_ASSET),
            "the asset of an account (lumens), trust line or claimable balance",
            adjust=_add_lumens,
        ),
        amount(
            "balance",
            in_entry(
                {
                    _T.ACCOUNT: "account.balance",
                    _T.TRUSTLINE: "trustLine.balance",
                    _T.CLAIMABLE_BALANCE: "claimableBalance.amount",
                }
            ),
            "balance of an account or trust line, amount of a claimable balance; null where it is removed",
            nullable=True,
        ),
        number("offer_id", pa.int64(), in_key({_T.OFFER: "offer.offerID"}), "offer; null for others", nullable=True),
        strings(
            "balance_id",
            readers.claimable_balance,
            in_key({_T.CLAIMABLE_BALANCE: "claimableBalance.balanceID"}),
            "claimable balance; a B strkey",
            nullable=True,
        ),
        strings(
            "liquidity_pool_id",
            readers.strkey,
            FirstOf(in_key({_T.LIQUIDITY_POOL: "liquidityPool.liquidityPoolID"}), LINE_POOL),
            "liquidity pool, also of a trust line for its shares; an L strkey",
            Version.LIQUIDITY_POOL,
            nullable=True,
        ),
        contract_id(_CONTRACT),
        derived(
            "successful",
            pa.bool_(),
            lambda frame: readers.from_bool(
                _per_transaction(lambda frame: frame.batch.successful)(frame), _of_transaction(frame)
            ),
            "whether the transaction succeeded; the change took effect in any case; null for upgrades",
            nullable=True,
        ),
        LEDGER_KEY_XDR,
        raw("ledger_entry_xdr", ENTRY, CHANGE_END, "LedgerEntry; null where it is removed", nullable=True),
        raw("change_xdr", CHANGE_TYPE, CHANGE_END, "LedgerEntryChange"),
    ),
)
