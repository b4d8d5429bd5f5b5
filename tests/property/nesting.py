"""Ledgers whose recursive types nest as deep as asked, put together from bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from stellar_sdk import xdr

from tests.differential.expected.join import transaction_hash
from tests.support.generate import Generator
from tests.support.made_ledgers import operation_result

MARK = 0x5EED_FACE_0DDB_A11
"""A number that stands where the nested value goes, in whatever form its type has."""


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def vectors(depth: int) -> bytes:
    """SCVal: a vector of one vector of one vector …"""
    return words(16, 1, 1) * depth + words(1)


def maps(depth: int) -> bytes:
    """SCVal: a map whose only value is a map …, every key void."""
    return words(17, 1, 1, 1) * depth + words(1)


def map_keys(depth: int) -> bytes:
    """SCVal: a map whose only key is a map …, every value void."""
    return words(17, 1, 1) * depth + words(1) + words(1) * depth


def negations(depth: int) -> bytes:
    """ClaimPredicate: not not not … unconditional."""
    return words(3, 1) * depth + words(0)


def conjunctions(depth: int) -> bytes:
    """ClaimPredicate: and of one and of one …"""
    return words(1, 1) * depth + words(0)


def invocations(depth: int) -> bytes:
    """SorobanAuthorizedInvocation: each with one below it."""
    call = words(0, 1) + bytes(32) + words(1) + b"f\0\0\0" + words(0)
    return (call + words(1)) * depth + call + words(0)


def nested_value(nest: bytes) -> tuple[Any, bytes, bytes]:
    """An operation with the nest as an argument: (operation, what stands for it, the nest)."""
    placeholder = xdr.SCVal(xdr.SCValType.SCV_U64, u64=xdr.Uint64(MARK))
    contract = xdr.SCAddress(xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT, contract_id=xdr.ContractID(zero_hash()))
    call = xdr.InvokeContractArgs(contract, xdr.SCSymbol(b"deep"), [placeholder])
    function = xdr.HostFunction(xdr.HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT, invoke_contract=call)
    body = xdr.InvokeHostFunctionOp(function, [])
    return operation("INVOKE_HOST_FUNCTION", invoke_host_function_op=body), placeholder.to_xdr_bytes(), nest


def nested_predicate(nest: bytes) -> tuple[Any, bytes, bytes]:
    kind = xdr.ClaimPredicateType.CLAIM_PREDICATE_BEFORE_ABSOLUTE_TIME
    placeholder = xdr.ClaimPredicate(kind, abs_before=xdr.Int64(MARK))
    claimant = xdr.ClaimantV0(zero_account(), placeholder)
    claimants = [xdr.Claimant(xdr.ClaimantType.CLAIMANT_TYPE_V0, v0=claimant)]
    native = xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)
    body = xdr.CreateClaimableBalanceOp(native, xdr.Int64(1), claimants)
    found = operation("CREATE_CLAIMABLE_BALANCE", create_claimable_balance_op=body)
    return found, placeholder.to_xdr_bytes(), nest


def nested_invocation(nest: bytes) -> tuple[Any, bytes, bytes]:
    contract = xdr.SCAddress(xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT, contract_id=xdr.ContractID(zero_hash()))
    argument = xdr.SCVal(xdr.SCValType.SCV_U64, u64=xdr.Uint64(MARK))
    call = xdr.InvokeContractArgs(contract, xdr.SCSymbol(b"deep"), [argument])
    kind = xdr.SorobanAuthorizedFunctionType.SOROBAN_AUTHORIZED_FUNCTION_TYPE_CONTRACT_FN
    placeholder = xdr.SorobanAuthorizedInvocation(xdr.SorobanAuthorizedFunction(kind, contract_fn=call), [])
    source = xdr.SorobanCredentials(xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT)
    function = xdr.HostFunction(xdr.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=b"")
    body = xdr.InvokeHostFunctionOp(function, [xdr.SorobanAuthorizationEntry(source, placeholder)])
    return operation("INVOKE_HOST_FUNCTION", invoke_host_function_op=body), placeholder.to_xdr_bytes(), nest


NESTS: dict[str, Callable[[int], tuple[Any, bytes, bytes]]] = {
    "SCVal vectors": lambda depth: nested_value(vectors(depth)),
    "SCVal map values": lambda depth: nested_value(maps(depth)),
    "SCVal map keys": lambda depth: nested_value(map_keys(depth)),
    "ClaimPredicate not": lambda depth: nested_predicate(negations(depth)),
    "ClaimPredicate and": lambda depth: nested_predicate(conjunctions(depth)),
    "SorobanAuthorizedInvocation": lambda depth: nested_invocation(invocations(depth)),
}


def operation(kind: str, **body: Any) -> Any:
    return xdr.Operation(None, xdr.OperationBody(xdr.OperationType[kind], **body))


def zero_hash() -> Any:
    return xdr.Hash(bytes(32))


def zero_account() -> Any:
    return xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, xdr.Uint256(bytes(32))))


def nested_ledger(kind: str, depth: int, network_id: bytes) -> bytes:
    """LedgerCloseMeta V0 of one transaction with one operation that nests to ``depth``."""
    return ledger_around(*NESTS[kind](depth), network_id)


def ledger_around(found: Any, placeholder: bytes, nest: bytes, network_id: bytes) -> bytes:
    """LedgerCloseMeta V0 of one operation, with ``nest`` where it holds ``placeholder``."""
    draw = Generator(1, budget=0)
    tx = draw.make(xdr.Transaction, operations=[found])
    envelope = xdr.TransactionEnvelope(
        xdr.EnvelopeType.ENVELOPE_TYPE_TX, v1=xdr.TransactionV1Envelope(tx, signatures=[])
    )
    header = draw.make(xdr.LedgerHeaderHistoryEntry)
    header.header.ledger_seq = xdr.Uint32(7)
    header.header.scp_value.close_time = xdr.TimePoint(xdr.Uint64(7))
    results = [operation_result(draw, found, successful=True)]
    outcome = xdr.TransactionResultResult(xdr.TransactionResultCode.txSUCCESS, results=results)
    result = draw.make(xdr.TransactionResult, result=outcome)
    plain_hash = transaction_hash(envelope, network_id)
    meta = draw.make(xdr.TransactionResultMeta, result=xdr.TransactionResultPair(xdr.Hash(plain_hash), result))
    body = xdr.LedgerCloseMetaV0(header, xdr.TransactionSet(zero_hash(), [envelope]), [meta], [], [])
    whole = xdr.LedgerCloseMeta(0, v0=body).to_xdr_bytes()
    assert whole.count(placeholder) == 1
    tagged = network_id + xdr.EnvelopeType.ENVELOPE_TYPE_TX.to_bytes(4, "big") + tx.to_xdr_bytes()
    true_hash = sha256(tagged.replace(placeholder, nest)).digest()
    return bytes(whole.replace(placeholder, nest).replace(plain_hash, true_hash))


VALUES: dict[str, Callable[[int], bytes]] = {"vectors": vectors, "map values": maps, "map keys": map_keys}


def nested_entry(nest: bytes, place: str) -> bytes:
    """LedgerCloseMeta V0 of no transaction and one upgrade, that makes contract data whose ``key`` or ``val`` is the
    nest, or an instance that stores it as ``storage``."""
    draw = Generator(1, budget=0)
    placeholder = xdr.SCVal(xdr.SCValType.SCV_U64, u64=xdr.Uint64(MARK))
    contract = xdr.SCAddress(xdr.SCAddressType.SC_ADDRESS_TYPE_CONTRACT, contract_id=xdr.ContractID(zero_hash()))
    void = xdr.SCVal(xdr.SCValType.SCV_VOID)
    executable = xdr.ContractExecutable(xdr.ContractExecutableType.CONTRACT_EXECUTABLE_STELLAR_ASSET)
    instance = xdr.SCContractInstance(executable, xdr.SCMap([xdr.SCMapEntry(placeholder, void)]))
    stored = xdr.SCVal(xdr.SCValType.SCV_CONTRACT_INSTANCE, instance=instance)
    entry = draw.make(
        xdr.ContractDataEntry,
        contract=contract,
        key=placeholder if place == "key" else void,
        durability=xdr.ContractDataDurability.PERSISTENT,
        val={"val": placeholder, "storage": stored}.get(place, void),
    )
    data = xdr.LedgerEntryData(xdr.LedgerEntryType.CONTRACT_DATA, contract_data=entry)
    made = xdr.LedgerEntryChange(
        xdr.LedgerEntryChangeType.LEDGER_ENTRY_CREATED, created=draw.make(xdr.LedgerEntry, data=data)
    )
    upgrade = draw.make(xdr.UpgradeEntryMeta, changes=xdr.LedgerEntryChanges([made]))
    header = draw.make(xdr.LedgerHeaderHistoryEntry)
    header.header.scp_value.close_time = xdr.TimePoint(xdr.Uint64(7))
    body = xdr.LedgerCloseMetaV0(header, xdr.TransactionSet(zero_hash(), []), [], [upgrade], [])
    whole = xdr.LedgerCloseMeta(0, v0=body).to_xdr_bytes()
    assert whole.count(placeholder.to_xdr_bytes()) == 1
    return bytes(whole.replace(placeholder.to_xdr_bytes(), nest))
