"""What LedgerKeys of contract data, contract code and TTL entries say, in whatever relation they stand."""

from __future__ import annotations

from collections.abc import Callable

from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.columns import digest, enum_table, enumeration, strings
from stellar_arrow_source.tables.expressions import Expression
from stellar_arrow_source.tables.ledger_entry_changes import contract_id
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import scval

Where = Callable[[LedgerEntryType, str], Expression]
"""Finds a path below the LedgerKey of a type."""

_DATA, _CODE, _TTL = LedgerEntryType.CONTRACT_DATA, LedgerEntryType.CONTRACT_CODE, LedgerEntryType.TTL


def data_key_columns(where: Where, *, nullable: bool) -> tuple[Column, ...]:
    """The columns of a key of contract data; ``nullable`` where keys may be of other types."""
    key = where(_DATA, "contractData.key")
    return (
        contract_id(where(_DATA, "contractData.contract")),
        enumeration(
            "contract_key_type",
            enum_table("SCValType"),
            key,
            "type of the key of contract data, as the XDR member is named",
            nullable=nullable,
        ),
        enumeration(
            "contract_durability",
            enum_table("ContractDataDurability"),
            where(_DATA, "contractData.durability"),
            "how contract data ends, as the XDR member is named: TEMPORARY is deleted, PERSISTENT can be restored",
            nullable=nullable,
        ),
        strings("key", scval.scval_json, key, "key of contract data as XDR-JSON (SEP-51)", nullable=nullable),
    )


def soroban_key_columns(where: Where) -> tuple[Column, ...]:
    """The columns of keys of contract data, contract code and TTL entries; null for the other types."""
    return (
        *data_key_columns(where, nullable=True),
        digest(
            "contract_code_hash",
            where(_CODE, "contractCode.hash"),
            "SHA-256 of the Wasm of contract code; null for others",
            nullable=True,
        ),
        digest(
            "key_hash",
            where(_TTL, "ttl.keyHash"),
            "SHA-256 of the key of the contract data or code that a TTL entry is of; null for others",
            nullable=True,
        ),
    )
