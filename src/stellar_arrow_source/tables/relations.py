"""The relations of a ledger that streams are made of; which of their paths are marked follows from the columns."""

from __future__ import annotations

from typing import Final

from stellar_arrow_source.xdr import Relation

LEDGER: Final = Relation("ledger", anchors=("LedgerCloseMeta",), strip=("v0", "v1", "v2"))

ENVELOPE: Final = Relation(
    "envelope", anchors=("TransactionEnvelope",), strip=("v0.tx", "v1.tx", "feeBump.tx.innerTx.v1.tx")
)
"""Transactions as submitted, in the order of the transaction set; of a fee bump, the inner transaction's fields."""

TX_RESULT: Final = Relation("tx_result", anchors=("TransactionResultMeta", "TransactionResultMetaV1"))
"""Results with their meta, in apply order."""

OPERATION: Final = Relation("operation", anchors=("Operation",), overlay=("body",), exclusive=("body",))

OP_RESULT: Final = Relation("op_result", anchors=("OperationResult",), overlay=("", "tr"))

CLAIM_ATOM: Final = Relation(
    "claim_atom", anchors=("ClaimAtom",), strip=("v0", "orderBook", "liquidityPool"), overlay=("",)
)

CHANGE: Final = Relation(
    "change",
    anchors=("LedgerEntryChange",),
    strip=("created", "updated", "state", "restored"),
    overlay=("", "data", "removed"),
)
"""Every change of a ledger entry, wherever it stands; its parent is the relation that the site names."""

OPERATION_META: Final = Relation("operation_meta", anchors=("OperationMeta", "OperationMetaV2"))

UPGRADE: Final = Relation("upgrade", anchors=("UpgradeEntryMeta",))

CONTRACT_EVENT: Final = Relation("contract_event", anchors=("ContractEvent",))
"""Events of every kind; the site tells whether of an operation, a transaction or for diagnosis."""

TRANSACTION_EVENT: Final = Relation("transaction_event", anchors=("TransactionEvent",))

DIAGNOSTIC_EVENT: Final = Relation("diagnostic_event", anchors=("DiagnosticEvent",))

FEE_CHANGE: Final = Relation(
    "fee_change",
    sites=(
        ("tx_result", "feeProcessing"),
        ("tx_result", "postTxApplyFeeProcessing"),
        ("tx_result", "txApplyProcessing.v3.txChangesAfter"),
        ("tx_result", "txApplyProcessing.v4.txChangesAfter"),
    ),
    type="LedgerEntryChange",
    strip=("created", "updated", "state", "restored"),
    overlay=("", "data"),
)
"""Changes by which fees are charged and refunded; a program that has all changes takes them from there."""

EVICTED_KEY: Final = Relation("evicted_key", sites=(("ledger", "evictedKeys"),), type="LedgerKey")

READ_ONLY_KEY: Final = Relation(
    "read_only_key",
    sites=(("envelope", "ext.sorobanData.resources.footprint.readOnly"),),
    type="LedgerKey",
)

READ_WRITE_KEY: Final = Relation(
    "read_write_key",
    sites=(("envelope", "ext.sorobanData.resources.footprint.readWrite"),),
    type="LedgerKey",
)

ARCHIVED_ENTRY: Final = Relation(
    "archived_entry",
    sites=(("envelope", "ext.sorobanData.ext.resourceExt.archivedSorobanEntries"),),
    type="uint32",
)

EXTRA_SIGNER: Final = Relation("extra_signer", sites=(("envelope", "cond.v2.extraSigners"),), type="SignerKey")

PATH_ASSET: Final = Relation(
    "path_asset",
    sites=(
        ("operation", "body.pathPaymentStrictReceiveOp.path"),
        ("operation", "body.pathPaymentStrictSendOp.path"),
    ),
    type="Asset",
)

CLAIMANT: Final = Relation(
    "claimant", sites=(("operation", "body.createClaimableBalanceOp.claimants"),), type="Claimant"
)

PARAMETER: Final = Relation(
    "parameter",
    sites=(
        ("operation", "body.invokeHostFunctionOp.hostFunction.invokeContract.args"),
        ("operation", "body.invokeHostFunctionOp.hostFunction.createContractV2.constructorArgs"),
    ),
    type="SCVal",
)

SIGNER: Final = Relation("signer", sites=(("change", "data.account.signers"),), type="Signer")

SIGNER_SPONSOR: Final = Relation(
    "signer_sponsor",
    sites=(("change", "data.account.ext.v1.ext.v2.signerSponsoringIDs"),),
    type="SponsorshipDescriptor",
)
"""Who sponsors each of the signers, in their order."""

BALANCE_CLAIMANT: Final = Relation(
    "balance_claimant", sites=(("change", "data.claimableBalance.claimants"),), type="Claimant"
)


def _of_setting(name: str, type: str, *paths: str) -> Relation:
    return Relation(name, sites=tuple(("change", f"data.configSetting.{path}") for path in paths), type=type)


COST_PARAM: Final = _of_setting(
    "cost_param", "ContractCostParamEntry", "contractCostParamsCpuInsns", "contractCostParamsMemBytes"
)
STATE_SIZE: Final = _of_setting("state_size", "uint64", "liveSorobanStateSizeWindow")
FROZEN_KEY: Final = _of_setting(
    "frozen_key", "EncodedLedgerKey", "frozenLedgerKeys.keys", "frozenLedgerKeysDelta.keysToFreeze"
)
UNFROZEN_KEY: Final = _of_setting("unfrozen_key", "EncodedLedgerKey", "frozenLedgerKeysDelta.keysToUnfreeze")
BYPASS_TX: Final = _of_setting("bypass_tx", "Hash", "freezeBypassTxs.txHashes", "freezeBypassTxsDelta.addTxs")
REMOVED_BYPASS_TX: Final = _of_setting("removed_bypass_tx", "Hash", "freezeBypassTxsDelta.removeTxs")

RELATIONS: Final = (
    LEDGER, ENVELOPE, TX_RESULT, OPERATION, OP_RESULT, CLAIM_ATOM, OPERATION_META, UPGRADE, CHANGE, CONTRACT_EVENT,
    TRANSACTION_EVENT, DIAGNOSTIC_EVENT, FEE_CHANGE, EVICTED_KEY, READ_ONLY_KEY,
    READ_WRITE_KEY, ARCHIVED_ENTRY, EXTRA_SIGNER, PATH_ASSET, CLAIMANT, PARAMETER,
    SIGNER, SIGNER_SPONSOR, BALANCE_CLAIMANT, COST_PARAM, STATE_SIZE, FROZEN_KEY, UNFROZEN_KEY, BYPASS_TX,
    REMOVED_BYPASS_TX,
)  # fmt: skip
"""Every relation; a program holds those that its columns need, parents of sites included."""
