"""The decoders that a server keeps."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest

from stellar_arrow_source.flight.decoders import Brief, Decoders


@pytest.fixture
def decoders() -> Any:
    made: list[Any] = []

    def make(requests: Any, *, passphrase: str | None) -> Any:
        made.append((requests, passphrase))
        return object()

    yield Decoders(make, at_once=2), made
    gc.unfreeze()


def test_a_decoder_is_used_again_for_the_same_columns(decoders) -> None:
    lent, made = decoders
    seen = []
    for columns in (("a",), ("a",), ("b",), ("a",)):
        with lent.lend({"payments": columns}, None) as decoder:
            seen.append(decoder)
    assert seen[0] is seen[1] is seen[3] is not seen[2]
    assert [requests for requests, _ in made] == [{"payments": ("a",)}, {"payments": ("b",)}]


def test_only_the_ones_used_last_are_kept(decoders) -> None:
    lent, made = decoders
    for columns in ("a", "b", "c", "a"):
        with lent.lend({"payments": (columns,)}, None):
            pass
    assert len(made) == 4


def test_what_a_stream_has_loaded_is_not_searched_for_cycles(decoders) -> None:
    lent, _ = decoders
    gc.unfreeze()
    frozen = []
    for stream in ("payments", "payments", "trades"):
        loaded = [[] for _ in range(1000)]
        before = gc.get_freeze_count()
        with lent.lend({stream: ("a",)}, None):
            pass
        frozen.append(gc.get_freeze_count() - before)
        assert len(loaded) == 1000
    assert frozen[0] > 1000
    assert frozen[1] <= 0
    assert frozen[2] > 1000


def test_who_waits_for_a_single_ledger_decodes_it(decoders) -> None:
    lent, _ = decoders
    wanted: dict[str, tuple[str, ...]] = {"payments": ("a",)}
    first = lent.submit(threading.current_thread, wanted, None, ledgers=1)
    assert first.result(10) is not threading.current_thread(), "no decoder was at hand"
    with lent.lend(wanted, None):
        pass
    brief = lent.submit(threading.current_thread, wanted, None, ledgers=1)
    assert not brief.done()
    brief.do()
    assert brief.result(0) is threading.current_thread()
    for others in (({"trades": ("a",)}, None, 1), (wanted, "another network", 1), (wanted, None, 2)):
        assert lent.submit(threading.current_thread, *others).result(10) is not threading.current_thread()


def test_brief_work_is_done_once() -> None:
    done, begun, held = [], threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert held.wait(10)
        done.append(threading.current_thread())
        return 7

    brief = Brief(work)
    other = threading.Thread(target=brief.do)
    other.start()
    assert begun.wait(10)
    brief.do()
    assert not brief.done()
    held.set()
    assert brief.result(10) == 7
    other.join()
    assert done == [other]


def test_brief_work_that_fails_or_is_cancelled() -> None:
    failing = Brief(lambda: 1 // 0)
    failing.do()
    failing.do()
    with pytest.raises(ZeroDivisionError):
        failing.result(0)
    cancelled = Brief(lambda: pytest.fail("it was cancelled"))
    assert cancelled.cancel()
    cancelled.do()
    with pytest.raises(CancelledError):
        cancelled.result(0)
