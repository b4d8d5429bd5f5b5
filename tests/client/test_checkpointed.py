"""Checkpointed streams: whatever ends the process, each row of their files is there exactly once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stellar_arrow_client import Client, Cursor, StreamRequest
from stellar_arrow_client.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError
from stellar_arrow_client.testing import FakeServer, sample_table

FIRST, LAST = 10, 150
REQUEST = StreamRequest("samples", FIRST, LAST, ("ledger_sequence", "transaction_id"))
EXPECTED = sample_table(FIRST, LAST).select(REQUEST.columns).to_pylist()

WRITER = f"""
import json, sys
from stellar_arrow_client import Client, StreamRequest
request = StreamRequest("samples", {FIRST}, {LAST}, ("ledger_sequence", "transaction_id"))
with Client(sys.argv[1]) as client, client.checkpointed(request, sys.argv[2]) as stream:
    out = stream.open(sys.argv[3])
    for batch, cursor in stream:
        out.writelines(json.dumps(row) + "\\n" for row in batch.to_pylist())
        if cursor.last % 5 == 0:
            stream.ack(cursor)
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"samples": sample_table(FIRST, LAST)}, FIRST, LAST, ledgers_per_batch=3) as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def rows(path: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_killed_again_and_again(server: FakeServer, tmp_path: Path) -> None:
    server.ledgers_per_batch, server.delay = 1, 0.004
    checkpoint, out = tmp_path / "position", tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", WRITER, server.address, str(checkpoint), str(out)]
    chance, kills, cut = random.Random(7), 0, 0
    while True:
        process = subprocess.Popen(command)
        wanted = server.batches + chance.randrange(8, 30)
        while process.poll() is None and server.batches < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
        kept = load_checkpoint(checkpoint)
        cut += kept is not None and kept.state["files"]["rows.jsonl"] < out.stat().st_size
    assert rows(out) == EXPECTED
    assert kills >= 3
    assert cut
    subprocess.run(command, check=True, timeout=60)
    assert rows(out) == EXPECTED


@pytest.mark.parametrize("acknowledged", [0, 1, 3])
def test_what_was_not_acknowledged_comes_again(client: Client, tmp_path: Path, acknowledged: int) -> None:
    def write(stop_after: int | None) -> list[Cursor]:
        given = []
        with client.checkpointed(REQUEST, tmp_path / "position") as stream:
            out = stream.open(tmp_path / "rows.jsonl")
            for number, (batch, cursor) in enumerate(stream):
                given.append(cursor)
                out.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
                if stop_after is None or number < acknowledged:
                    stream.ack(cursor, {"batches": number + 1})
                if number == stop_after:
                    break
            if stop_after is None:
                assert stream.next_ledger == LAST + 1
        return given

    first = write(acknowledged + 1)
    again = write(None)
    assert again[0].first == (first[acknowledged - 1].cursor if acknowledged else FIRST)
    assert rows(tmp_path / "rows.jsonl") == EXPECTED
    with client.checkpointed(REQUEST, tmp_path / "position") as stream:
        assert stream.state == {"batches": len(again)}
        assert list(stream) == []
        stream.open(tmp_path / "rows.jsonl")
    assert rows(tmp_path / "rows.jsonl") == EXPECTED


def test_files_that_come_and_go(client: Client, tmp_path: Path) -> None:
    """One file for each ten ledgers, closed and opened again, in bytes; the folder is moved in between."""

    def write(folder: Path, batches: int) -> None:
        with client.checkpointed(REQUEST, folder / "position") as stream:
            for _, (batch, cursor) in zip(range(batches), stream, strict=False):
                for row in batch.to_pylist():
                    with stream.open(folder / f"{row['ledger_sequence'] // 10}.jsonl", "wb") as out:
                        out.write(json.dumps(row).encode() + b"\n")
                if cursor.last % 2:
                    stream.ack(cursor)
            assert (folder / ".position.lock").exists()

    before, after = tmp_path / "before", tmp_path / "after"
    write(before, 9)
    before.rename(after)
    write(after, 10)
    write(after, 1000)
    assert [row for number in range(1, 16) for row in rows(after / f"{number}.jsonl")] == EXPECTED


def test_only_what_was_given_is_acknowledged_once(client: Client, tmp_path: Path) -> None:
    with client.checkpointed(REQUEST, tmp_path / "position") as stream:
        with pytest.raises(InvalidRequestError, match="ledger 12 cannot be acknowledged"):
            stream.ack(Cursor(10, 12))
        _, cursor = next(stream)
        with pytest.raises(InvalidRequestError, match="has not given it yet"):
            stream.ack(Cursor(cursor.first, cursor.last + 1))
        _, later = next(stream)
        stream.ack(later)
        stream.ack(later)
        with pytest.raises(InvalidRequestError, match="more than ledger 12 was acknowledged before"):
            stream.ack(cursor)
    with pytest.raises(StellarArrowError, match="inside its with statement"):
        next(stream)


def test_a_checkpoint_of_something_else(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "position"
    with client.checkpointed(REQUEST, path) as stream:
        _, cursor = next(stream)
        stream.ack(cursor)
    other = StreamRequest("samples", FIRST, LAST, ("ledger_sequence",))
    with pytest.raises(InvalidRequestError, match="holds columns ledger_sequence, transaction_id"):
        client.checkpointed(other, path).__enter__()
    with pytest.raises(InvalidRequestError, match="does not join it"):
        client.checkpointed(StreamRequest("samples", 100, LAST, REQUEST.columns), path).__enter__()
    save_checkpoint(path, Checkpoint.of(REQUEST, FIRST, 20, {"files": 5}))
    with pytest.raises(InvalidRequestError, match="checkpoint of something else"):
        client.checkpointed(REQUEST, path).__enter__()
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="is damaged"):
        client.checkpointed(REQUEST, path).__enter__()


def test_one_process_at_a_time(client: Client, tmp_path: Path) -> None:
    with client.checkpointed(REQUEST, tmp_path / "position"), pytest.raises(StellarArrowError, match="another process"):
        client.checkpointed(REQUEST, tmp_path / "position").__enter__()
    with client.checkpointed(REQUEST, tmp_path / "position") as stream:
        assert next(stream)[1].first == FIRST


def test_a_file_that_lost_rows(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with client.checkpointed(REQUEST, tmp_path / "position") as stream:
        stream.open(path).write("acknowledged")
        with pytest.raises(InvalidRequestError, match="is open already"):
            stream.open(path)
        with pytest.raises(InvalidRequestError, match="mode w or wb"):
            stream.open(tmp_path / "other", "r+")
        stream.ack(next(stream)[1])
    path.write_text("acknow")
    with (
        client.checkpointed(REQUEST, tmp_path / "position") as stream,
        pytest.raises(IntegrityError, match="has 6 bytes, 12 were acknowledged"),
    ):
        stream.open(path)
    assert path.read_text() == "acknow"


def test_the_tip_is_followed_from_where_it_was(server: FakeServer, client: Client, tmp_path: Path) -> None:
    for expected in (LAST, LAST + 1):
        with client.checkpointed("samples", tmp_path / "position") as stream:
            _, cursor = next(stream)
            assert cursor == Cursor(expected, expected)
            stream.ack(cursor)
        server.publish(LAST + 1, {"samples": sample_table(LAST + 1, LAST + 1)})


def test_resume_of_a_plain_stream(client: Client) -> None:
    assert [cursor.first for _, cursor in client.stream(REQUEST, resume=148)] == [148]
    assert list(client.stream(REQUEST, resume=LAST + 1)) == []
    assert next(client.stream("samples:10:20"))[1].first == 10
