"""The rows of the state streams, kept by key, are the state of the ledger: as the ledgers that follow tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.corpus import CorpusLedger, files, read, requires_corpus
from tests.support.decoding import LedgerDecoder

ENTRY_TYPES = {"accounts": "account", "trust_lines": "trustline", "offers": "offer"}
"""State stream → type of its entries."""
CHANGES = "ledger_entry_changes"
COLUMNS = {
    CHANGES: ("change_type", "ledger_entry_type", "ledger_key_hash", "ledger_entry_xdr"),
    **dict.fromkeys(ENTRY_TYPES, ("ledger_key_hash", "deleted", "ledger_entry_xdr")),
}
BEFORE = {"LEDGER_ENTRY_STATE"}

State = dict[bytes, bytes | None]


def decoded(file: str) -> Iterator[tuple[CorpusLedger, int, dict[str, list[tuple[object, ...]]]]]:
    """(ledger, sequence, stream → rows) of each ledger of a file."""
    decoder = LedgerDecoder(COLUMNS, passphrase=read(file)[0].passphrase)
    for ledger in read(file):
        found = decoder.decode([ledger.xdr])
        rows = {stream: list(zip(*batch.to_pydict().values(), strict=True)) for stream, batch in found.batches.items()}
        yield ledger, int(found.sequences[0]), rows


@requires_corpus
def test_states_kept_by_key_are_what_later_ledgers_start_from() -> None:
    """In a ledger the first change of an entry tells what it was: what the ledgers before left."""
    checked: Counter[str] = Counter()
    for file in files():
        state: State = {}
        last = 0
        for ledger, sequence, rows in decoded(file):
            if sequence != last + 1:
                state = {}
            last = sequence
            for stream, entry_type in ENTRY_TYPES.items():
                seen: set[object] = set()
                for kind, its_type, key, entry in rows[CHANGES]:
                    if its_type != entry_type or key in seen:
                        continue
                    seen.add(key)
                    if kind in BEFORE and key in state:
                        assert state[key] == entry, f"{ledger.id} {stream}: another state than the ledgers before left"
                        checked[stream] += 1
                state.update((key, entry) for key, _, entry in rows[stream])  # type: ignore[misc]
    assert set(checked) == set(ENTRY_TYPES)
    assert min(checked.values()) >= 20, checked


@requires_corpus
def test_replaying_every_change_gives_the_rows_of_the_states() -> None:
    for file in files():
        for ledger, _, rows in decoded(file):
            for stream, entry_type in ENTRY_TYPES.items():
                replayed = {
                    key: entry for kind, its_type, key, entry in rows[CHANGES]
                    if its_type == entry_type and kind not in BEFORE
                }  # fmt: skip
                given = {key: entry for key, _, entry in rows[stream]}
                assert given == replayed, f"{ledger.id} {stream}"
                assert len(given) == len(rows[stream]), f"{ledger.id} {stream}: two rows of one key"
                assert all(deleted == (entry is None) for _, deleted, entry in rows[stream])
