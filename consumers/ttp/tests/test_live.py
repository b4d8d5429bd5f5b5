"""A client of grpc-js follows a store that grows, while everything between is killed and comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from consumers.ttp.tests.oracle import check, events_of_store
from consumers.ttp.tests.processes import SECONDS, Process, Processor
from tests.support.corpus import ROOT, requires_corpus, requires_peers
from tests.support.programs import free_port

STORE = ROOT / "testnet-2022"


class Growing:
    """A store that holds a part of another one, file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = sorted(STORE.rglob("*.zst"), key=lambda path: path.name, reverse=True)
        folder.mkdir()
        shutil.copy(STORE / ".config.json", folder)
        self.grow()

    def grow(self) -> None:
        source = self._files.pop(0)
        target = self.folder / source.relative_to(STORE)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target.with_suffix(".tmp"))
        target.with_suffix(".tmp").rename(target)


def wait_for_ledger(output: Path, ledger: int) -> None:
    """Until the client has printed an event of that ledger."""
    deadline = time.monotonic() + SECONDS
    while f'"ledger_sequence":{ledger},' not in output.read_text():
        assert time.monotonic() < deadline, f"no event of ledger {ledger}: {output.read_text()[-300:]}"
        time.sleep(0.05)


@requires_corpus
@requires_peers
def test_nothing_is_lost_or_doubled_when_all_are_killed(node_client: Path, tmp_path: Path) -> None:
    wanted = events_of_store("testnet-2022")
    first, last = min(wanted), max(wanted)
    store, output = Growing(tmp_path / "store"), tmp_path / "events"
    flight_port, port = free_port(), free_port()
    flight = Process("stellar-arrow-source", "--source", store.folder, "--port", flight_port, "--health-port", 0)
    processor = Processor(f"127.0.0.1:{flight_port}", port=port)
    with flight, processor, output.open("wb") as out, (tmp_path / "said").open("wb") as said:
        client = subprocess.Popen(
            ["node", node_client, f"127.0.0.1:{port}", str(first), "follow", str(last - 1)], stdout=out, stderr=said
        )
        try:
            wait_for_ledger(output, first + 62)
            processor.kill()
            store.grow()
            processor.start()
            wait_for_ledger(output, first + 126)
            flight.kill()
            store.grow()
            flight.start()
            wait_for_ledger(output, first + 190)
            store.grow()
            client.wait(SECONDS)
        finally:
            client.kill()
            client.wait()
    events = [json.loads(line) for line in output.read_text().splitlines()]
    assert [event["meta"]["ledger_sequence"] for event in events] == [
        ledger for ledger in sorted(wanted) if ledger < last for _ in wanted[ledger][0]
    ]
    for ledger in wanted:
        if ledger < last:
            check([event for event in events if event["meta"]["ledger_sequence"] == ledger], *wanted[ledger])
    breaks = [json.loads(line)["code"] for line in (tmp_path / "said").read_text().splitlines()]
    assert set(breaks) == {"UNAVAILABLE"}, (
        "the processor was killed, and only the processor's end is seen by the client"
    )
