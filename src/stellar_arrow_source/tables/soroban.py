"""Columns of ``operations`` for the Soroban operations: host functions, contracts, footprints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import EnvelopeType, HostFunctionType, OperationType

from stellar_arrow_source.tables.columns import (
    HASH,
    as_words,
    derived,
    digest,
    either,
    enum_table,
    enumeration,
    hash_rows,
    listing,
    number,
    strings,
    text,
)  # fmt: skip
from stellar_arrow_source.tables.expressions import At, ByOperation, End, Plus, Where
from stellar_arrow_source.tables.frame import Frame, Mask
from stellar_arrow_source.tables.relations import ENVELOPE, OPERATION, PARAMETER, READ_ONLY_KEY, READ_WRITE_KEY
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import Relation, readers
from stellar_arrow_source.xdr.scval import scval_json
from stellar_arrow_source.xdr.sha256 import hash_spans, opaque_hashes
from stellar_arrow_source.xdr.strkey import Version

_SOROBAN_TYPES: Final = (
    OperationType.INVOKE_HOST_FUNCTION,
    OperationType.EXTEND_FOOTPRINT_TTL,
    OperationType.RESTORE_FOOTPRINT,
)
_FUNCTION: Final = "invokeHostFunctionOp.hostFunction"
_CREATIONS: Final = ("createContract", "createContractV2")
_INVOKE: Final = HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT
_CREATE_V2: Final = HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT_V2
_CONTRACT_ADDRESS: Final = 1  # SC_ADDRESS_TYPE_CONTRACT


def invoke(*paths: str) -> ByOperation:
    """Paths below the InvokeHostFunctionOp's host function."""
    return ByOperation({OperationType.INVOKE_HOST_FUNCTION: tuple(f"{_FUNCTION}.{path}" for path in paths)})


def _creation(path: str) -> ByOperation:
    return invoke(*(f"{arm}.{path}" for arm in _CREATIONS))


_HOST_FUNCTION = ByOperation({OperationType.INVOKE_HOST_FUNCTION: _FUNCTION})
_INVOKED = invoke("invokeContract.contractAddress")
_INVOKED_CONTRACT = Where(Plus(_INVOKED, 1), lambda frame: frame.words(_INVOKED) == _CONTRACT_ADDRESS)
_PREIMAGE = _creation("contractIDPreimage")
_PREIMAGE_END = End(OPERATION, *(f"body.{_FUNCTION}.{arm}.contractIDPreimage" for arm in _CREATIONS))
CREATED_FROM_ASSET: Final = _creation("contractIDPreimage.fromAsset")
_WASM_HASH = _creation("executable.wasm_hash")
_WASM = invoke("wasm")
_PARAMETER = At(PARAMETER)
_SOROBAN_DATA = At(ENVELOPE, "ext.sorobanData.resources.footprint.readOnly")


def _read_contract_id(frame: Frame) -> pa.Array:
    invoked = readers.strkey(frame.batch.words, frame.positions(_INVOKED_CONTRACT), Version.CONTRACT)
    preimage = frame.positions(_PREIMAGE)
    if not preimage.any():
        return invoked
    # HashIDPreimage: ENVELOPE_TYPE_CONTRACT_ID, network id, ContractIDPreimage
    tag = int(EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID).to_bytes(4, "big")
    prefix = np.frombuffer(tag + frame.batch.network_id, np.uint32)
    digests = hash_spans(frame.batch.words, preimage, frame.positions(_PREIMAGE_END), prefix)
    words, positions = as_words(digests, preimage > 0)
    return either(invoked, readers.strkey(words, positions, Version.CONTRACT))


def _read_code_hash(frame: Frame) -> pa.Array:
    created = readers.fixed(frame.batch.words, frame.positions(_WASM_HASH), 32)
    wasm = frame.positions(_WASM)
    if not wasm.any():
        return created
    words, positions = as_words(opaque_hashes(frame.batch.words, wasm), wasm > 0)
    return either(created, readers.fixed(words, positions, 32))


def _read_parameters(frame: Frame) -> pa.Array:
    def read(parameters: Frame) -> pa.Array:
        return scval_json(frame.batch.words, parameters.positions(_PARAMETER))

    function = frame.words(_HOST_FUNCTION)
    present = frame.of_types((OperationType.INVOKE_HOST_FUNCTION,))
    present &= (function == _INVOKE) | (function == _CREATE_V2)
    return listing(frame, PARAMETER, OPERATION, read, present, pa.list_(pa.string()))


def _has_footprint(frame: Frame) -> Mask:
    if not frame.has_types(_SOROBAN_TYPES):
        return np.zeros(frame.length, np.bool_)
    return frame.of_types(_SOROBAN_TYPES) & (frame.positions(_SOROBAN_DATA) > 0)


def _footprint(relation: Relation, name: str) -> Column:
    key, key_end = At(relation), End(relation)
    read_keys: Callable[[Frame], pa.Array] = hash_rows(key, key_end)

    def read(frame: Frame) -> pa.Array:
        return listing(frame, relation, ENVELOPE, read_keys, _has_footprint(frame), pa.list_(HASH))

    return derived(
        f"footprint_{name}",
        pa.list_(HASH),
        read,
        f"SHA-256 of each key of the transaction's {name.replace('_', '-')} footprint: the keyHash of its TTL entry",
        key,
        key_end,
        _SOROBAN_DATA,
        nullable=True,
    )


SOROBAN_COLUMNS: Final[tuple[Column, ...]] = (
    enumeration(
        "host_function_type",
        enum_table("HostFunctionType"),
        _HOST_FUNCTION,
        "kind of host function, as the XDR member is named",
        nullable=True,
    ),
    derived(
        "contract_id",
        pa.string(),
        _read_contract_id,
        "contract invoked or created",
        _INVOKED_CONTRACT,
        _PREIMAGE,
        _PREIMAGE_END,
        nullable=True,
    ),
    text("function_name", invoke("invokeContract.functionName"), "function invoked", nullable=True),
    derived(
        "parameters",
        pa.list_(pa.string()),
        _read_parameters,
        "arguments of the invocation or constructor, each as XDR-JSON (SEP-51)",
        _HOST_FUNCTION,
        _PARAMETER,
        nullable=True,
    ),
    derived(
        "contract_code_hash",
        HASH,
        _read_code_hash,
        "hash of the Wasm code: of the contract created, or of the code uploaded",
        _WASM_HASH,
        _WASM,
        nullable=True,
    ),
    strings(
        "contract_deployer",
        readers.address,
        _creation("contractIDPreimage.fromAddress.address"),
        "address that a contract's id derives from",
        nullable=True,
    ),
    digest(
        "contract_salt",
        _creation("contractIDPreimage.fromAddress.salt"),
        "salt that a contract's id derives from",
        nullable=True,
    ),
    number(
        "auth_count",
        pa.uint32(),
        ByOperation({OperationType.INVOKE_HOST_FUNCTION: "invokeHostFunctionOp.auth"}),
        "authorization entries of the invocation",
        nullable=True,
    ),
    _footprint(READ_ONLY_KEY, "read_only"),
    _footprint(READ_WRITE_KEY, "read_write"),
    number(
        "extend_to",
        pa.uint32(),
        ByOperation({OperationType.EXTEND_FOOTPRINT_TTL: "extendFootprintTTLOp.extendTo"}),
        "ledgers from now to which the entries' life is extended",
        nullable=True,
        unit="ledger",
    ),
)
