"""The cache of raw ledgers: the same ledgers, fetched once, within its limit, whatever happens to its files."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers import cache as cache_module
from stellar_arrow_source.ledgers.cache import CachedSource
from tests.ledgers.memory import LEDGERS, OTHER_LEDGERS, Memory
from tests.ledgers.stores import NEVER, take
from tests.support.serving import wait_until

PLENTY = 1 << 30


def read(source: CachedSource, start: int, end: int) -> tuple[bytes, ...]:
    return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.xdr.zst"))


def filled(folder: Path, *ranges: tuple[int, int]) -> None:
    source = CachedSource(Memory("far", 100, 199), folder, PLENTY)
    for first, last in ranges:
        assert read(source, first, last) == LEDGERS[first - 100 : last - 99]
    source.close()


def test_what_was_read_is_not_fetched_again(tmp_path: Path) -> None:
    filled(tmp_path, (110, 129), (150, 159))
    assert len(files(tmp_path)) == 30
    far = Memory("far", 100, 199)
    source = CachedSource(far, tmp_path, PLENTY)
    assert source.held_bytes == sum(file.stat().st_size for file in files(tmp_path))
    assert read(source, 100, 199) == LEDGERS
    assert far.given == [*range(100, 110), *range(130, 150), *range(160, 200)]
    far.given.clear()
    source.close()
    assert far.closed
    source = CachedSource(Memory("far", 199, 199), tmp_path, PLENTY)
    assert read(source, 100, 199) == LEDGERS
    source.close()


def test_the_tip_is_followed_through_it(tmp_path: Path) -> None:
    filled(tmp_path, (100, 120))
    far = Memory("far", 100, 130)
    source = CachedSource(far, tmp_path, PLENTY)
    reader = source.ledgers(100, None, stop := threading.Event())
    taken = [next(reader).sequence for _ in range(31)]
    far.last = 140
    taken += [next(reader).sequence for _ in range(10)]
    assert taken == list(range(100, 141))
    stop.set()
    assert list(reader) == []
    source.close()


@pytest.mark.parametrize("damage", ["empty", "flipped", "other", "gone"])
def test_files_of_no_use_are_fetched_anew(tmp_path: Path, damage: str) -> None:
    filled(tmp_path, (100, 119))
    victim = next(file for file in files(tmp_path) if file.name == "107.xdr.zst")
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    match damage:
        case "empty":
            victim.write_bytes(b"")
        case "flipped":
            victim.write_bytes(content)
        case "other":
            victim.write_bytes(victim.with_name("108.xdr.zst").read_bytes())
    far = Memory("far", 100, 199)
    source = CachedSource(far, tmp_path, PLENTY)
    if damage == "gone":
        victim.unlink()
    assert read(source, 100, 119) == LEDGERS[:20]
    assert far.given == [107]
    source.close()
    far.given.clear()
    again = CachedSource(far, tmp_path, PLENTY)
    assert read(again, 100, 119) == LEDGERS[:20]
    assert far.given == []
    again.close()


def test_the_limit_holds_and_the_least_used_go(tmp_path: Path) -> None:
    filled(tmp_path, (100, 109))
    size = sum(file.stat().st_size for file in files(tmp_path))
    limit = size * 2
    source = CachedSource(Memory("far", 100, 199), tmp_path, limit)
    for start in range(110, 200, 5):
        assert read(source, 100, 101) == LEDGERS[:2]
        assert read(source, start, start + 4) == LEDGERS[start - 100 : start - 95]
        wait_until(lambda: source._waiting == 0)  # else what is written late counts as used late
    source.close()
    kept = {int(file.name.partition(".")[0]) for file in files(tmp_path)}
    assert source.held_bytes == sum(file.stat().st_size for file in files(tmp_path)) <= limit
    assert {100, 101} <= kept
    assert not kept & set(range(102, 110))
    assert 199 in kept


def test_what_cannot_be_written_in_time_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_WAITING_BYTES", 1)
    source = CachedSource(Memory("far", 100, 199), tmp_path, PLENTY)
    assert read(source, 100, 199) == LEDGERS
    source.close()
    assert files(tmp_path) == []


def test_two_caches_of_one_folder(tmp_path: Path) -> None:
    sources = [CachedSource(Memory("far", 100, 199), tmp_path, PLENTY) for _ in range(2)]
    seen: list[tuple[bytes, ...]] = []
    threads = [threading.Thread(target=lambda s=s: seen.append(read(s, 100, 199))) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [LEDGERS] * 2
    for source in sources:
        source.close()
    assert len(files(tmp_path)) == 100
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_endpoints_do_not_mix(tmp_path: Path) -> None:
    filled(tmp_path, (100, 109))
    other = Memory("other", 100, 199)
    source = CachedSource(other, tmp_path, PLENTY)
    assert read(source, 100, 109) == LEDGERS[:10]
    assert other.given == list(range(100, 110))
    source.close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceUnavailableError, match=r"cannot use .* as cache of ledgers"):
        CachedSource(Memory("far", 100, 199), tmp_path / "file", PLENTY)


# -- a network that has begun anew, as test networks do, under the same endpoint and passphrase


def begun_anew(folder: Path) -> CachedSource:
    return CachedSource(Memory("far", 100, 199, ledgers=OTHER_LEDGERS), folder, PLENTY)


def test_another_history_after_ledgers_of_the_cache_is_an_error_once(tmp_path: Path) -> None:
    filled(tmp_path, (100, 119))
    source = begun_anew(tmp_path)
    taken: list[bytes] = []
    with pytest.raises(IntegrityError, match="ledger 120 of far does not follow ledger 119"):
        take(source.ledgers(100, 199, NEVER), taken)
    assert tuple(taken) == LEDGERS[:20]
    assert read(source, 100, 199) == OTHER_LEDGERS
    source.close()
    assert read(begun_anew(tmp_path), 100, 199) == OTHER_LEDGERS


def test_ledgers_of_the_cache_that_do_not_fit_are_fetched_anew(tmp_path: Path) -> None:
    filled(tmp_path, (110, 119), (150, 159))
    source = begun_anew(tmp_path)
    assert read(source, 105, 199) == OTHER_LEDGERS[5:]
    source.close()


def test_a_source_that_is_far_behind_its_cache_has_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_BEHIND", 20)
    filled(tmp_path, (150, 199))
    for last, kept in ((180, 50), (178, 0)):
        source = CachedSource(Memory("far", 100, last), tmp_path, PLENTY)
        assert source.bounds() == (100, last)
        source.close()
        assert len(files(tmp_path)) == kept


# -- accidents


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    filled(tmp_path, (100, 101))
    folder = files(tmp_path)[0].parent
    old, young = folder / ".102.xdr.zst.7.7", folder / ".103.xdr.zst.8.8"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    filled(tmp_path, (100, 101))
    assert not old.exists()
    assert young.exists()  # another process may be at it


def test_a_full_disk_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = CachedSource(Memory("far", 100, 199), tmp_path, PLENTY)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert read(source, 100, 199) == LEDGERS
    source.close()
    assert ["is not kept" in record.message for record in caplog.records] == [True]
