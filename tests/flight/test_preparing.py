"""Streams are compiled by another process, those that somebody waits for first, and the server answers meanwhile."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import flight

from stellar_arrow_client.request import Cursor
from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.flight.preparing import COMMAND, Preparation
from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tables import STREAMS, prepare
from stellar_arrow_source.xdr import code_cache
from tests.ledgers.stores import made
from tests.support.serving import TABLES, Decoded, PlainDecoder, serving, wait_until

LEDGER = b"a ledger"
CHILD = """
import os, sys, time
folder, limit = sys.argv[1], int(sys.argv[2])
read, write = sys.stdin.buffer, sys.stdout.buffer
ledger = read.read(int.from_bytes(read.read(8), "big"))
with open(f"{folder}/processes", "a") as file:
    file.write(f"{os.getpid()} {ledger!r} {sys.argv[3:]}\\n")
for count, line in enumerate(read, 1):
    with open(f"{folder}/asked", "ab") as file:
        file.write(line)
    while not os.path.exists(f"{folder}/{line.decode().strip()}"):
        time.sleep(0.01)
    if line == b"fatal\\n":
        sys.exit(9)
    write.write(line)
    write.flush()
    if count == limit:
        sys.exit(os.EX_TEMPFAIL)
"""


class Child:
    """A process that answers a stream as soon as a test lets it, and leaves a trace of what it was asked."""

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self.folder = folder
        self.command = [sys.executable, "-c", CHILD, str(folder), str(limit)]

    def allow(self, *streams: str) -> None:
        for stream in streams:
            (self.folder / stream).touch()

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    @property
    def asked(self) -> list[str]:
        return self._lines("asked")

    @property
    def processes(self) -> list[int]:
        return [int(line.split()[0]) for line in self._lines("processes")]

    @property
    def arguments(self) -> list[str]:
        return [line.split(maxsplit=1)[1] for line in self._lines("processes")]


@contextmanager
def begun(child: Child, *streams: str, passphrase: str | None = None) -> Iterator[Preparation]:
    preparation = Preparation(streams, child.command)
    preparation.start(LEDGER, passphrase)
    try:
        yield preparation
    finally:
        preparation.close()


def test_streams_are_ready_one_after_the_other(tmp_path: Path) -> None:
    child = Child(tmp_path)
    with begun(child, "a", "b", passphrase="of the network") as preparation:
        assert not preparation.wait("a", 0.1)
        assert preparation.wait("other", 0)
        child.allow("a")
        assert preparation.wait("a", 20)
        assert not preparation.wait("b", 0.1)
        child.allow("b")
        assert preparation.wait("b", 20)
    assert child.arguments == [f"{LEDGER!r} ['of the network']"]


def test_what_somebody_waits_for_comes_next(tmp_path: Path) -> None:
    child = Child(tmp_path)
    with begun(child, "a", "b", "c", "d") as preparation:
        wait_until(lambda: child.asked == ["a"], 20)
        assert not preparation.wait("d", 0)
        child.allow("a", "b", "c", "d")
        wait_until(lambda: preparation.wait("a", 0) and len(child.asked) == 4, 20)
    assert child.asked == ["a", "d", "b", "c"]


def test_a_process_that_asks_for_another_is_followed_by_one(tmp_path: Path) -> None:
    child = Child(tmp_path, limit=2)
    child.allow("a", "b", "c", "d", "e")
    with begun(child, "a", "b", "c", "d", "e") as preparation:
        wait_until(lambda: len(child.asked) == 5, 30)
        assert preparation.wait("e", 20)
    assert child.asked == ["a", "b", "c", "d", "e"]
    assert len(set(child.processes)) == 3


@pytest.mark.parametrize("how", ["ends by itself", "is killed", "cannot be started"])
def test_without_the_process_nothing_waits(tmp_path: Path, how: str) -> None:
    child = Child(tmp_path)
    if how == "cannot be started":
        child.command = ["/absent/program"]
    with begun(child, "fatal", "b") as preparation:
        if how != "cannot be started":
            wait_until(lambda: child.asked == ["fatal"], 20)
            assert not preparation.wait("b", 0)
        if how == "is killed":
            os.kill(child.processes[0], signal.SIGKILL)
        child.allow("fatal")
        assert preparation.wait("b", 20)
        assert preparation.wait("fatal", 0)


def test_closing_ends_the_process_and_all_waiting(tmp_path: Path) -> None:
    child = Child(tmp_path)
    with begun(child, "a", "b") as preparation:
        wait_until(lambda: child.asked == ["a"], 20)
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(preparation.wait("b", 60)))
        thread.start()
        preparation.close()
        thread.join(5)
    assert waited == [True]
    wait_until(lambda: not Path(f"/proc/{child.processes[0]}").exists(), 10)


def test_a_client_hears_the_server_while_its_stream_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, heard = Child(tmp_path), []
    child.allow("transactions")
    monkeypatch.setattr(
        "stellar_arrow_source.flight.service.Preparation", lambda names: Preparation(names, child.command)
    )
    tables = TABLES._replace(unprepared=lambda: ["transactions", "numbers"])
    with serving(tables=tables) as service:
        assert not service.not_ready()
        reader = flight.connect(service.location).do_get(flight.Ticket(b"numbers:1:20"))
        for chunk in reader:
            cursor = Cursor.from_metadata(bytes(chunk.app_metadata))
            heard.append((chunk.data.num_rows, cursor.first, cursor.last))
            if len(heard) == 2:
                child.allow("numbers")
    assert heard[:2] == [(0, 1, 0)] * 2
    assert (sum(rows for rows, _, _ in heard), heard[-1][2]) == (40, 20)


class Unhurried(PlainDecoder):
    """Takes its time, as the real one does where something is left to be compiled."""

    go_on: threading.Event

    def decode(self, xdrs: Sequence[bytes]) -> Decoded:
        if "numbers" in self._requests:
            self.go_on.wait(60)
        return super().decode(xdrs)


def test_clients_hear_the_server_while_it_decodes_and_while_they_wait_for_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Unhurried, "go_on", threading.Event(), raising=False)
    # Each bounded one is decoded by itself, more than there are threads to do it; the live ones share.
    tickets = [*(f"numbers:{start}:20" for start in range(1, 11)), "numbers:1:", "numbers:1:"]
    with serving(tables=TABLES._replace(decoder=Unhurried)) as service:  # type: ignore[arg-type]
        client = flight.connect(service.location)
        readers = [client.do_get(flight.Ticket(ticket.encode())) for ticket in tickets]
        for heard in (reader.read_chunk() for reader in readers * 2):
            assert heard.data.num_rows == 0
        Unhurried.go_on.set()
        for ticket, reader in zip(tickets, readers, strict=True):
            first, rows = int(ticket.split(":")[1]), 0
            while rows < 2 * (21 - first):
                rows += reader.read_chunk().data.num_rows
            reader.cancel()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str, str]]:
    """A cache of code that holds nothing at first, for what has been prepared."""
    kept: set[tuple[str, str, str]] = set()
    monkeypatch.setattr(code_cache, "load", lambda *key: b"done" if key in kept else None)
    monkeypatch.setattr(code_cache, "store", lambda *key: kept.add(key[:3]))
    monkeypatch.setattr("stellar_arrow_source.xdr.arena.native_walk", lambda program: None)
    return kept


def test_what_is_prepared_is_remembered_until_the_sources_change(
    records: set[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    [ledger], answers = made(100, 100), io.BytesIO()
    unprepared = ledger_tables().unprepared
    before = list(unprepared())
    assert before == [*(stream.name for stream in STREAMS), prepare.TOGETHER]
    requests = io.BytesIO(len(ledger).to_bytes(8, "big") + ledger + b"payments\nledgers\n")
    code = prepare.serve(requests, answers, KNOWN_NETWORKS["synthetic"])
    assert code in (os.EX_OK, os.EX_TEMPFAIL)
    assert b"payments\nledgers\n".startswith(answers.getvalue())
    done = answers.getvalue().decode().split()
    assert done
    assert unprepared() == [name for name in before if name not in done]
    monkeypatch.setattr(prepare, "_sources", lambda: "other sources")
    assert unprepared() == before


def test_what_is_prepared_at_one_place_is_not_at_another(
    records: set[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Path(prepare.__file__).parent
    for folder in (tables, tables.parent / "xdr"):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    digest = prepare._sources.__wrapped__
    here = digest()
    monkeypatch.setattr(prepare, "__file__", str(tmp_path / "tables" / "prepare.py"))
    assert digest() != here
    assert digest() == digest()


def test_a_ledger_that_cannot_be_decoded_prepares_nothing(records: set[tuple[str, str, str]]) -> None:
    answers = io.BytesIO()
    prepare.serve(io.BytesIO((4).to_bytes(8, "big") + b"\0\0\0\x09" + b"ledgers\n"), answers, None)
    assert answers.getvalue() == b"ledgers\n"
    assert not records


def test_the_process_answers_and_ends() -> None:
    [ledger] = made(100, 100)
    requests = len(ledger).to_bytes(8, "big") + ledger + b"ledgers\n"
    done = subprocess.run([*COMMAND, KNOWN_NETWORKS["synthetic"]], input=requests, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"ledgers\n", b"")
    assert done.returncode in (os.EX_OK, os.EX_TEMPFAIL)
