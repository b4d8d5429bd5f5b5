"""History and tip as one: every ledger once, in order, whichever of them gives it."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import NetworkMismatchError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.joined import HistoryAndLive
from tests.ledgers.memory import LEDGERS, OTHER_LEDGERS, Memory, sequences
from tests.ledgers.servers import QUICK
from tests.ledgers.stores import NEVER, Store, take
from tests.ledgers.test_rpc import serving


@pytest.mark.parametrize(("start", "end"), [(100, 199), (100, 150), (150, 151), (151, 199), (160, 170)])
def test_a_range_over_both(start: int, end: int) -> None:
    store, tip = Memory("store", 100, 150), Memory("tip", 140, 199)
    joined = HistoryAndLive(store, tip)
    assert joined.bounds() == (100, 199)
    assert sequences(joined, start, end) == list(range(start, end + 1))
    assert store.given == list(range(start, min(end, 150) + 1))
    assert tip.given == list(range(max(start, 151), end + 1))


def test_history_that_grows_meanwhile_is_used_as_far_as_it_reaches() -> None:
    store, tip = Memory("store", 100, 110), Memory("tip", 150, 199)
    reader = HistoryAndLive(store, tip).ledgers(100, 199, NEVER)
    taken = [ledger.sequence for ledger in islice(reader, 8)]
    store.last = 160
    assert taken + [ledger.sequence for ledger in reader] == list(range(100, 200))


def test_what_neither_has_is_a_gap_that_names_both() -> None:
    joined = HistoryAndLive(Memory("store", 100, 120), Memory("tip", 130, 199))
    taken: list[bytes] = []
    with pytest.raises(GapError, match="ledger 121 is nowhere: store ends with ledger 120, and tip begins with 130"):
        take(joined.ledgers(100, 199, NEVER), taken)
    assert tuple(taken) == LEDGERS[:21]


def test_the_tip_is_followed_through_a_store_and_a_server(tmp_path: Path) -> None:
    Store(tmp_path).write(100, LEDGERS[:40])
    with serving(130, LEDGERS[30:60]) as server:
        source = open_source(str(tmp_path), live=server.endpoint, retry=QUICK)
        assert source.bounds() == (100, 159)
        stop = threading.Event()
        reader = source.ledgers(100, None, stop)
        taken = [bytes(next(reader).xdr) for _ in range(60)]
        threading.Timer(0.2, lambda: server.ledgers.extend(LEDGERS[60:])).start()
        taken += [bytes(next(reader).xdr) for _ in range(40)]
        assert tuple(taken) == LEDGERS
        threading.Timer(0.1, stop.set).start()
        assert list(reader) == []
        source.close()


def test_a_tip_of_another_network_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        Store(tmp_path / name, manifest={"networkPassphrase": name}).write(100, LEDGERS[:2])
    with pytest.raises(NetworkMismatchError, match=r"different networks: .*one \('one'\) and .*other \('other'\)"):
        open_source(f"{tmp_path}/one", live=f"{tmp_path}/other")


def test_a_tip_that_does_not_follow_history_is_refused() -> None:
    """Sources that declare no network may be of different ones all the same."""
    joined = HistoryAndLive(Memory("store", 100, 150), Memory("tip", 100, 199, ledgers=OTHER_LEDGERS))
    taken: list[bytes] = []
    with pytest.raises(IntegrityError, match="ledger 151 of tip does not follow ledger 150 of the source before it"):
        take(joined.ledgers(100, 199, NEVER), taken)
    assert tuple(taken) == LEDGERS[:51]
