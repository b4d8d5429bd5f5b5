"""Clients get exactly the events that the Go SDK's processor reads from the same ledgers: grpc-js and grpcio."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from consumers.ttp.tests.oracle import Event, check, event_of_message, events_of_store
from consumers.ttp.tests.processes import SECONDS, Processor, call
from tests.support.corpus import requires_corpus, requires_peers

pytestmark = [requires_corpus, requires_peers]

EVENTS = {"pubnet": 2701, "pubnet-2020-meta-v2": 728, "testnet-2022": 1351}
"""Store → how many events its ledgers have."""

Client = Callable[[Processor, list[range]], list[Event]]


def by_grpcio(processor: Processor, runs: list[range]) -> list[Event]:
    with processor.channel() as channel:
        return [event_of_message(message) for run in runs for message in call(channel, run[0], run[-1])]


@pytest.fixture(params=["grpcio", "grpc-js"])
def client(request: pytest.FixtureRequest) -> Client:
    if request.param == "grpcio":
        return by_grpcio
    script: Path = request.getfixturevalue("node_client")

    def by_grpc_js(processor: Processor, runs: list[range]) -> list[Event]:
        bounds = [str(bound) for run in runs for bound in (run[0], run[-1])]
        done = subprocess.run(
            ["node", str(script), processor.address, *bounds],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["code"] for line in done.stderr.splitlines()] == ["OK"] * len(runs)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return by_grpc_js


@pytest.fixture(scope="module", params=EVENTS)
def served(request: pytest.FixtureRequest, address_of: Callable[[str], str]) -> Iterator[tuple[str, Processor]]:
    """A store, and a processor of its ledgers."""
    with Processor(address_of(request.param)) as processor:
        yield request.param, processor


def runs(ledgers: Iterable[int]) -> list[range]:
    """The ledgers in ascending order, those that follow each other together."""
    found: list[range] = []
    for ledger in sorted(ledgers):
        if found and found[-1].stop == ledger:
            found[-1] = range(found[-1].start, ledger + 1)
        else:
            found.append(range(ledger, ledger + 1))
    return found


def test_events_are_those_of_the_go_sdk(served: tuple[str, Processor], client: Client) -> None:
    store, processor = served
    wanted = events_of_store(store)
    events = client(processor, runs(wanted))
    ledgers = [event["meta"]["ledger_sequence"] for event in events]
    assert ledgers == sorted(ledgers)
    assert set(ledgers) <= set(wanted)
    for ledger in wanted:
        check([event for event in events if event["meta"]["ledger_sequence"] == ledger], *wanted[ledger])
    assert len(events) == EVENTS[store]
