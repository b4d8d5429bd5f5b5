"""Per transaction, token-transfer events move exactly what the ledger entries say: nothing appears or vanishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.balances import NO_FEES, NO_OPERATIONS, BalanceCheck, BalanceReport
from stellar_arrow_source.tables import LedgerDecoder
from tests.differential.expected.join import Ledger, Transaction
from tests.differential.expected.values import account, arm, asset_parts, balance_id, plain, pool_strkey
from tests.support.corpus import CorpusLedger, files, read, requires_corpus
from tests.support.decoding import Row, decode_rows, rows_by_ledger

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


def report_of(ledgers: Sequence[bytes], passphrase: str) -> BalanceReport:
    """What the check of the product finds."""
    check = BalanceCheck(passphrase)
    for ledger in ledgers:
        check.add(ledger)
    return check.finish()


COMPLETE = ["pubnet", "pubnet-2020-meta-v2", "testnet-2022", "core-upgrades", "stellar-core"]
"""Folders of ledgers whose meta tells all changes."""


@requires_corpus
@pytest.mark.parametrize("folder", COMPLETE)
def test_events_move_what_the_entries_say(folder: str) -> None:
    """So find the check of the product, and what is compared here without it."""
    compared, found = 0, []
    for file in files(folder):
        ledgers, before = read(file), compared
        decoded = LedgerDecoder({"ttp_events": None}, passphrase=ledgers[0].passphrase).decode([x.xdr for x in ledgers])
        assert decoded.skipped == {}
        for ledger, rows in zip(ledgers, rows_by_ledger(decoded, "ttp_events"), strict=True):
            for tx in Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr), ledger.passphrase).transactions:
                events = moved([row for row in rows if row["transaction_id"] == tx.id])
                if events != deltas(tx):
                    found.append(f"{ledger.id} transaction {tx.index}: {events - deltas(tx)} {deltas(tx) - events}")
                compared += 1
        report = report_of([ledger.xdr for ledger in ledgers], ledgers[0].passphrase)
        assert (report.different, report.differences, report.unchecked) == (0, [], {}), file
        assert (report.ledgers, report.transactions) == (len(ledgers), compared - before)
        assert (report.balances == 0) == (report.transactions == 0)
        assert report.aside == {}
    assert compared
    assert not found, f"{len(found)} of {compared}\n" + "\n".join(found[:10])


@requires_corpus
def test_ledgers_without_changes_of_fees_are_counted_as_unchecked() -> None:
    for file in files("wrapped-txs"):
        ledgers = read(file)
        report = report_of([ledger.xdr for ledger in ledgers], ledgers[0].passphrase)
        assert report.unchecked == {NO_FEES: len(ledgers)}
        assert (report.ledgers, report.different) == (0, 0)


@requires_corpus
def test_ledgers_without_changes_of_operations_are_counted_as_unchecked() -> None:
    ledger = one("46154623")
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr)
    applied = Ledger(meta, ledger.passphrase)
    for tx in applied.transactions:
        arm(tx.processed.tx_apply_processing).operations = []
    report = report_of([meta.to_xdr_bytes()], ledger.passphrase)
    assert report.unchecked == {NO_OPERATIONS: 1}
    assert (report.ledgers, report.different) == (0, 0)


def one(sequence: str) -> CorpusLedger:
    [file] = (file for file in files("pubnet") if f"--{sequence}.xdr" in file)
    [ledger] = read(file)
    return ledger


def adjust(entry: Any) -> str | None:
    """Make an entry's holder hold one stroop more; the entry's kind, None for one without a balance."""
    body = arm(entry.data)
    match entry.data.type:
        case xdr.LedgerEntryType.ACCOUNT:
            body.balance.int64 += 1
            return "account"
        case xdr.LedgerEntryType.TRUSTLINE if body.asset.type != xdr.AssetType.ASSET_TYPE_POOL_SHARE:
            body.balance.int64 += 1
            return "trust line"
        case xdr.LedgerEntryType.CLAIMABLE_BALANCE:
            body.amount.int64 += 1
            return "claimable balance"
        case xdr.LedgerEntryType.LIQUIDITY_POOL:
            body.body.constant_product.reserve_b.int64 += 1
            return "pool"
        case xdr.LedgerEntryType.CONTRACT_DATA if body.val.type == xdr.SCValType.SCV_MAP and body.val.map.sc_map:
            [amount, *_] = body.val.map.sc_map
            if amount.key.sym is not None and amount.key.sym.sc_symbol == b"amount":
                amount.val.i128.lo.uint64 += 1
                return "contract"
    return None


@requires_corpus
@pytest.mark.parametrize("sequence", ["53312000", "60659332", "46154623"])
def test_the_check_finds_what_the_oracle_finds_in_falsified_ledgers(sequence: str) -> None:
    ledger, seen = one(sequence), set()
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr)
    applied = Ledger(meta, ledger.passphrase)
    for tx in applied.transactions:
        for change in all_changes(tx):
            if change.type == Change.LEDGER_ENTRY_REMOVED:
                continue
            entry = arm(change)
            before = entry.data
            entry.data = xdr.LedgerEntryData.from_xdr_bytes(before.to_xdr_bytes())
            kind = adjust(entry)
            if kind is not None and (kind, change.type) not in seen:
                falsified = meta.to_xdr_bytes()
                report = report_of([falsified], ledger.passphrase)
                rows = decode_rows([falsified], ledger.passphrase, ["ttp_events"])["ttp_events"]
                entries, events = deltas(tx), moved([row for row in rows if row["transaction_id"] == tx.id])
                expected = {
                    (holder, kind_of if issuer is None else f"{code}:{issuer}", events[key], entries[key])
                    for key in entries.keys() | events.keys()
                    for holder, (kind_of, code, issuer) in [key]
                    if entries[key] != events[key]
                }
                found = [one for one in report.differences if one.holder[0] != "C"]
                assert {(one.holder, one.asset, one.events, one.entries) for one in found} == expected
                assert len(report.differences) == report.different == 1
                assert (kind == "contract") == (not expected)
                [difference] = report.differences
                assert difference.ledger == applied.sequence
                assert difference.transaction == plain(tx.processed.result.transaction_hash).hex()
                assert str(difference) in list(report.lines())
                seen.add((kind, change.type))
            entry.data = before
    assert {kind for kind, _ in seen} >= {"account", "trust line"}
    assert len(seen) >= 4
