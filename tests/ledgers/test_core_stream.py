"""What stellar-core writes, as a file that grows and through a named pipe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError, StellarArrowError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers import core_stream
from stellar_arrow_source.ledgers.core_stream import CoreStream
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.header import ledger_sequence
from tests.ledgers.stores import NEVER, made, take
from tests.support import corpus

LEDGERS = made(100, 160)


def frame(record: bytes) -> bytes:
    return (len(record) | 1 << 31).to_bytes(4, "big") + record


def frames(ledgers: tuple[bytes, ...]) -> bytes:
    return b"".join(map(frame, ledgers))


@contextmanager
def opened(path: Path) -> Iterator[CoreStream]:
    source = open_source(path.as_uri().replace("file://", "core://"))
    assert isinstance(source, CoreStream)
    try:
        yield source
    finally:
        source.close()


def read(source: CoreStream, start: int, end: int) -> tuple[bytes, ...]:
    return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))


def test_a_file_is_read_from_any_ledger_on(tmp_path: Path) -> None:
    path = tmp_path / "meta.xdr"
    path.write_bytes(frames(LEDGERS))
    with opened(path) as source:
        assert source.bounds() == (100, 160)
        assert read(source, 100, 160) == LEDGERS
        assert read(source, 131, 140) == LEDGERS[31:41]
        with pytest.raises(GapError, match="gives ledger 100 and later ones, not ledger 99"):
            read(source, 99, 100)


@corpus.requires_corpus
def test_files_of_stellar_core() -> None:
    path = max((corpus.ROOT / "stellar-core").rglob("*.xdr"), key=lambda path: path.stat().st_size)
    with opened(path) as source:
        oldest, latest = source.bounds()
        assert oldest is not None
        assert latest is not None
        sequences = [ledger_sequence(xdr) for xdr in read(source, oldest, latest)]
        assert sequences == list(range(oldest, latest + 1))


def test_a_file_that_grows_in_pieces(tmp_path: Path) -> None:
    path, content = tmp_path / "meta.xdr", frames(LEDGERS)
    path.write_bytes(content[:3])
    with opened(path) as source:
        assert source.bounds() == (None, None)

        def write() -> None:
            with path.open("ab") as file:
                for at in range(3, len(content), 997):
                    file.write(content[at : at + 997])
                    file.flush()
                    time.sleep(0.0005)

        thread = threading.Thread(target=write)
        thread.start()
        assert read(source, 100, 160) == LEDGERS
        thread.join()
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
        assert list(source.ledgers(161, None, stop)) == []


def test_a_pipe_gives_every_reader_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as source:
        seen: list[tuple[bytes, ...]] = []
        threads = [threading.Thread(target=lambda: seen.append(read(source, 100, 160))) for _ in range(3)]
        for thread in threads:
            thread.start()
        with path.open("wb", buffering=0) as pipe:
            for ledger in LEDGERS:
                pipe.write(frame(ledger))
        for thread in threads:
            thread.join()
        assert seen == [LEDGERS] * 3


def test_stellar_core_started_again_repeats_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as source:
        for part in (LEDGERS[:31], LEDGERS[30:]):
            with path.open("wb") as pipe:
                pipe.write(frames(part))
            time.sleep(0.3)
        assert read(source, 100, 160) == LEDGERS


def test_a_pipe_keeps_its_newest_ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_stream, "KEPT_BYTES", sum(map(len, LEDGERS[-10:])))
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as source:
        with path.open("wb") as pipe:
            pipe.write(frames(LEDGERS))
        while source.bounds() != (151, 160):
            time.sleep(0.01)
        assert read(source, 151, 160) == LEDGERS[-10:]
        with pytest.raises(GapError, match="gives ledger 151 and later ones"):
            read(source, 150, 160)


@pytest.mark.parametrize(
    ("after", "kind", "message"),
    [
        (LEDGERS[5], IntegrityError, "no valid record mark at byte"),
        (b"\x80\0\0\0", IntegrityError, "no valid record mark at byte"),
        (b"\xff\xff\xff\xff" + LEDGERS[5], IntegrityError, "no valid record mark at byte"),
        (frame(b"no ledger at all"), IntegrityError, "no LedgerCloseMeta"),
        (frame(LEDGERS[6]), GapError, "goes from ledger 104 to ledger 106"),
        (frame(LEDGERS[3] + bytes(4)), IntegrityError, "two different ledgers 103"),
    ],
)
def test_what_comes_before_damage_is_given(tmp_path: Path, after: bytes, kind: type[Exception], message: str) -> None:
    path = tmp_path / "meta.xdr"
    path.write_bytes(frames(LEDGERS[:5]) + after)
    with opened(path) as source:
        taken: list[bytes] = []
        with pytest.raises(kind, match=message):
            take(source.ledgers(100, 160, NEVER), taken)
        assert tuple(taken) == LEDGERS[:5]


def test_a_writer_that_dies_within_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as source:
        with path.open("wb") as pipe:
            pipe.write(frames(LEDGERS[:5])[:-9])
        with pytest.raises(IntegrityError, match="ended within a record"):
            read(source, 100, 104)


def test_a_file_changed_behind_its_back(tmp_path: Path) -> None:
    path = tmp_path / "meta.xdr"
    path.write_bytes(frames(LEDGERS))
    with opened(path) as source:
        assert source.bounds() == (100, 160)
        path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(IntegrityError, match="was changed at byte"):
            read(source, 100, 160)


def test_closed_and_absent(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="No such file"):
        open_source(f"core://{tmp_path}/absent")
    path = tmp_path / "meta.xdr"
    path.write_bytes(b"")
    with opened(path) as source:
        pass
    with pytest.raises(StellarArrowError, match="has been closed"):
        read(source, 100, 101)
