"""The stream ``contract_code``: ContractCodeEntry, a contract's Wasm and what it costs to load it (CAP-54)."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry, in_key
from stellar_arrow_source.tables.columns import at, derived, digest, number
from stellar_arrow_source.tables.expressions import Expression
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import state_stream
from stellar_arrow_source.xdr import readers


def _of_code(path: str) -> Expression:
    return in_entry({LedgerEntryType.CONTRACT_CODE: f"contractCode.{path}"})


def _count(name: str, path: str, what: str, unit: str | None = None) -> Column:
    return number(
        name,
        pa.uint32(),
        _of_code(f"ext.v1.costInputs.{path}"),
        f"{what}; null where the entry does not count them",
        nullable=True,
        unit=unit,
    )


_CODE: Final = _of_code("code")

CONTRACT_CODE: Final = state_stream(
    "contract_code",
    LedgerEntryType.CONTRACT_CODE,
    "contract code",
    (
        digest(
            "contract_code_hash", in_key({LedgerEntryType.CONTRACT_CODE: "contractCode.hash"}), "SHA-256 of the Wasm"
        ),
        number(
            "contract_code_ext_v",
            pa.int32(),
            _of_code("ext"),
            "version of the entry's extension: from 1 on it counts what the Wasm holds",
            nullable=True,
        ),
        _count("n_instructions", "nInstructions", "instructions of the Wasm"),
        _count("n_functions", "nFunctions", "functions"),
        _count("n_globals", "nGlobals", "globals"),
        _count("n_table_entries", "nTableEntries", "entries of tables"),
        _count("n_types", "nTypes", "types"),
        _count("n_data_segments", "nDataSegments", "data segments"),
        _count("n_elem_segments", "nElemSegments", "element segments"),
        _count("n_imports", "nImports", "imports"),
        _count("n_exports", "nExports", "exports"),
        _count("n_data_segment_bytes", "nDataSegmentBytes", "size of the data segments", "byte"),
        number(
            "contract_code_size",
            pa.uint32(),
            _CODE,  # an opaque begins with its length
            "size of the Wasm",
            nullable=True,
            unit="byte",
        ),
        derived(
            "contract_code_wasm",
            pa.binary(),
            at(pa.binary(), readers.binary, _CODE),
            "the Wasm",
            _CODE,
            nullable=True,
            opt_in=True,
        ),
    ),
)
