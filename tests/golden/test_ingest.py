"""Our transactions against those of the Go SDK's ingest reader, over real and core-made ledgers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from stellar_sdk import xdr

from tests.golden.fields import Fields, Row, column, compare, go_enum, hexadecimal, report
from tests.support.corpus import PASSPHRASES, files, ledgers, peer_rows, read, requires_corpus, requires_peers
from tests.support.decoding import decode_rows

pytestmark = [requires_corpus, requires_peers]

IS_UNKNOWN = "panic: "
"""They wrote a Go panic's text where their reader fails on a meta without resource fees; ours is null."""


def digest(name: str) -> Any:
    return lambda row: sha256(row[name]).hexdigest()


def fee_changes(row: Row) -> int:
    """Theirs counts the fee changes, ours carries them as XDR."""
    return len(xdr.LedgerEntryChanges.from_xdr_bytes(row["transaction_fee_meta_xdr"]).ledger_entry_changes)


MAPPED: Fields = {
    "envelope_sha256": digest("transaction_envelope_xdr"),
    "envelope_type": lambda row: int(xdr.EnvelopeType[row["transaction_envelope_type"]]),
    # Theirs is the payer of any transaction; ours names only a fee bump's.
    "fee_account": lambda row: row["fee_account"] or row["source_account"],
    "fee_bump_fee": column("new_max_fee"),
    "fee_changes": fee_changes,
    "fee_charged": column("fee_charged"),
    "hash": hexadecimal("transaction_hash"),
    "inner_hash": hexadecimal("inner_transaction_hash"),
    "is_soroban": lambda row: row["resource_fee"] is not None,
    "max_fee": column("max_fee"),
    "memo_type": go_enum("memo_type", "MemoType"),
    "meta_sha256": digest("transaction_meta_xdr"),
    "meta_v": column("transaction_meta_version"),
    "ops": column("operation_count"),
    "result_code": go_enum("transaction_result_code", "TransactionResultCode", "tx"),
    "result_sha256": lambda row: result_digest(row["transaction_result_xdr"]),
    "seq": column("ledger_sequence"),
    "seq_num": column("account_sequence"),
    "soroban_inclusion_fee_charged": column("inclusion_fee_charged"),
    "soroban_nonrefundable": column("non_refundable_resource_fee_charged"),
    "soroban_refundable": column("refundable_resource_fee_charged"),
    "soroban_rent": column("rent_fee_charged"),
    "source": column("source_account"),
    "source_muxed": column("source_account_muxed"),
    "successful": column("successful"),
    "toid": column("transaction_id"),
    "tx_index": column("transaction_index"),
}
NOT_CARRIED = {
    "inclusion_fee_charged": "of a classic transaction: the fee per operation, derived from fee_charged; of a "
    "Soroban one the same as soroban_inclusion_fee_charged",
    "post_fee_changes": "a count of ledger changes, which no column of transactions carries",
}


def result_digest(pair: bytes) -> str:
    """Theirs is of the TransactionResult, without the hash that precedes it in ours."""
    return sha256(pair[32:]).hexdigest()


RESOURCE_FEES = ("soroban_nonrefundable", "soroban_refundable", "soroban_rent")


def disagreements(where: str, theirs: Row, ours: Row) -> Iterator[str]:
    known = {name: None if str(value).startswith(IS_UNKNOWN) else value for name, value in theirs.items()}
    if known["fee_changes"] == 0 and known["is_soroban"]:
        # Without fee changes the ledger does not say what was charged; theirs subtracts from nothing.
        del known["soroban_inclusion_fee_charged"]
        if ours["inclusion_fee_charged"] is not None:
            yield f"{where}: inclusion_fee_charged is not in the ledger, ours says {ours['inclusion_fee_charged']}"
    if known["meta_v"] == 4:
        # Their reader looks for resource fees in a V3 meta only; the protocol's own equation holds ours.
        assert [known.pop(name) for name in RESOURCE_FEES] == [None] * 3, "their reader has learnt V4"
        yield from broken_fee_equation(where, ours)
    yield from compare(where, known, ours, MAPPED, NOT_CARRIED)


def broken_fee_equation(where: str, row: Row) -> Iterator[str]:
    """SorobanTransactionMetaExtV1: fee charged = inclusion + non-refundable + refundable, rent being part of it."""
    parts = [row["non_refundable_resource_fee_charged"], row["refundable_resource_fee_charged"]]
    if None not in (*parts, row["inclusion_fee_charged"]):
        if row["fee_charged"] != row["inclusion_fee_charged"] + sum(parts):
            yield f"{where}: {row['fee_charged']} charged, but the parts are {row['inclusion_fee_charged']}, {parts}"
        if not 0 <= row["rent_fee_charged"] <= row["refundable_resource_fee_charged"]:
            yield f"{where}: rent {row['rent_fee_charged']} is no part of {row['refundable_resource_fee_charged']}"


@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2", "testnet-2022"])
def test_real_transactions(store: str) -> None:
    theirs = [row["row"] for row in peer_rows("real/ingest_transactions.jsonl.gz") if row["store"] == store]
    data = [ledger.xdr for ledger in ledgers(store)]
    rows = decode_rows(data, PASSPHRASES[store], ("transactions",))["transactions"]
    ours = {row["transaction_id"]: row for row in rows}
    assert len(ours) == len(rows)
    assert sorted(row["toid"] for row in theirs) == sorted(ours)
    found = [
        line for row in theirs for line in disagreements(f"{store}, transaction {row['hash']}", row, ours[row["toid"]])
    ]
    assert not found, report(found)


def test_core_made_transactions() -> None:
    """Ledger sequences repeat between core's files, so rows are joined within file and frame."""
    theirs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in peer_rows("core/ingest_transactions.jsonl.gz"):
        theirs[row["file"].replace("/shared_extra/", "/"), row["frame"]].append(row["row"])
    found: list[str] = []
    compared = 0
    for file in files("stellar-core", "core-upgrades", "wrapped-txs"):
        for frame, ledger in enumerate(read(file)):
            expected = theirs.pop((file, frame), [])
            ours = decode_rows([ledger.xdr], ledger.passphrase, ("transactions",))["transactions"]
            if [row["toid"] for row in expected] != [row["transaction_id"] for row in ours]:
                found.append(f"{ledger.id}: they have {len(expected)} transactions, we {len(ours)}")
                continue
            for their_row, row in zip(expected, ours, strict=True):
                found += disagreements(f"{ledger.id} {their_row['tx_index']}", their_row, row)
                compared += 1
    assert not found, report(found)
    assert not theirs, f"rows of ledgers that the corpus lacks: {list(theirs)[:5]}"
    assert compared == 1945
