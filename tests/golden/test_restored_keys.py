"""Our restored keys against the changes that the Go SDK's ingest reader calls restored."""

from __future__ import annotations

import base64
from hashlib import sha256

from tests.golden.fields import report
from tests.golden.peers import paired
from tests.support.corpus import requires_corpus, requires_peers

pytestmark = [requires_corpus, requires_peers]

STREAM = "restored_keys"


def test_the_same_keys_are_restored() -> None:
    """Only core's ledgers restore any; real ones of the corpus would show as rows that only one side has."""
    found: list[str] = []
    compared = 0
    for kind in ("core", "real"):
        for where, theirs, ours in paired(kind, "ingest_changes", (STREAM,)):
            expected = {
                (sha256(base64.b64decode(row["key_b64"])).digest(), row["entry_type"].removeprefix("LedgerEntryType"))
                for row in theirs
                if row["change_type"] == "LedgerEntryChangeTypeLedgerEntryRestored"
            }
            given = {
                (row["ledger_key_hash"], "".join(part.capitalize() for part in row["ledger_entry_type"].split("_")))
                for row in ours[STREAM]
            }
            assert len(given) == len(ours[STREAM]), f"{where}: a key twice"
            found += [f"{where}: only they say {row}" for row in expected - given]
            found += [f"{where}: only we say {row}" for row in given - expected]
            compared += len(given)
    assert not found, report(found)
    assert compared == 66
