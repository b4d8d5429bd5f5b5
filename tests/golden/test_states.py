"""What our state streams say a ledger left, against the changes that the Go SDK's ingest reader tells of the same keys.

Theirs do not stand in the order in which they took effect, but each names what it started from: what a ledger left of
an entry is what one of its changes made and no other started from.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256

import pytest

from tests.golden.fields import Row, report
from tests.golden.peers import FOLDERS, paired
from tests.support.corpus import requires_corpus, requires_peers

pytestmark = [requires_corpus, requires_peers]

ENTRY_TYPES = {
    "accounts": "Account",
    "trust_lines": "Trustline",
    "offers": "Offer",
    "claimable_balances": "ClaimableBalance",
    "liquidity_pools": "LiquidityPool",
    "contract_data": "ContractData",
    "contract_code": "ContractCode",
    "config_settings": "ConfigSetting",
}
"""Stream → their type of entry. Of a TTL, transactions of the parallel phase all start from the same."""
LEAST = {
    "real": {"accounts": 2500, "trust_lines": 2000, "offers": 3000, "claimable_balances": 160, "liquidity_pools": 30},
    "core": {"accounts": 1500, "contract_data": 400, "contract_code": 100, "config_settings": 2000},
}
"""How many entries must be compared, at least."""


def left(changes: Iterable[Row]) -> dict[bytes, set[str | None]]:
    """Hash of the key → hash of what is left; of several, where the changes end where they began."""
    made, started = defaultdict(Counter), defaultdict(Counter)
    for change in changes:
        key = sha256(base64.b64decode(change["key_b64"])).digest()
        made[key][change["post_sha256"]] += 1
        started[key][change["pre_sha256"]] += 1
    return {key: set(found - started[key]) or set(found) for key, found in made.items()}


def disagreements(where: str, theirs: Iterable[Row], ours: Iterable[Row]) -> Iterator[str]:
    expected = left(theirs)
    given = {row["ledger_key_hash"]: row["ledger_entry_xdr"] for row in ours}
    for key in expected.keys() ^ given.keys():
        yield f"{where}: only {'they' if key in expected else 'we'} say that {key.hex()} was changed"
    for key in expected.keys() & given.keys():
        entry = given[key]
        if (None if entry is None else sha256(entry).hexdigest()) not in expected[key]:
            yield f"{where}: another entry is left of {key.hex()}"


@pytest.mark.parametrize("kind", FOLDERS)
def test_states_are_where_their_changes_end(kind: str) -> None:
    found: list[str] = []
    compared: Counter[str] = Counter()
    for where, theirs, ours in paired(kind, "ingest_changes", tuple(ENTRY_TYPES)):
        for stream, name in ENTRY_TYPES.items():
            of_type = [row for row in theirs if row["entry_type"] == f"LedgerEntryType{name}"]
            found += disagreements(f"{where} {stream}", of_type, ours[stream])
            compared[stream] += len(ours[stream])
    assert not found, report(found)
    assert compared >= Counter(LEAST[kind]), compared
