"""Our ledgers and transactions against the rows of stellar-etl for twelve pubnet ledgers of 2020.

The same ledgers lie in two stores that differ only in their meta (V2 as written then, V4 with events
filled in later). None of stellar-etl's fields here depends on the meta, so both stores must agree with it.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.golden.fields import (
    Row,
    column,
    compare,
    go_enum,
    hexadecimal,
    or_empty,
    or_zero,
    report,
    snake_of_go,
    timestamp,
)
from tests.support.corpus import PUBNET, peer_rows, read, requires_corpus, requires_peers
from tests.support.corpus import files as corpus_files
from tests.support.decoding import decode_rows

pytestmark = [requires_corpus, requires_peers]

STORES = ("pubnet", "pubnet-2020-meta-v2")

LEDGERS = {
    "base_fee": column("base_fee"),
    "base_reserve": column("base_reserve"),
    "closed_at": timestamp,
    "evicted_ledger_keys_hash": column("evicted_ledger_keys_hash"),
    "evicted_ledger_keys_type": column("evicted_ledger_keys_type"),
    "failed_transaction_count": column("failed_transaction_count"),
    "fee_pool": column("fee_pool"),
    "id": lambda row: row["ledger_sequence"] << 32,
    "ledger_hash": hexadecimal("ledger_hash"),
    "ledger_header": lambda row: base64.b64encode(row["ledger_header_xdr"]).decode(),
    "max_tx_set_size": column("max_tx_set_size"),
    "node_id": or_empty("node_id"),
    "operation_count": column("operation_count"),
    "previous_ledger_hash": hexadecimal("previous_ledger_hash"),
    "protocol_version": column("protocol_version"),
    "sequence": column("ledger_sequence"),
    "signature": lambda row: base64.b64encode(row["signature"] or b"").decode(),
    "soroban_fee_write_1kb": or_zero("soroban_fee_write_1kb"),
    "successful_transaction_count": column("successful_transaction_count"),
    # Theirs counts the successful ones only, ours all.
    "transaction_count": column("successful_transaction_count"),
    "total_byte_size_of_live_soroban_state": or_zero("total_byte_size_of_live_soroban_state"),
    "total_coins": column("total_coins"),
    "tx_set_operation_count": lambda row: str(row["tx_set_operation_count"]),
}
LEDGERS_NOT_CARRIED = {
    "total_byte_size_of_bucket_list": "the former name of total_byte_size_of_live_soroban_state",
}


def memo(row: Row) -> str:
    return row["memo"] or ""


def time_bounds(row: Row) -> str:
    """``[min,max)``, the end left out where 0 says that there is none."""
    if row["time_bounds_min"] is None:
        return ""
    return f"[{row['time_bounds_min']},{row['time_bounds_max'] or ''})"


def ledger_bounds(row: Row) -> str:
    assert row["ledger_bounds_min"] is None, "none of these transactions has ledger bounds"
    return ""


TRANSACTIONS = {
    "account": column("source_account"),
    "account_muxed": column("source_account_muxed"),
    "account_sequence": column("account_sequence"),
    "closed_at": timestamp,
    "created_at": timestamp,
    "extra_signers": column("extra_signers"),
    "fee_account": column("fee_account"),
    "fee_account_muxed": column("fee_account_muxed"),
    "fee_charged": column("fee_charged"),
    "id": column("transaction_id"),
    "inclusion_fee_bid": or_zero("inclusion_fee_bid"),
    "inclusion_fee_charged": or_zero("inclusion_fee_charged"),
    "inner_transaction_hash": hexadecimal("inner_transaction_hash"),
    "ledger_bounds": ledger_bounds,
    "ledger_sequence": column("ledger_sequence"),
    "max_fee": column("max_fee"),
    "memo": memo,
    "memo_type": go_enum("memo_type", "MemoType"),
    "min_account_sequence": column("min_account_sequence"),
    "min_account_sequence_age": column("min_account_sequence_age"),
    "min_account_sequence_ledger_gap": column("min_account_sequence_ledger_gap"),
    "new_max_fee": column("new_max_fee"),
    "non_refundable_resource_fee_charged": or_zero("non_refundable_resource_fee_charged"),
    "operation_count": column("operation_count"),
    "refundable_resource_fee_charged": or_zero("refundable_resource_fee_charged"),
    "rent_fee_charged": or_zero("rent_fee_charged"),
    "resource_fee": or_zero("resource_fee"),
    "resource_fee_refund": or_zero("resource_fee_refund"),
    "soroban_resources_archived_entries": column("soroban_resources_archived_entries"),
    "soroban_resources_disk_read_bytes": or_zero("soroban_resources_disk_read_bytes"),
    "soroban_resources_instructions": or_zero("soroban_resources_instructions"),
    "soroban_resources_write_bytes": or_zero("soroban_resources_write_bytes"),
    "successful": column("successful"),
    "time_bounds": time_bounds,
    "transaction_hash": hexadecimal("transaction_hash"),
    "transaction_result_code": go_enum("transaction_result_code", "TransactionResultCode", "tx"),
}
TRANSACTIONS_NOT_CARRIED = {
    "soroban_resources_read_bytes": "the former name of soroban_resources_disk_read_bytes",
    "tx_signers": "signatures (64 bytes) spelt as if they were public keys; nothing in the ledger says that",
}

LEDGER_SEQUENCES = (30820015, *range(30822015, 30822026))


@pytest.fixture(scope="module", params=STORES)
def ours(request: pytest.FixtureRequest) -> dict[str, list[dict[str, Any]]]:
    """Our rows of the twelve ledgers, from one of the stores."""
    wanted = [file for file in corpus_files(request.param) if "--308" in file.rsplit("/", 1)[1]]
    data = sorted((file, ledger.xdr) for file in wanted for ledger in read(file))
    rows = decode_rows([xdr for _, xdr in data], PUBNET, ("ledgers", "transactions"))
    assert sorted(row["ledger_sequence"] for row in rows["ledgers"]) == list(LEDGER_SEQUENCES)
    return rows


def test_ledgers(ours: dict[str, list[dict[str, Any]]]) -> None:
    by_sequence = {row["ledger_sequence"]: row for row in ours["ledgers"]}
    theirs = peer_rows("stellar-etl/ledgers.jsonl.gz")
    assert len(theirs) == 11, "theirs leave 30820015 out"
    found = [
        line
        for row in theirs
        for line in compare(
            f"ledger {row['sequence']}", row, by_sequence[row["sequence"]], LEDGERS, LEDGERS_NOT_CARRIED
        )
    ]
    assert not found, report(found)


def test_transactions(ours: dict[str, list[dict[str, Any]]]) -> None:
    by_hash = {row["transaction_hash"].hex(): row for row in ours["transactions"]}
    theirs = peer_rows("stellar-etl/transactions.jsonl.gz")
    assert {row["transaction_hash"] for row in theirs} == by_hash.keys()
    assert len(theirs) == len(ours["transactions"]) == 709
    found = [
        line
        for row in theirs
        for line in compare(
            f"transaction {row['transaction_hash']}",
            row,
            by_hash[row["transaction_hash"]],
            TRANSACTIONS,
            TRANSACTIONS_NOT_CARRIED,
        )
    ]
    assert not found, report(found)


def test_no_field_is_both_mapped_and_left_out() -> None:
    assert not LEDGERS.keys() & LEDGERS_NOT_CARRIED.keys()
    assert not TRANSACTIONS.keys() & TRANSACTIONS_NOT_CARRIED.keys()


def test_go_names_are_undone() -> None:
    assert snake_of_go("PathPaymentStrictReceiveOverSendmax") == "PATH_PAYMENT_STRICT_RECEIVE_OVER_SENDMAX"
