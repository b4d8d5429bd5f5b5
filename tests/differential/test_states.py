"""The rows of the state streams, kept by key, are the state of the ledger: as the ledgers that follow tell it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.ledgers.endpoint import open_source
from tests.differential.expected.states import signers
from tests.support.corpus import files, read
from tests.support.decoding import LedgerDecoder

ENTRY_TYPES = {
    "accounts": "account",
    "trust_lines": "trustline",
    "offers": "offer",
    "claimable_balances": "claimable_balance",
    "liquidity_pools": "liquidity_pool",
    "config_settings": "config_setting",
    "contract_data": "contract_data",
    "contract_code": "contract_code",
    "ttl": "ttl",
}
"""State stream with one row per entry → type of its entries."""
CHANGES, ACCOUNTS, SIGNERS, EVICTED = "ledger_entry_changes", "accounts", "account_signers", "evicted_keys"
COLUMNS = {
    CHANGES: ("change_type", "ledger_entry_type", "ledger_key_hash", "ledger_entry_xdr"),
    SIGNERS: ("ledger_key_hash", "signer", "weight", "sponsor", "deleted"),
    EVICTED: ("ledger_key_hash",),
    **dict.fromkeys(ENTRY_TYPES, ("ledger_key_hash", "deleted", "ledger_entry_xdr")),
}
BEFORE = {"LEDGER_ENTRY_STATE"}
AT_LEAST = {
    "corpus": {
        "accounts": 2000,
        "trust_lines": 500,
        "offers": 50,
        "liquidity_pools": 4,
        "config_settings": 800,
        "contract_data": 40,
        "contract_code": 80,
        "ttl": 390,
        "evicted_keys": 12,
    },
    "synthetic": {"accounts": 2000, "trust_lines": 500, "offers": 50, "claimable_balances": 50, "liquidity_pools": 50},
}
"""How many entries each history must tell a former state of, so that these tests show something."""


class History(NamedTuple):
    """Ledgers of one network, mostly consecutive."""

    name: str
    passphrase: str
    ledgers: Sequence[bytes]


class Decoded(NamedTuple):
    """Rows of one ledger by stream; ``follows`` says whether the ledger before it came before."""

    where: str
    follows: bool
    rows: dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module", params=AT_LEAST)
def kind(request: pytest.FixtureRequest) -> str:
    """Real ledgers and core's own, or synthetic ones, whose entries live through many ledgers."""
    if request.param == "corpus" and not files():
        pytest.skip("no ledger corpus; set STELLAR_LEDGER_CORPUS")
    return str(request.param)


def histories(kind: str) -> Iterator[History]:
    if kind == "corpus":
        for file in files():
            yield History(file, read(file)[0].passphrase, [ledger.xdr for ledger in read(file)])
    else:
        source = open_source("synthetic://?ledgers=300&transactions=12")
        made = [bytes(ledger.xdr) for ledger in source.ledgers(2, 301, threading.Event())]
        yield History(kind, str(source.network_passphrase), made)


def decoded(history: History) -> Iterator[Decoded]:
    decoder = LedgerDecoder(COLUMNS, passphrase=history.passphrase)
    last = None
    for index, ledger in enumerate(history.ledgers):
        found = decoder.decode([ledger])
        rows = {stream: list(zip(*batch.to_pydict().values(), strict=True)) for stream, batch in found.batches.items()}
        sequence = int(found.sequences[0])
        yield Decoded(f"{history.name}#{index}", last is not None and sequence == last + 1, rows)
        last = sequence


def test_states_kept_by_key_are_what_later_ledgers_start_from(kind: str) -> None:
    """In a ledger the first change of an entry tells what it was: what the ledgers before left, unless evicted."""
    checked: Counter[str] = Counter()
    for history in histories(kind):
        state: dict[bytes, bytes | None] = {}
        for where, follows, rows in decoded(history):
            if not follows:
                state = {}
            for stream, entry_type in ENTRY_TYPES.items():
                seen: set[object] = set()
                for change_type, its_type, key, entry in rows[CHANGES]:
                    if its_type != entry_type or key in seen:
                        continue
                    seen.add(key)
                    if change_type in BEFORE and key in state:
                        assert state[key] == entry, f"{where} {stream}: another state than the ledgers before left"
                        checked[stream] += 1
                state.update((key, entry) for key, _, entry in rows[stream])
            for (key,) in rows[EVICTED]:
                assert state.get(key) is not None, f"{where}: evicted what does not live"
                state[key] = None
                checked[EVICTED] += 1
    assert checked >= Counter(AT_LEAST[kind]), checked


def live_until(entry: bytes | None) -> int:
    """Of a TTL entry; -1 where it is removed."""
    return -1 if entry is None else int(xdr.LedgerEntry.from_xdr_bytes(entry).data.ttl.live_until_ledger_seq.uint32)


def left_by(entry_type: str, entry: bytes | None, before: bytes | None) -> bytes | None:
    """What a change leaves of an entry. A life is ended, but never shortened (CAP-63)."""
    shortens = entry_type == "ttl" and entry is not None and live_until(entry) < live_until(before)
    return before if shortens else entry


def test_replaying_every_change_gives_the_rows_of_the_states(kind: str) -> None:
    without_effect = 0
    for history in histories(kind):
        for where, _, rows in decoded(history):
            for stream, entry_type in ENTRY_TYPES.items():
                replayed: dict[bytes, bytes | None] = {}
                for change_type, its_type, key, entry in rows[CHANGES]:
                    if its_type == entry_type and change_type not in BEFORE:
                        replayed[key] = left_by(entry_type, entry, replayed.get(key))
                        without_effect += replayed[key] != entry
                given = {key: entry for key, _, entry in rows[stream]}
                assert given == replayed, f"{where} {stream}"
                assert len(given) == len(rows[stream]), f"{where} {stream}: two rows of one key"
                assert all(deleted == (entry is None) for _, deleted, entry in rows[stream])
    assert without_effect == (7 if kind == "corpus" else 0), "lives are prolonged in parallel in one ledger"


def test_signers_kept_by_account_and_signer_are_those_of_the_accounts(kind: str) -> None:
    """After each ledger, as the accounts' own entries tell; a signer lost is not forgotten."""
    met: Counter[str] = Counter()
    for history in histories(kind):
        kept: dict[bytes, dict[str, tuple[int, str | None]]] = {}
        for where, follows, rows in decoded(history):
            if not follows:
                kept = {}
            mentioned = [(key, signer) for key, signer, *_ in rows[SIGNERS]]
            assert len(set(mentioned)) == len(mentioned), f"{where}: two rows of one signer"
            for key, signer, weight, sponsor, deleted in rows[SIGNERS]:
                of_account = kept.setdefault(key, {})
                met["lost"] += of_account.pop(signer, None) is not None and deleted
                if deleted:
                    assert weight is None
                    assert sponsor is None
                else:
                    of_account[signer] = (weight, sponsor)
            for key, _, entry in rows[ACCOUNTS]:
                expected = signers(xdr.LedgerEntry.from_xdr_bytes(entry)) if entry is not None else {}
                assert kept.get(key, {}) == expected, f"{where}: account {key.hex()}"
                met["accounts"] += 1
                met["listed"] += len(expected) > 1
    assert met["accounts"] > 4000
    assert met["listed"] > 20, met
    assert met["lost"] >= 10, met
