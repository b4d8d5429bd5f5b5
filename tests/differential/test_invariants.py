"""What must hold between columns by the protocol's own rules, whatever anybody's reading of the XDR."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from stellar_sdk import StrKey, xdr

from tests.support.corpus import PASSPHRASES, ledgers, requires_corpus
from tests.support.decoding import decode_rows

pytestmark = requires_corpus

FOLDERS = [folder for folder in PASSPHRASES if folder != "wrapped-txs"]
"""The wrapped transactions lie in ledgers that were made up around them."""

STREAMS = ("ledgers", "transactions", "operations", "payments")

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=FOLDERS)
def rows(request: pytest.FixtureRequest) -> Rows:
    data = [ledger.xdr for ledger in ledgers(request.param)]
    return decode_rows(data, PASSPHRASES[request.param], STREAMS)


def test_ledger_hash_is_of_the_header(rows: Rows) -> None:
    for row in rows["ledgers"]:
        assert sha256(row["ledger_header_xdr"]).digest() == row["ledger_hash"]


def test_counts_add_up(rows: Rows) -> None:
    for row in rows["ledgers"]:
        total = row["successful_transaction_count"] + row["failed_transaction_count"]
        assert total == row["transaction_count"]
        assert row["operation_count"] <= row["tx_set_operation_count"]
    for stream, count in (("transactions", "transaction_count"), ("operations", "tx_set_operation_count")):
        assert len(rows[stream]) == sum(row[count] for row in rows["ledgers"])
    assert sum(row["successful"] for row in rows["operations"]) == sum(
        row["operation_count"] for row in rows["ledgers"]
    )


def test_fees_add_up(rows: Rows) -> None:
    """What was taken at first, less what was given back, is what the result says was charged (CAP-46-07)."""
    for row in rows["transactions"]:
        if row["inclusion_fee_charged"] is None:
            continue
        taken = row["inclusion_fee_charged"] + row["resource_fee"]
        assert taken - row["resource_fee_refund"] == row["fee_charged"]
        assert 0 < row["inclusion_fee_charged"] <= row["inclusion_fee_bid"]
        if row["refundable_resource_fee_charged"] is not None:
            resources = row["non_refundable_resource_fee_charged"] + row["refundable_resource_fee_charged"]
            assert resources == row["resource_fee"] - row["resource_fee_refund"]


def test_ids_follow_sep_35(rows: Rows) -> None:
    for row in rows["operations"]:
        assert row["transaction_id"] == row["ledger_sequence"] << 32 | row["transaction_index"] << 12
        assert row["operation_id"] == row["transaction_id"] + row["operation_index"]
        assert row["operation_index"] >= 1
    for row in rows["transactions"]:
        assert row["transaction_id"] == row["ledger_sequence"] << 32 | row["transaction_index"] << 12


def test_result_hash_is_of_the_results(rows: Rows) -> None:
    """txSetResultHash commits to all TransactionResultPairs in apply order."""
    at = 0
    for row in rows["ledgers"]:
        pairs = rows["transactions"][at : at + row["transaction_count"]]
        at += row["transaction_count"]
        packed = len(pairs).to_bytes(4, "big") + b"".join(pair["transaction_result_xdr"] for pair in pairs)
        assert sha256(packed).digest() == row["tx_set_result_hash"]


def test_payments_are_the_operations_that_pay(rows: Rows) -> None:
    kinds = {
        "create_account",
        "payment",
        "path_payment_strict_receive",
        "path_payment_strict_send",
        "account_merge",
    }
    paying = [row for row in rows["operations"] if row["operation_type_string"] in kinds]
    shared = [name for name in rows["payments"][0] if name in paying[0]] if paying else []
    assert len(paying) == len(rows["payments"])
    for operation, payment in zip(paying, rows["payments"], strict=True):
        assert {name: operation[name] for name in shared} == {name: payment[name] for name in shared}
        assert payment["payment_type"] == operation["operation_type_string"]


def test_balance_ids_are_derived_from_the_operation() -> None:
    """HashIDPreimage ENVELOPE_TYPE_OP_ID of source, sequence and operation index gives a created balance's id."""
    checked = 0
    for folder in ("testnet-2022", "pubnet"):
        found = decode_rows([ledger.xdr for ledger in ledgers(folder)], PASSPHRASES[folder])
        transactions = {row["transaction_id"]: row for row in found["transactions"]}
        for row in found["operations"]:
            if row["operation_type_string"] != "create_claimable_balance" or row["balance_id"] is None:
                continue
            tx = transactions[row["transaction_id"]]
            account = StrKey.decode_ed25519_public_key(tx["source_account"])
            preimage = xdr.HashIDPreimage(
                xdr.EnvelopeType.ENVELOPE_TYPE_OP_ID,
                operation_id=xdr.HashIDPreimageOperationID(
                    xdr.AccountID(xdr.PublicKey(xdr.PublicKeyType.PUBLIC_KEY_TYPE_ED25519, xdr.Uint256(account))),
                    xdr.SequenceNumber(xdr.Int64(tx["account_sequence"])),
                    xdr.Uint32(row["operation_index"] - 1),
                ),
            )
            digest = sha256(preimage.to_xdr_bytes()).digest()
            assert row["balance_id"] == StrKey.encode_claimable_balance(b"\0" + digest)
            checked += 1
    assert checked > 0
