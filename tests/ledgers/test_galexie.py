"""SEP-54 stores: what is there is read, what is missing or damaged is told, what is to come is waited for."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from stellar_arrow_client.errors import GapError, IntegrityError, StellarArrowError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers import galexie
from stellar_arrow_source.ledgers.folders import LocalFolder
from stellar_arrow_source.ledgers.galexie import GalexieStore
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.layout import Span
from tests.ledgers.stores import NEVER, Store, batch, compress, made
from tests.support import corpus


def opened(folder: Path) -> GalexieStore:
    return GalexieStore(LocalFolder(folder), endpoint=str(folder))


def read(store: GalexieStore, start: int, end: int) -> tuple[bytes, ...]:
    return tuple(bytes(ledger.xdr) for ledger in store.ledgers(start, end, NEVER))


@pytest.mark.parametrize("suffix", [".xdr.zst", ".xdr.zstd"])
@pytest.mark.parametrize(("per_batch", "per_partition"), [(1, 1), (1, 8), (4, 1), (4, 2), (16, 3)])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_every_layout_is_read(
    tmp_path: Path, per_batch: int, per_partition: int, suffix: str, with_manifest: bool
) -> None:
    ledgers = made(64, 127)
    written = Store(tmp_path, per_batch=per_batch, per_partition=per_partition, suffix=suffix)
    written.write(64, ledgers)
    if not with_manifest:
        (tmp_path / ".config.json").unlink()
    store = opened(tmp_path)
    assert store.bounds() == (64, 127)
    assert read(store, 64, 127) == ledgers
    assert read(store, 70, 101) == ledgers[6:38]
    assert read(store, 127, 127) == ledgers[63:]
    assert store.network_passphrase == ("stellar-arrow synthetic network" if with_manifest else None)


@corpus.requires_corpus
@pytest.mark.parametrize(
    ("folder", "start", "end"), [("testnet-2022", 1410048, 1410303), ("pubnet", 30822015, 30822025)]
)
def test_real_stores_are_read(folder: str, start: int, end: int) -> None:
    ledgers = list(opened(corpus.ROOT / folder).ledgers(start, end, NEVER))
    assert [ledger.sequence for ledger in ledgers] == list(range(start, end + 1))
    by_sequence = {ledger_sequence(one.xdr): one.xdr for one in corpus.ledgers(folder)}
    assert [bytes(ledger.xdr) for ledger in ledgers] == [by_sequence[number] for number in range(start, end + 1)]


@pytest.mark.parametrize("version", ["0.1.0", "1.0"])
def test_both_versions_of_the_manifest(tmp_path: Path, version: str) -> None:
    Store(tmp_path, manifest={"version": version}).write(5, made(5, 6))
    assert opened(tmp_path).bounds() == (5, 6)


@pytest.mark.parametrize(
    "manifest",
    [
        {"version": "9"},
        {"compression": "gzip"},
        {"ledgersPerBatch": 0},
        {"ledgersPerBatch": "x"},
        {"batchesPerPartition": -1},
        {"batchesPerPartition": None},
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: dict[str, object]) -> None:
    Store(tmp_path, manifest=manifest)
    with pytest.raises(IntegrityError, match=r"\.config\.json"):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, "{}", "null"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".config.json").write_text(text)
    with pytest.raises(IntegrityError, match="no manifest"):
        opened(tmp_path)


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(IntegrityError, match="do not tell how ledgers are laid out"):
        opened(tmp_path)


def test_names_that_contradict_each_other(tmp_path: Path) -> None:
    Store(tmp_path, per_batch=4).write(4, made(4, 7))
    Store(tmp_path, per_batch=2).write(8, made(8, 9))
    (tmp_path / ".config.json").unlink()
    with pytest.raises(IntegrityError, match="do not tell"):
        opened(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="No such file"):
        opened(tmp_path / "absent").bounds()


def test_a_missing_file_is_a_gap(tmp_path: Path) -> None:
    written = Store(tmp_path, per_partition=4)
    written.write(10, made(10, 20))
    written.path(15).unlink()
    reader = opened(tmp_path).ledgers(10, 20, NEVER)
    assert [next(reader).sequence for _ in range(5)] == [10, 11, 12, 13, 14]
    with pytest.raises(GapError, match=f"ledger 15 is missing in {tmp_path}.*{written.path(15).name}"):
        next(reader)


def test_before_the_oldest_is_a_gap(tmp_path: Path) -> None:
    Store(tmp_path).write(10, made(10, 12))
    with pytest.raises(GapError, match="begins with ledger 10"):
        read(opened(tmp_path), 9, 12)


def test_the_first_file_of_a_network_begins_later_than_its_name(tmp_path: Path) -> None:
    Store(tmp_path, per_batch=8).write_file(0, compress(batch(2, made(2, 7))))
    store = opened(tmp_path)
    assert store.bounds() == (2, 7)
    assert read(store, 2, 7) == made(2, 7)
    with pytest.raises(GapError, match="begins with ledger 2"):
        read(store, 1, 3)


def test_new_files_are_waited_for(tmp_path: Path) -> None:
    ledgers = made(30, 36)
    written = Store(tmp_path)
    written.write(30, ledgers[:2])
    stop = threading.Event()
    reader = opened(tmp_path).ledgers(30, None, stop)
    assert [next(reader).sequence for _ in range(2)] == [30, 31]

    def later() -> None:
        time.sleep(0.4)
        written.write(32, ledgers[2:])

    thread = threading.Thread(target=later)
    thread.start()
    assert [bytes(next(reader).xdr) for _ in range(5)] == list(ledgers[2:])
    thread.join()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    assert list(reader) == []
    assert time.monotonic() - began < 2


def test_an_empty_store_is_waited_for(tmp_path: Path) -> None:
    written = Store(tmp_path)
    store = opened(tmp_path)
    assert store.bounds() == (None, None)
    threading.Timer(0.3, lambda: written.write(3, made(3, 3))).start()
    assert read(store, 3, 3) == made(3, 3)


def damaged(ledgers: tuple[bytes, ...]) -> dict[str, tuple[bytes, str]]:
    whole = compress(batch(8, ledgers))
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(batch(8, ledgers))
    return {
        "truncated frame": (whole[: len(whole) // 2], "truncated"),
        "one byte less": (whole[:-1], "truncated"),
        "empty file": (b"", "truncated"),
        "no zstd": (b"this is no zstd frame", "is damaged"),
        "flipped bits": (checked[:40] + bytes([checked[40] ^ 0xFF]) + checked[41:], "is damaged"),
        "truncated XDR": (compress(batch(8, ledgers)[:-8]), "is damaged"),
        "trailing XDR": (compress(batch(8, ledgers) + bytes(4)), "is damaged"),
        "other ledgers": (compress(batch(8, made(12, 15))), "should hold the ledgers 8 to 11"),
        "too few": (compress(batch(8, ledgers[:3])), "should hold the ledgers 8 to 11"),
        "wrong order": (compress(batch(8, ledgers[::-1])), "should hold the ledgers 8 to 11"),
        "wrong name": (compress(batch(12, ledgers)), "should hold the ledgers 8 to 11"),
        "nothing": (compress(batch(8, ())), "should hold the ledgers 8 to 11"),
    }


@pytest.mark.parametrize("kind", damaged(made(8, 11)))
def test_a_damaged_file_is_told_with_its_name(tmp_path: Path, kind: str) -> None:
    content, message = damaged(made(8, 11))[kind]
    written = Store(tmp_path, per_batch=4)
    written.write_file(8, content)
    with pytest.raises(IntegrityError, match=message) as raised:
        read(opened(tmp_path), 8, 11)
    assert str(written.path(8)) in str(raised.value)
    assert raised.value.exit_code == 4


def test_a_damaged_file_can_be_replaced_while_the_store_is_open(tmp_path: Path) -> None:
    written = Store(tmp_path)
    written.write_file(8, b"")
    store = opened(tmp_path)
    with pytest.raises(IntegrityError):
        read(store, 8, 8)
    written.write(8, made(8, 8))
    assert read(store, 8, 8) == made(8, 8)


def test_decompression_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galexie, "MAX_BATCH", 1 << 20)
    bomb = zstandard.ZstdCompressor().compress(bytes(256 << 20))
    assert len(bomb) < 1 << 20
    Store(tmp_path).write_file(8, bomb)
    with pytest.raises(IntegrityError, match="more than 1 MiB"):
        read(opened(tmp_path), 8, 8)


def test_a_file_takes_its_own_size_and_not_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    folder = LocalFolder(tmp_path)
    tracemalloc.start()
    try:
        assert folder.read("file", 1 << 30) == bytes(1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert folder.read("file", 10) == bytes(10)


def test_files_read_lately_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledgers = made(64, 127)
    Store(tmp_path, per_batch=4).write(64, ledgers)
    reads: list[str] = []
    original = galexie._read_batch

    def counting(folder: LocalFolder, names: list[str], span: Span) -> object:
        reads.append(names[0])
        return original(folder, names, span)

    monkeypatch.setattr(galexie, "_read_batch", counting)
    store = opened(tmp_path)
    for start in range(64, 128, 2):  # as the pages of a service come
        assert read(store, start, start + 1) == ledgers[start - 64 : start - 62]
    assert len(reads) == len(set(reads)) == 16
    reads.clear()
    monkeypatch.setattr(galexie, "_CACHE_BYTES", 1)
    small = opened(tmp_path)
    for _ in range(2):
        assert read(small, 64, 127) == ledgers
    assert len(reads) == 32


def test_several_readers_at_once(tmp_path: Path) -> None:
    ledgers = made(64, 127)
    Store(tmp_path, per_batch=4).write(64, ledgers)
    store = opened(tmp_path)
    seen: list[tuple[bytes, ...]] = []
    threads = [threading.Thread(target=lambda: seen.append(read(store, 64, 127))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [ledgers] * 4


def test_a_closed_store_is_an_expected_error(tmp_path: Path) -> None:
    Store(tmp_path).write(8, made(8, 9))
    store = opened(tmp_path)
    store.close()
    with pytest.raises(StellarArrowError, match="closed"):
        read(store, 8, 9)


class BrokenFolder(LocalFolder):
    """One that, until ``mend``, cannot read its first file, and tries its second one for long before it says so."""

    def __init__(self, path: Path, first: str) -> None:
        super().__init__(path)
        self._first, self.broken = first, True
        self.trying, self.given_up = threading.Event(), threading.Event()

    def read(self, path: str, limit: int) -> bytes | memoryview | None:
        if self.broken and path.endswith(".zst"):
            if self._first in path:
                assert self.trying.wait(30)
            else:
                self.trying.set()
                assert self.given_up.wait(30)
            raise SourceUnavailableError(f"cannot read {path}")
        return super().read(path, limit)


def test_who_tries_again_does_not_share_the_end_of_tries_that_fail(tmp_path: Path) -> None:
    ledgers = made(64, 67)
    Store(tmp_path).write(64, ledgers)
    folder = BrokenFolder(tmp_path, "--64.xdr")
    store = GalexieStore(folder, endpoint=str(tmp_path))
    with pytest.raises(SourceUnavailableError, match=r"--64\.xdr"):
        read(store, 64, 67)
    folder.broken = False
    try:
        assert read(store, 64, 67) == ledgers
    finally:
        folder.given_up.set()
    assert read(store, 64, 67) == ledgers
    store.close()


def test_a_reading_that_has_just_failed_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it may be told before it is taken out of the cache."""
    ledgers = made(64, 67)
    Store(tmp_path).write(64, ledgers)
    folder = BrokenFolder(tmp_path, "--64.xdr")
    folder.trying.set()
    folder.given_up.set()
    monkeypatch.setattr(GalexieStore, "_account", lambda *_: None)
    store = GalexieStore(folder, endpoint=str(tmp_path))
    with pytest.raises(SourceUnavailableError):
        read(store, 64, 67)
    folder.broken = False
    assert read(store, 64, 67) == ledgers
    store.close()
