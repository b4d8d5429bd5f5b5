"""Checkpoint files survive crashes and refuse what does not fit."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
from pathlib import Path

import pytest

from stellar_arrow_client import StreamRequest
from stellar_arrow_client.checkpoint import (
    Checkpoint,
    load_checkpoint,
    locked,
    save_checkpoint,
    write_atomically,
)
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError

CHECKPOINT = Checkpoint("payments", 5, 90, ("amount", "memo"), "amount > 1", {"files": ["é", 1, None]})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    assert load_checkpoint(path) is None
    save_checkpoint(path, CHECKPOINT)
    assert load_checkpoint(path) == CHECKPOINT
    save_checkpoint(path, Checkpoint("payments", 5, 91))
    assert load_checkpoint(path) == Checkpoint("payments", 5, 91)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.json"]


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    save_checkpoint(path, CHECKPOINT)
    sound = path.read_bytes()
    random_ = random.Random(1)
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 1 << random_.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(IntegrityError):
            assert load_checkpoint(path) == CHECKPOINT  # a change of white space


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    save_checkpoint(path, CHECKPOINT)
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(IntegrityError, match="is damaged"):
            load_checkpoint(path)


def test_a_version_from_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(json.dumps({"version": 2}))
    with pytest.raises(IntegrityError, match="has version 2; this program knows 1"):
        load_checkpoint(path)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.json"
    save_checkpoint(path, CHECKPOINT)

    def crash(*_: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk on fire"):
        write_atomically(path, b"new")
    assert load_checkpoint(path) == CHECKPOINT


def test_resume() -> None:
    held = Checkpoint("payments", 5, 90)
    assert held.resume(StreamRequest("payments", 5, 200), "out") == 90
    assert held.resume(StreamRequest("payments", 90, 200), "out") == 90
    assert held.resume(StreamRequest("payments"), "out") == 90


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (StreamRequest("operations", 5), "out holds stream payments, not operations"),
        (StreamRequest("payments", 5, columns=("memo",)), "out holds columns all, not memo"),
        (StreamRequest("payments", 5, filter="x"), "out holds filter all, not x"),
        (StreamRequest("payments", 4), "a range that begins at 4 does not join it"),
        (StreamRequest("payments", 91), "a range that begins at 91 does not join it"),
    ],
)
def test_an_output_of_something_else_is_refused(request_: StreamRequest, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        Checkpoint("payments", 5, 90).resume(request_, "out")


def _hold(path: Path, held: object, done: object) -> None:
    with locked(path):
        held.set()  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / ".lock", held, done))
    other.start()
    try:
        assert held.wait(30)
        with pytest.raises(StellarArrowError, match="another process is writing"), locked(tmp_path / ".lock"):
            pass
    finally:
        other.kill()
        other.join()
    with locked(tmp_path / ".lock"):
        pass
