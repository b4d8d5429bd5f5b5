"""The stream ``operations``: one row per operation, failed transactions' too, in apply order."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.claimants import claimants
from stellar_arrow_source.tables.columns import (
    ASSET_STRUCT,
    account,
    amount,
    as_words,
    asset,
    asset_struct,
    at,
    derived,
    either,
    enum_table,
    enumeration,
    listing,
    muxed_pair,
    number,
    raw,
    strings,
    text,
)  # fmt: skip
from stellar_arrow_source.tables.common import LEDGER_COLUMNS, TRANSACTION_COLUMNS, TRANSACTION_HASH, TX_SUCCESSFUL
from stellar_arrow_source.tables.expressions import At, ByOperation, End, Expression, FirstOf, Plus
from stellar_arrow_source.tables.frame import OPERATION_BODY, OPERATION_NEEDS, OPERATION_RESULT, Frame
from stellar_arrow_source.tables.operation_facts import (
    AMOUNT,
    ASSET,
    DESTINATION,
    IMPLIED_READS,
    OPERATION_COLUMNS,
    OPERATION_TYPE,
    REVOKED_KEY,
    SOURCE_AMOUNT,
    SOURCE_ASSET,
    SOURCE_COLUMNS,
    SUCCESSFUL,
    implied_assets,
)  # fmt: skip
from stellar_arrow_source.tables.relations import CLAIMANT, OP_RESULT, OPERATION, PATH_ASSET
from stellar_arrow_source.tables.results import CREATED_BALANCE, CREATED_OFFER, TRACE_CODES, trace_codes
from stellar_arrow_source.tables.soroban import SOROBAN_COLUMNS
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.readers import EnumTable
from stellar_arrow_source.xdr.schema import enum_names
from stellar_arrow_source.xdr.sha256 import hash_spans
from stellar_arrow_source.xdr.strkey import Version

_T = OperationType
_PATH_PAYMENTS: Final = (_T.PATH_PAYMENT_STRICT_RECEIVE, _T.PATH_PAYMENT_STRICT_SEND)
_PATH = pa.list_(ASSET_STRUCT)
_PATH_ASSET = At(PATH_ASSET)


def _read_path(frame: Frame) -> pa.Array:
    def read(assets: Frame) -> pa.Array:
        return asset_struct(frame.batch.words, assets.positions(_PATH_ASSET))

    present = frame.of_types(_PATH_PAYMENTS)
    return listing(frame, PATH_ASSET, OPERATION, read, present, _PATH)


def _offer(field: str) -> ByOperation:
    return ByOperation(
        {
            _T.MANAGE_SELL_OFFER: f"manageSellOfferOp.{field}",
            _T.CREATE_PASSIVE_SELL_OFFER: f"createPassiveSellOfferOp.{field}",
            _T.MANAGE_BUY_OFFER: f"manageBuyOfferOp.{field}",
        }
    )


def _price(prefix: str, where: Expression, description: str) -> tuple[Column, Column]:
    return (
        number(f"{prefix}price_n", pa.int32(), where, f"{description}: numerator", nullable=True),
        number(f"{prefix}price_d", pa.int32(), Plus(where, 1), f"{description}: denominator", nullable=True),
    )


def _option(field: str) -> ByOperation:
    return ByOperation({_T.SET_OPTIONS: f"setOptionsOp.{field}"})


def _key(path: str) -> str:
    return f"{REVOKED_KEY}.{path}"


# -- revoke_sponsorship

_LEDGER_KEY = ByOperation({_T.REVOKE_SPONSORSHIP: REVOKED_KEY})
_REVOKED_SIGNER = ByOperation({_T.REVOKE_SPONSORSHIP: "revokeSponsorshipOp.signer.accountID"})
_SIGNER_CODE: Final = 255
_SPONSORSHIP_TYPES = EnumTable.from_mapping(
    {code: name.lower() for code, name in enum_names("LedgerEntryType").items()} | {_SIGNER_CODE: "signer"}
)


def _read_sponsorship_type(frame: Frame) -> pa.Array:
    if not frame.has_types((_T.REVOKE_SPONSORSHIP,)):
        return frame.nulls(pa.string())
    of_signer = np.where(frame.positions(_REVOKED_SIGNER) > 0, _SIGNER_CODE, -1)
    return readers.enum(
        np.where(frame.positions(_LEDGER_KEY) > 0, frame.words(_LEDGER_KEY), of_signer), _SPONSORSHIP_TYPES
    )


# -- liquidity pools

_POOL_ID = ByOperation(
    {
        _T.LIQUIDITY_POOL_DEPOSIT: "liquidityPoolDepositOp.liquidityPoolID",
        _T.LIQUIDITY_POOL_WITHDRAW: "liquidityPoolWithdrawOp.liquidityPoolID",
        _T.REVOKE_SPONSORSHIP: (_key("liquidityPool.liquidityPoolID"), _key("trustLine.asset.liquidityPoolID")),
    }
)
_POOL: Final = "changeTrustOp.line.liquidityPool"
_POOL_PARAMETERS = ByOperation({_T.CHANGE_TRUST: _POOL})
_POOL_PARAMETERS_END = End(OPERATION, f"body.{_POOL}")


def _read_pool_id(frame: Frame) -> pa.Array:
    named = readers.strkey(frame.batch.words, frame.positions(_POOL_ID), Version.LIQUIDITY_POOL)
    parameters = frame.positions(_POOL_PARAMETERS)
    if not parameters.any():
        return named
    digests = hash_spans(frame.batch.words, parameters, frame.positions(_POOL_PARAMETERS_END))
    words, positions = as_words(digests, parameters > 0)
    return either(named, readers.strkey(words, positions, Version.LIQUIDITY_POOL))


def _pool(field: str) -> ByOperation:
    return ByOperation({_T.CHANGE_TRUST: f"{_POOL}.constantProduct.{field}"})


def _deposit(field: str) -> ByOperation:
    return ByOperation({_T.LIQUIDITY_POOL_DEPOSIT: f"liquidityPoolDepositOp.{field}"})


def _withdraw(field: str) -> ByOperation:
    return ByOperation({_T.LIQUIDITY_POOL_WITHDRAW: f"liquidityPoolWithdrawOp.{field}"})


_DATA_VALUE = ByOperation({_T.MANAGE_DATA: "manageDataOp.dataValue?"})

OPERATIONS: Final = Stream(
    name="operations",
    description="one row per operation, failed transactions' too, in apply order",
    frame=lambda batch: batch.operations,
    reads=OPERATION_NEEDS,
    columns=(
        *LEDGER_COLUMNS,
        *TRANSACTION_COLUMNS,
        *OPERATION_COLUMNS,
        TRANSACTION_HASH,
        number("operation_type", pa.int32(), OPERATION_BODY, "code of the operation's type"),
        OPERATION_TYPE,
        *SOURCE_COLUMNS,
        TX_SUCCESSFUL,
        SUCCESSFUL,
        enumeration(
            "operation_result_code",
            enum_table("OperationResultCode"),
            OPERATION_RESULT,
            "outer result, as the XDR member is named; null when the transaction has no operation results",
            nullable=True,
        ),
        derived(
            "operation_trace_code",
            pa.string(),
            lambda frame: readers.enum(trace_codes(frame), TRACE_CODES),
            "inner result, as the XDR member is named; null unless opINNER",
            nullable=True,
        ),
        *muxed_pair("destination", DESTINATION, "account that receives", nullable=True),
        *asset(ASSET, "the operation's asset", adjust=implied_assets, also=IMPLIED_READS),
        amount(
            "amount",
            AMOUNT,
            "the operation's amount; of strict-send and account_merge, what the destination got (null if failed)",
            nullable=True,
        ),
        *asset(SOURCE_ASSET, "the asset that a path payment sends", "source_"),
        SOURCE_AMOUNT,
        amount(
            "source_max",
            ByOperation({_T.PATH_PAYMENT_STRICT_RECEIVE: "pathPaymentStrictReceiveOp.sendMax"}),
            "most that a strict-receive payment may send",
            nullable=True,
        ),
        amount(
            "destination_min",
            ByOperation({_T.PATH_PAYMENT_STRICT_SEND: "pathPaymentStrictSendOp.destMin"}),
            "least that a strict-send payment must deliver",
            nullable=True,
        ),
        derived(
            "path",
            _PATH,
            _read_path,
            "assets that a path payment goes through",
            _PATH_ASSET,
            nullable=True,
        ),
        amount(
            "starting_balance",
            ByOperation({_T.CREATE_ACCOUNT: "createAccountOp.startingBalance"}),
            "balance of the account created",
            nullable=True,
        ),
        number(
            "offer_id",
            pa.int64(),
            ByOperation(
                {
                    _T.MANAGE_SELL_OFFER: "manageSellOfferOp.offerID",
                    _T.MANAGE_BUY_OFFER: "manageBuyOfferOp.offerID",
                    _T.REVOKE_SPONSORSHIP: _key("offer.offerID"),
                }
            ),
            "offer that the operation names; 0 asks for a new one",
            nullable=True,
        ),
        number("created_offer_id", pa.int64(), CREATED_OFFER, "offer that the operation created", nullable=True),
        *_price("", _offer("price"), "price of the offer"),
        *asset(_offer("selling"), "the asset that an offer sells", "selling_"),
        *asset(_offer("buying"), "the asset that an offer buys", "buying_"),
        amount("limit", ByOperation({_T.CHANGE_TRUST: "changeTrustOp.limit"}), "limit of a trust line", nullable=True),
        account(
            "trustor",
            Plus(
                ByOperation(
                    {_T.ALLOW_TRUST: "allowTrustOp.trustor", _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.trustor"}
                ),
                1,
            ),
            "account whose trust line is changed by the issuer",
            nullable=True,
        ),
        number(
            "authorize",
            pa.uint32(),
            ByOperation({_T.ALLOW_TRUST: "allowTrustOp.authorize"}),
            "flags that allow_trust sets",
            nullable=True,
        ),
        number(
            "set_flags",
            pa.uint32(),
            ByOperation(
                {_T.SET_OPTIONS: "setOptionsOp.setFlags?", _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.setFlags"}
            ),
            "flags set",
            nullable=True,
        ),
        number(
            "clear_flags",
            pa.uint32(),
            ByOperation(
                {_T.SET_OPTIONS: "setOptionsOp.clearFlags?", _T.SET_TRUST_LINE_FLAGS: "setTrustLineFlagsOp.clearFlags"}
            ),
            "flags cleared",
            nullable=True,
        ),
        account(
            "inflation_destination", Plus(_option("inflationDest?"), 1), "inflation destination set", nullable=True
        ),
        *(
            number(name, pa.uint32(), _option(f"{field}?"), f"{text} set", nullable=True)
            for name, field, text in (
                ("master_key_weight", "masterWeight", "weight of the master key"),
                ("low_threshold", "lowThreshold", "low threshold"),
                ("med_threshold", "medThreshold", "medium threshold"),
                ("high_threshold", "highThreshold", "high threshold"),
            )
        ),
        text("home_domain", _option("homeDomain?"), "home domain set", nullable=True),
        strings(
            "signer_key",
            readers.signer_key,
            ByOperation(
                {_T.SET_OPTIONS: "setOptionsOp.signer?", _T.REVOKE_SPONSORSHIP: "revokeSponsorshipOp.signer.signerKey"}
            ),
            "signer set, or whose sponsorship is revoked; a strkey",
            nullable=True,
        ),
        number(
            "signer_weight", pa.uint32(), _option("signer.weight"), "weight of the signer; 0 removes it", nullable=True
        ),
        text(
            "data_name",
            ByOperation({_T.MANAGE_DATA: "manageDataOp.dataName", _T.REVOKE_SPONSORSHIP: _key("data.dataName")}),
            "name of a data entry",
            nullable=True,
        ),
        derived(
            "data_value",
            pa.binary(),
            at(pa.binary(), readers.binary, _DATA_VALUE),
            "value of a data entry; null removes it",
            _DATA_VALUE,
            nullable=True,
        ),
        number(
            "bump_to",
            pa.int64(),
            ByOperation({_T.BUMP_SEQUENCE: "bumpSequenceOp.bumpTo"}),
            "sequence number bumped to",
            nullable=True,
        ),
        strings(
            "balance_id",
            readers.claimable_balance,
            FirstOf(
                ByOperation(
                    {
                        _T.CLAIM_CLAIMABLE_BALANCE: "claimClaimableBalanceOp.balanceID",
                        _T.CLAWBACK_CLAIMABLE_BALANCE: "clawbackClaimableBalanceOp.balanceID",
                        _T.REVOKE_SPONSORSHIP: _key("claimableBalance.balanceID"),
                    }
                ),
                CREATED_BALANCE,
            ),
            "claimable balance named, or created; a B strkey",
            nullable=True,
        ),
        claimants(CLAIMANT, OPERATION, lambda frame: frame.of_types((_T.CREATE_CLAIMABLE_BALANCE,))),
        account(
            "sponsored_id",
            Plus(ByOperation({_T.BEGIN_SPONSORING_FUTURE_RESERVES: "beginSponsoringFutureReservesOp.sponsoredID"}), 1),
            "account whose reserves are sponsored",
            nullable=True,
        ),
        derived(
            "sponsorship_entry_type",
            pa.string(),
            _read_sponsorship_type,
            "type of the ledger entry whose sponsorship is revoked, or signer",
            _LEDGER_KEY,
            _REVOKED_SIGNER,
            nullable=True,
        ),
        account(
            "sponsorship_account",
            Plus(
                FirstOf(
                    ByOperation(
                        {
                            _T.REVOKE_SPONSORSHIP: (
                                _key("account.accountID"),
                                _key("trustLine.accountID"),
                                _key("offer.sellerID"),
                                _key("data.accountID"),
                            )
                        }
                    ),
                    _REVOKED_SIGNER,
                ),
                1,
            ),
            "account that holds the entry or signer whose sponsorship is revoked",
            nullable=True,
        ),
        *muxed_pair(
            "from_account", ByOperation({_T.CLAWBACK: "clawbackOp.from_"}), "account clawed back from", nullable=True
        ),
        derived(
            "liquidity_pool_id",
            pa.string(),
            _read_pool_id,
            "liquidity pool; an L strkey",
            _POOL_ID,
            _POOL_PARAMETERS,
            _POOL_PARAMETERS_END,
            nullable=True,
        ),
        *asset(_pool("assetA"), "the first asset of the pool trusted", "reserve_a_"),
        *asset(_pool("assetB"), "the second asset of the pool trusted", "reserve_b_"),
        number(
            "liquidity_pool_fee", pa.int32(), _pool("fee"), "fee of the pool trusted", nullable=True, unit="basis point"
        ),
        amount("reserve_a_max_amount", _deposit("maxAmountA"), "most of the first asset to deposit", nullable=True),
        amount("reserve_b_max_amount", _deposit("maxAmountB"), "most of the second asset to deposit", nullable=True),
        *_price("min_", _deposit("minPrice"), "least price of a deposit"),
        *_price("max_", _deposit("maxPrice"), "greatest price of a deposit"),
        amount("shares", _withdraw("amount"), "pool shares to withdraw", nullable=True),
        amount("reserve_a_min_amount", _withdraw("minAmountA"), "least of the first asset to get", nullable=True),
        amount("reserve_b_min_amount", _withdraw("minAmountB"), "least of the second asset to get", nullable=True),
        *SOROBAN_COLUMNS,
        raw("operation_xdr", At(OPERATION), End(OPERATION), "Operation"),
        raw("operation_result_xdr", OPERATION_RESULT, End(OP_RESULT), "OperationResult", nullable=True),
    ),
)
