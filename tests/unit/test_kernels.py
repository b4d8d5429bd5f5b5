"""What all kernels share: loads, and code that is compiled anew when anything it is made of changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from stellar_arrow_source.xdr import jit
from stellar_arrow_source.xdr.kernels import count_between

VALUES = [0, 1, 0x01020304, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def test_loads_are_big_endian_and_unsigned() -> None:
    words = np.frombuffer(b"".join(value.to_bytes(4, "big") for value in VALUES), np.uint32)
    assert [int(jit.load32(words, p)) for p in range(len(VALUES))] == VALUES
    assert [jit.load_int(words, p) for p in range(len(VALUES))] == VALUES
    pairs = [high << 32 | low for high, low in itertools.pairwise(VALUES)]
    assert [int(jit.load64(words, p)) for p in range(len(pairs))] == pairs


def test_counting_includes_both_bounds() -> None:
    values = np.array([-1, 0, 1, 5, 6, 2**62], np.int64)
    assert count_between(values, 0, 5) == 3
    assert count_between(values, 1, 2**63 - 1) == 4


@pytest.fixture
def stamp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
    """The stamp of a folder beside the one that stands for xdr/."""
    for name in ("xdr", "transfers", "flight"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "xdr" / "jit.py"))
    (tmp_path / "xdr" / "gather.py").write_text("@kernel\ndef f(): ...\n")
    return lambda folder: jit._stamp.__wrapped__(tmp_path / folder)


def test_stamp_follows_the_bounds_check(stamp: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamp("xdr")
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", not numba.config.BOUNDSCHECK)
    assert stamp("xdr") != before


@pytest.mark.parametrize(
    ("edited", "changed"),
    [("xdr", {"xdr", "transfers", "flight"}), ("transfers", {"transfers"}), ("flight", {"flight"})],
)
def test_stamp_follows_kernels_of_its_own_folder_and_of_xdr(
    stamp: Callable[[str], str], tmp_path: Path, edited: str, changed: set[str]
) -> None:
    folders = ("xdr", "transfers", "flight")
    before = {folder: stamp(folder) for folder in folders}
    (tmp_path / edited / "plain.py").write_text("def g(): ...\n")
    assert {folder: stamp(folder) for folder in folders} == before
    (tmp_path / edited / "gather.py").write_text("@helper\ndef f(): return 1\n")
    assert {folder for folder in folders if stamp(folder) != before[folder]} == changed
