"""The columns of ``operations`` that the Soroban operations fill."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from stellar_sdk import StrKey, xdr
from stellar_sdk.xdr import HostFunctionType

from .join import Operation
from .values import asset_columns, compact_json, digest, plain, sc_address, text51


def extend_footprint_ttl(op: Operation) -> dict[str, Any]:
    return {"extend_to": plain(op.body.extend_to)}


def invoke_host_function(op: Operation) -> dict[str, Any]:
    function = op.body.host_function
    columns = {"host_function_type": function.type.name, "auth_count": len(op.body.auth)}
    match function.type:
        case HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT:
            return columns | invocation(function.invoke_contract)
        case HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT:
            return columns | creation(op, function.create_contract)
        case HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT_V2:
            arguments = function.create_contract_v2.constructor_args
            parameters = [compact_json(value) for value in arguments]
            return columns | creation(op, function.create_contract_v2) | {"parameters": parameters}
        case HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM:
            return columns | {"contract_code_hash": sha256(function.wasm).digest()}
    raise AssertionError(function.type)


def invocation(call: Any) -> dict[str, Any]:
    is_contract = call.contract_address.type == xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT
    return {
        "contract_id": sc_address(call.contract_address) if is_contract else None,
        "function_name": text51(plain(call.function_name)),
        "parameters": [compact_json(value) for value in call.args],
    }


def creation(op: Operation, arguments: Any) -> dict[str, Any]:
    preimage = arguments.contract_id_preimage
    identity = xdr.HashIDPreimage(
        xdr.EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID,
        contract_id=xdr.HashIDPreimageContractID(xdr.Hash(op.transaction.ledger.network_id), preimage),
    )
    columns = {
        "contract_id": StrKey.encode_contract(digest(identity)),
        "contract_code_hash": plain(arguments.executable.wasm_hash),
    }
    if preimage.from_asset is not None:
        return columns | asset_columns("asset", preimage.from_asset)
    return columns | {
        "contract_deployer": sc_address(preimage.from_address.address),
        "contract_salt": plain(preimage.from_address.salt),
    }
