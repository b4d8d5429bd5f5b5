"""Per transaction, token-transfer events move exactly what the ledger entries say: nothing appears or vanishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.tables import LedgerDecoder
from tests.differential.expected.join import Ledger, Transaction
from tests.differential.expected.values import account, arm, asset_parts, balance_id, plain, pool_strkey
from tests.support.corpus import files, read, requires_corpus
from tests.support.decoding import Row, rows_by_ledger

Change = xdr.LedgerEntryChangeType
Holding = tuple[str | None, tuple[str | None, ...]]
"""Who holds, and the asset's type, code and issuer."""
NATIVE = ("native", "XLM", None)


def holdings(entry: Any) -> Iterator[tuple[Holding, int]]:
    """What an entry's holder holds of which asset."""
    body = arm(entry.data)
    match entry.data.type:
        case xdr.LedgerEntryType.ACCOUNT:
            yield (account(body.account_id), NATIVE), plain(body.balance)
        case xdr.LedgerEntryType.TRUSTLINE if body.asset.type != xdr.AssetType.ASSET_TYPE_POOL_SHARE:
            yield (account(body.account_id), asset_parts(body.asset)), plain(body.balance)
        case xdr.LedgerEntryType.CLAIMABLE_BALANCE:
            yield (balance_id(body.balance_id), asset_parts(body.asset)), plain(body.amount)
        case xdr.LedgerEntryType.LIQUIDITY_POOL:
            pool, holder = body.body.constant_product, pool_strkey(plain(body.liquidity_pool_id))
            yield (holder, asset_parts(pool.params.asset_a)), plain(pool.reserve_a)
            yield (holder, asset_parts(pool.params.asset_b)), plain(pool.reserve_b)


def all_changes(tx: Transaction) -> Iterator[Any]:
    meta = arm(tx.processed.tx_apply_processing)
    yield from tx.processed.fee_processing.ledger_entry_changes
    for name in ("tx_changes_before", "tx_changes"):
        yield from getattr(getattr(meta, name, None), "ledger_entry_changes", [])
    for operation in meta.operations:
        yield from operation.changes.ledger_entry_changes
    yield from getattr(getattr(meta, "tx_changes_after", None), "ledger_entry_changes", [])
    yield from getattr(getattr(tx.processed, "post_tx_apply_fee_processing", None), "ledger_entry_changes", [])


def deltas(tx: Transaction) -> Counter[Holding]:
    found: Counter[Holding] = Counter()
    for change in all_changes(tx):
        if change.type in (Change.LEDGER_ENTRY_STATE, Change.LEDGER_ENTRY_RESTORED):
            sign = -1
        elif change.type == Change.LEDGER_ENTRY_REMOVED:
            continue  # the STATE before it has taken the entry off
        else:
            sign = 1
        for holding, amount in holdings(arm(change)):
            found[holding] += sign * amount
    return Counter({holding: amount for holding, amount in found.items() if amount})


def moved(rows: list[Row]) -> Counter[Holding]:
    found: Counter[Holding] = Counter()
    for row in rows:
        if row["asset_type"] is None:
            continue
        asset = (row["asset_type"], row["asset_code"], row["asset_issuer"])
        for holder, sign in ((row["from_address"], -1), (row["to_address"], 1)):
            # an issuer has no trust line to itself: what it pays itself changes nothing
            if holder is not None and holder[0] != "C" and holder != row["asset_issuer"]:
                found[holder, asset] += sign * int(row["amount_raw"])
    return Counter({holding: amount for holding, amount in found.items() if amount})


@requires_corpus
@pytest.mark.parametrize("folder", ["pubnet", "pubnet-2020-meta-v2", "testnet-2022", "core-upgrades", "stellar-core"])
def test_events_move_what_the_entries_say(folder: str) -> None:
    compared, found = 0, []
    for file in files(folder):
        ledgers = read(file)
        decoded = LedgerDecoder({"ttp_events": None}, passphrase=ledgers[0].passphrase).decode([x.xdr for x in ledgers])
        assert decoded.skipped == {}
        for ledger, rows in zip(ledgers, rows_by_ledger(decoded, "ttp_events"), strict=True):
            for tx in Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr), ledger.passphrase).transactions:
                events = moved([row for row in rows if row["transaction_id"] == tx.id])
                if events != deltas(tx):
                    found.append(f"{ledger.id} transaction {tx.index}: {events - deltas(tx)} {deltas(tx) - events}")
                compared += 1
    assert compared
    assert not found, f"{len(found)} of {compared}\n" + "\n".join(found[:10])
