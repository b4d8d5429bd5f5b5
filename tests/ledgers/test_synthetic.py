"""The synthetic source: valid, true to itself, and the same wherever one looks from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise

import pytest
from stellar_sdk import xdr

from stellar_arrow_client.errors import GapError, InvalidRequestError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.synthetic import SyntheticSource
from stellar_arrow_source.ledgers.verify import verify
from tests.ledgers import accounting

NEVER = threading.Event()


def read(endpoint: str, start: int, end: int) -> list[bytes]:
    return [bytes(ledger.xdr) for ledger in SyntheticSource.from_endpoint(endpoint).ledgers(start, end, NEVER)]


@pytest.fixture(scope="module")
def raw() -> list[bytes]:
    return read("synthetic://", 2, 201)


@pytest.fixture(scope="module")
def metas(raw: list[bytes]) -> list[xdr.LedgerCloseMetaV2]:
    return [xdr.LedgerCloseMeta.from_xdr_bytes(one).v2 for one in raw[:60]]


def test_stellar_sdk_reads_every_byte(raw: list[bytes]) -> None:
    for one in raw[:100]:
        assert xdr.LedgerCloseMeta.from_xdr_bytes(one).to_xdr_bytes() == one


def test_all_hashes_are_true() -> None:
    source = open_source("synthetic://?ledgers=300&start=7000&transactions=12&seed=other")
    verified = verify(source.ledgers(7000, 7299, NEVER), source.network_passphrase)
    assert (verified.ledgers, verified.links) == (300, 299)
    assert verified.transactions > 3_000


def test_bytes_do_not_depend_on_where_reading_starts(raw: list[bytes]) -> None:
    source = SyntheticSource.from_endpoint("synthetic://")
    for start, end in ((130, 140), (2, 5), (150, 201), (66, 67), (3, 3)):
        assert [one.xdr for one in source.ledgers(start, end, NEVER)] == raw[start - 2 : end - 1]


def test_several_readers_at_once_see_the_same(raw: list[bytes]) -> None:
    source = SyntheticSource.from_endpoint("synthetic://")
    seen: dict[int, list[bytes]] = {}

    def run(start: int) -> None:
        seen[start] = [bytes(one.xdr) for one in source.ledgers(start, start + 40, NEVER)]

    threads = [threading.Thread(target=run, args=(start,)) for start in (2, 50, 51, 140)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {start: raw[start - 2 : start + 39] for start in (2, 50, 51, 140)}


def test_bytes_are_the_same_in_another_process(raw: list[bytes]) -> None:
    script = (
        "import hashlib, threading\n"
        "from stellar_arrow_source.ledgers.synthetic import SyntheticSource\n"
        "source = SyntheticSource.from_endpoint('synthetic://')\n"
        "print(hashlib.sha256(b''.join(l.xdr for l in source.ledgers(2, 41, threading.Event()))).hexdigest())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert other.stdout.strip() == sha256(b"".join(raw[:40])).hexdigest()


@pytest.mark.parametrize("change", ["seed=x", "start=3", "transactions=31"])
def test_other_parameters_give_other_ledgers(raw: list[bytes], change: str) -> None:
    assert read(f"synthetic://?{change}", 3, 3)[0] != raw[1]


def test_the_number_of_ledgers_does_not_change_them(raw: list[bytes]) -> None:
    assert read("synthetic://?ledgers=5", 2, 6) == raw[:5]


def test_every_kind_of_thing_happens(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    results, codes, failures, memos, conditions = Counter(), Counter(), Counter(), Counter(), Counter()
    muxed = 0
    for envelope in envelopes(metas):
        bump = envelope.type == xdr.EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP
        tx = (envelope.fee_bump.tx.inner_tx.v1 if bump else envelope.v1).tx
        memos[tx.memo.type] += 1
        conditions[tx.cond.type] += 1
        muxed += tx.source_account.type == xdr.CryptoKeyType.KEY_TYPE_MUXED_ED25519
    for meta in metas:
        for one in meta.tx_processing:
            result = one.result.result.result
            codes[result.code.name] += 1
            inner = result.inner_result_pair
            operations = (inner.result.result.results if inner else result.results) or []
            for operation in operations:
                if operation.tr is None:
                    failures[operation.code.name] += 1
                else:
                    results[operation.tr.type.name] += 1
    never = {"RESTORE_FOOTPRINT"}
    assert {kind.name for kind in xdr.OperationType} - results.keys() == never
    assert codes.keys() == {
        "txSUCCESS", "txFAILED", "txBAD_SEQ", "txBAD_AUTH", "txTOO_LATE", "txFEE_BUMP_INNER_SUCCESS",
        "txFEE_BUMP_INNER_FAILED",
    }  # fmt: skip
    assert failures.keys() == {"opBAD_AUTH"}
    assert memos.keys() == set(xdr.MemoType)
    assert conditions.keys() == set(xdr.PreconditionType)
    assert muxed > 10


def test_some_memo_is_not_utf8(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    texts = {
        envelope.v1.tx.memo.text
        for envelope in envelopes(metas)
        if envelope.v1 is not None and envelope.v1.tx.memo.text is not None
    }
    assert any(b"\xff" in text for text in texts)
    assert b"" in texts


def test_fees_add_up(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    pool = None
    for meta in metas:
        total = 0
        for one in meta.tx_processing:
            fee = accounting.changed(one.fee_processing.ledger_entry_changes)
            refund = accounting.changed(one.post_tx_apply_fee_processing.ledger_entry_changes)
            charged = -sum(fee.values()) - sum(refund.values())
            assert charged == one.result.result.fee_charged.int64 > 0
            assert len(fee) == 1
            total += charged
        header = meta.ledger_header.header
        if pool is not None:
            assert header.fee_pool.int64 == pool + total
        pool = header.fee_pool.int64


def test_events_say_what_the_changes_say(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    checked = 0
    for meta in metas:
        for one in meta.tx_processing:
            assert accounting.moved(accounting.events_of(one)) == accounting.changed(accounting.changes_of(one))
            checked += 1
    assert checked > 1_500


def test_nothing_is_made_or_lost(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    """XLM only leaves as fees; an asset only changes hands, unless its issuer or a clawback is involved."""
    for meta in metas:
        for one in meta.tx_processing:
            for operation in one.tx_apply_processing.v4.operations:
                change = accounting.changed(operation.changes.ledger_entry_changes)
                names = {event.body.v0.topics[0].sym.sc_symbol for event in operation.events}
                if names <= {b"transfer"}:
                    totals = Counter()
                    for (_, asset), amount in change.items():
                        totals[asset] += amount
                    assert not any(totals.values())


def test_each_state_is_what_the_change_before_it_left(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    now: dict[bytes, bytes | None] = {}
    kind = xdr.LedgerEntryChangeType
    seen = 0
    for meta in metas:
        sequence = meta.ledger_header.header.ledger_seq.uint32
        for change in accounting.all_changes(meta):
            match change.type:
                case kind.LEDGER_ENTRY_STATE:
                    key = accounting.entry_key(change.state)
                    assert now.get(key, change.state.to_xdr_bytes()) == change.state.to_xdr_bytes()
                    seen += key in now
                case kind.LEDGER_ENTRY_REMOVED:
                    now[change.removed.to_xdr_bytes()] = None
                case kind.LEDGER_ENTRY_CREATED | kind.LEDGER_ENTRY_UPDATED:
                    entry = change.created or change.updated
                    assert entry.last_modified_ledger_seq.uint32 == sequence
                    now[accounting.entry_key(entry)] = entry.to_xdr_bytes()
    assert seen > 5_000


def test_entries_stay_within_their_bounds(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    kind = xdr.LedgerEntryType
    seen = Counter()
    for meta in metas:
        for change in accounting.all_changes(meta):
            entry = change.created or change.updated
            if entry is None:
                continue
            seen[entry.data.type] += 1
            if entry.data.type == kind.ACCOUNT:
                account = entry.data.account
                owed = account.ext.v1.liabilities
                assert account.balance.int64 >= owed.selling.int64 >= 0
                assert owed.buying.int64 >= 0
                assert account.ext.v1.ext.v2.num_sponsoring.uint32 < 1 << 20
            elif entry.data.type == kind.TRUSTLINE:
                line = entry.data.trust_line
                owed = line.ext.v1.liabilities
                assert line.limit.int64 >= line.balance.int64 >= owed.selling.int64 >= 0
                assert owed.buying.int64 >= 0
            elif entry.data.type == kind.OFFER:
                assert entry.data.offer.amount.int64 > 0
    assert seen.keys() == {
        kind.ACCOUNT, kind.TRUSTLINE, kind.OFFER, kind.DATA, kind.CLAIMABLE_BALANCE, kind.LIQUIDITY_POOL,
        kind.CONTRACT_DATA, kind.TTL,
    }  # fmt: skip


def test_sequence_numbers_are_consumed_one_by_one(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    for meta in metas:
        for one in meta.tx_processing:
            changes = one.tx_apply_processing.v4.tx_changes_before.ledger_entry_changes
            if changes:
                state, updated = changes[0].state.data.account, changes[1].updated.data.account
                assert updated.seq_num.sequence_number.int64 == state.seq_num.sequence_number.int64 + 1


def test_contract_calls_are_bound_to_their_result(metas: list[xdr.LedgerCloseMetaV2]) -> None:
    checked = 0
    for meta in metas:
        for one in meta.tx_processing:
            result = one.result.result.result
            if result.inner_result_pair is not None:
                result = result.inner_result_pair.result.result
            for operation in result.results or []:
                if operation.tr is None or operation.tr.invoke_host_function_result is None:
                    continue
                success = operation.tr.invoke_host_function_result.success
                if success is not None:
                    v4 = one.tx_apply_processing.v4
                    image = xdr.InvokeHostFunctionSuccessPreImage(v4.soroban_meta.return_value, v4.operations[0].events)
                    assert sha256(image.to_xdr_bytes()).digest() == success.hash
                    checked += 1
    assert checked > 100


def test_close_times_cross_a_day_and_sequences_rise() -> None:
    metas = [xdr.LedgerCloseMeta.from_xdr_bytes(one).v2 for one in read("synthetic://?transactions=1", 2, 401)]
    headers = [meta.ledger_header.header for meta in metas]
    times = [header.scp_value.close_time.time_point.uint64 for header in headers]
    assert all(later > earlier for earlier, later in pairwise(times))
    assert len({datetime.fromtimestamp(time, UTC).date() for time in times}) == 2
    assert [header.ledger_seq.uint32 for header in headers] == list(range(2, 402))
    assert any(not meta.tx_processing for meta in metas)


def test_the_tip_moves_with_the_rate() -> None:
    source = SyntheticSource.from_endpoint("synthetic://?ledgers=2&start=10&rate=20&transactions=1")
    stop = threading.Event()
    reader = source.ledgers(10, None, stop)
    assert [next(reader).sequence for _ in range(6)] == [10, 11, 12, 13, 14, 15]
    bounds = source.bounds()
    assert bounds.oldest == 10
    assert bounds.latest is not None
    assert bounds.latest >= 15
    stop.set()
    assert list(reader) == []


def test_without_a_rate_the_tip_stands_still() -> None:
    source = SyntheticSource.from_endpoint("synthetic://?ledgers=3&transactions=1")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert [ledger.sequence for ledger in source.ledgers(2, 10, stop)] == [2, 3, 4]
    assert source.bounds() == (2, 4)


def test_before_the_first_ledger_is_a_gap() -> None:
    with pytest.raises(GapError, match="begins with ledger 100"):
        next(SyntheticSource.from_endpoint("synthetic://?start=100").ledgers(99, 100, NEVER))


@pytest.mark.parametrize(
    "query",
    [
        "ledger=3", "ledgers=3&ledgers=4", "ledgers=0", "ledgers=x", "start=1", "rate=nan", "rate=-1", "rate=1e9",
        "transactions=501", "transactions=0", "ledgers=99999999999",
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError):
        SyntheticSource.from_endpoint(f"synthetic://?{query}")


def test_a_host_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no synthetic source"):
        SyntheticSource.from_endpoint("synthetic://ledgers=3")


def envelopes(metas: list[xdr.LedgerCloseMetaV2]) -> Iterator[xdr.TransactionEnvelope]:
    for meta in metas:
        classic, parallel = meta.tx_set.v1_tx_set.phases
        for component in classic.v0_components:
            yield from component.txs_maybe_discounted_fee.txs
        for stage in parallel.parallel_txs_component.execution_stages:
            for cluster in stage.parallel_tx_execution_stage:
                yield from cluster.dependent_tx_cluster


def test_the_default_history_is_the_same_on_every_machine(raw: list[bytes]) -> None:
    """Changing the world changes this: then every count and hash that others took from it is to be taken anew."""
    assert sha256(b"".join(raw[:20])).hexdigest() == "315b85a83fa3a127c7ead71f1688998d43c487a0a3b1be9290e4db90054476b6"
