"""Our changes of ledger entries against those of the Go SDK's ingest reader, over real and core-made ledgers.

Theirs come sorted by key within each transaction or operation, so they are compared as sets; a change of theirs is a
pair of ours: what the entry was, and what became of it.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import pytest

from tests.golden.fields import Row, report
from tests.support.corpus import PASSPHRASES, files, ledgers, peer_rows, read, requires_corpus, requires_peers
from tests.support.decoding import decode_rows

pytestmark = [requires_corpus, requires_peers]

STREAM = "ledger_entry_changes"
STATE = "LEDGER_ENTRY_STATE"
REASONS = {
    "operation": 1,
    "transaction_before": 2,
    "transaction_after": 2,
    "fee_processing": 3,
    "post_fee_processing": 4,
    "upgrade": 5,
}
"""Their LedgerEntryChangeReason."""
COMPARED = (
    "change_type",
    "entry_type",
    "key_b64",
    "op_index",
    "post_sha256",
    "pre_sha256",
    "reason",
    "tx_hash",
)
ORDER = "change_index"
"""A number of theirs that follows their sorting, so that there is nothing to compare it with."""


def go_name(kind: str, member: str) -> str:
    return kind + "".join(part.capitalize() for part in member.split("_"))


def digest(entry: bytes | None) -> str | None:
    return None if entry is None else sha256(entry).hexdigest()


def as_theirs(rows: Iterable[Row]) -> Counter[tuple[Any, ...]]:
    """Our rows of one ledger as they would say it."""
    states = {row["change_index"]: row["ledger_entry_xdr"] for row in rows}
    return Counter(
        (
            go_name("LedgerEntryChangeType", row["change_type"]),
            go_name("LedgerEntryType", row["ledger_entry_type"]),
            base64.b64encode(row["ledger_key_xdr"]).decode(),
            None if row["operation_index"] is None else row["operation_index"] - 1,
            digest(row["ledger_entry_xdr"]),
            digest(states.get(row["pre_change_index"])),
            REASONS[row["change_site"]],
            row["transaction_hash"].hex() if row["transaction_hash"] is not None else None,
        )
        for row in rows
        if row["change_type"] != STATE
    )


def as_compared(rows: Iterable[Row]) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        assert row.keys() == {*COMPARED, ORDER}, f"unknown fields: {row.keys()}"
        found[tuple(row[name] for name in COMPARED)] += 1
    return found


def disagreements(where: str, theirs: Counter[Any], ours: Counter[Any]) -> list[str]:
    return [f"{where}: only they say {row}" for row in theirs - ours] + [
        f"{where}: only we say {row}" for row in ours - theirs
    ]


@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2", "testnet-2022"])
def test_real_changes(store: str) -> None:
    theirs: dict[int, list[Row]] = defaultdict(list)
    for row in peer_rows("real/ingest_changes.jsonl.gz"):
        if row["store"] == store:
            theirs[row["ledger"]].append(row["row"])
    ours: dict[int, list[Row]] = defaultdict(list)
    for row in decode_rows([ledger.xdr for ledger in ledgers(store)], PASSPHRASES[store], (STREAM,))[STREAM]:
        ours[row["ledger_sequence"]].append(row)
    found: list[str] = []
    for sequence in sorted({*theirs, *ours}):
        found += disagreements(f"{store} {sequence}", as_compared(theirs[sequence]), as_theirs(ours[sequence]))
    assert not found, report(found)
    assert theirs


def test_core_made_changes() -> None:
    """Ledger sequences repeat between core's files, so rows are joined within file and frame."""
    theirs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in peer_rows("core/ingest_changes.jsonl.gz"):
        theirs[row["file"].replace("/shared_extra/", "/"), row["frame"]].append(row["row"])
    found: list[str] = []
    compared = 0
    for file in files("stellar-core", "core-upgrades", "wrapped-txs"):
        for frame, ledger in enumerate(read(file)):
            rows = decode_rows([ledger.xdr], ledger.passphrase, (STREAM,))[STREAM]
            expected = as_compared(theirs.pop((file, frame), []))
            compared += expected.total()
            found += disagreements(ledger.id, expected, as_theirs(rows))
    assert not found, report(found)
    assert not theirs, f"rows of ledgers that the corpus lacks: {list(theirs)[:5]}"
    assert compared == 11041
