"""Our trades against those of stellar-extract."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal

import pytest
from stellar_sdk import StrKey

from tests.golden.fields import Fields, Row, column, compare, hexadecimal, report, timestamp
from tests.golden.peers import paired
from tests.support.corpus import requires_corpus, requires_peers

pytestmark = [requires_corpus, requires_peers]


def amount(row: Row, name: str) -> str:
    """Stroops as they write them, exactly."""
    return f"{Decimal(row[name]).scaleb(-7):.7f}"


def unless_native(row: Row, side: str, part: str) -> str | None:
    return row[f"{side}_asset_{part}"] if row[f"{side}_asset_type"] != "native" else None


TRADE: Fields = {
    # Theirs is the destination of a path payment, else the transaction's source; it is the operation's that trades.
    "BuyerAccount": column("their_buyer"),
    "BuyingAmount": lambda row: amount(row, "bought_amount"),
    "BuyingAssetCode": lambda row: unless_native(row, "bought", "code"),
    "BuyingAssetIssuer": lambda row: unless_native(row, "bought", "issuer"),
    "CreatedAt": timestamp,
    "LedgerSequence": column("ledger_sequence"),
    "OperationIndex": lambda row: row["operation_index"] - 1,
    "Price": lambda row: f"{amount(row, 'bought_amount')}/{amount(row, 'sold_amount')}",
    "SellerAccount": column("seller_account"),
    "SellingAmount": lambda row: amount(row, "sold_amount"),
    "SellingAssetCode": lambda row: unless_native(row, "sold", "code"),
    "SellingAssetIssuer": lambda row: unless_native(row, "sold", "issuer"),
    "TradeIndex": column("number"),
    "TradeTimestamp": timestamp,
    "TradeType": column("trade_type"),
    "TransactionHash": hexadecimal("transaction_hash"),
}
NOT_CARRIED = {"LedgerRange": "a partition of theirs"}


def seller(text: str) -> str:
    """Of an atom of before protocol 18 they write the key as a decimal number, and that text in hexadecimal."""
    if text.startswith("G"):
        return text
    return StrKey.encode_ed25519_public_key(int(bytes.fromhex(text)).to_bytes(32, "big"))


def theirs_too(row: Row) -> bool:
    """They leave out trades with liquidity pools, and those in which both amounts were rounded to zero."""
    return row["trade_type"] == "orderbook" and (row["sold_amount"], row["bought_amount"]) != (0, 0)


@pytest.mark.parametrize(("kind", "count", "pools", "empty"), [("real", 390, 44, 7), ("core", 53, 0, 0)])
def test_stellar_extract(kind: str, count: int, pools: int, empty: int) -> None:
    compared, found = 0, []
    left_out: Counter[str] = Counter()
    for ledger, theirs, rows in paired(kind, "extract_trades", ["trades", "operations", "transactions"]):
        ours: dict[tuple[str, int], list[Row]] = defaultdict(list)
        sources = {row["transaction_id"]: row["source_account"] for row in rows["transactions"]}
        destinations = {row["operation_id"]: row["destination"] for row in rows["operations"]}
        for row in rows["trades"]:
            place = (row["transaction_hash"].hex(), row["operation_index"] - 1)
            if theirs_too(row):
                buyer = destinations[row["operation_id"]] or sources[row["transaction_id"]]
                ours[place].append({**row, "number": len(ours[place]), "their_buyer": buyer})
            else:
                left_out[row["trade_type"]] += 1
        expected: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for row in theirs:
            place = (row["TransactionHash"], row["OperationIndex"])
            expected[place].append({**row, "SellerAccount": seller(row["SellerAccount"])})
        assert ours.keys() == expected.keys(), ledger
        for place, trades in expected.items():
            for their_row, row in zip(trades, ours[place], strict=True):
                found += compare(f"{ledger} {place}", their_row, row, TRADE, NOT_CARRIED)
                compared += 1
    assert not found, report(found)
    assert (compared, left_out["liquidity_pool"], left_out["orderbook"]) == (count, pools, empty)
