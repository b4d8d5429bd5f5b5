"""The decoders that a server keeps."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from stellar_arrow_source.flight.decoders import Decoders


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
