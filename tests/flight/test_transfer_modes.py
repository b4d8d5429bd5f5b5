"""Token-transfer events from where the server is told to take them, against those of the Go SDK's processor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.cli import command
from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.modes import TransferMode
from tests.support import corpus
from tests.support.serving import serving, wait_until

pytestmark = [corpus.requires_corpus, corpus.requires_peers]

STORE = str(corpus.ROOT / "pubnet")
LEDGER = 60659332
"""Of protocol 24: stellar-core wrote the events of all its transactions."""
BEFORE = 46154623
"""Of protocol 19: it wrote none."""


def counted(rows: Iterable[Mapping[str, Any]], *names: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[name] for name in names) for row in rows)


def of_peer(mode: str, ledger: int) -> Counter[tuple[Any, ...]]:
    """What moves in a ledger, as the Go SDK's processor says in that mode."""
    lines = corpus.peer_rows(f"real/ttp_{mode}.jsonl.gz")
    rows = (line["row"] for line in lines if line["store"] == "pubnet" and line["ledger"] == ledger)
    return counted(rows, "tx_hash", "op_index", "event_type", "from", "to", "amount")


def of_ours(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    names = ("operation_index", "event_type", "from_address", "to_address", "amount_raw")
    return counted((row | {"hash": bytes(row["transaction_hash"]).hex()} for row in rows), "hash", *names)


@pytest.mark.parametrize("mode", get_args(TransferMode))
def test_a_server_takes_events_from_where_it_is_told(mode: TransferMode) -> None:
    with serving(tables=ledger_tables(mode), open_source=lambda: open_source(STORE)) as service:
        wait_until(lambda: not service.not_ready(), 120)
        with Client(service.location) as client:
            found = {
                ledger: client.read_table(StreamRequest("token_transfers", ledger, ledger)).to_pylist()
                for ledger in (LEDGER, BEFORE)
            }
    modes = {ledger: {row["events_mode"] for row in rows} for ledger, rows in found.items()}
    assert (
        modes
        == {
            "auto": {LEDGER: {"unified"}, BEFORE: {"derived"}},
            "unified": {LEDGER: {"unified"}, BEFORE: set()},
            "derived": {LEDGER: {"derived"}, BEFORE: {"derived"}},
        }[mode]
    )
    for ledger, rows in found.items():
        [taken] = modes[ledger] or [mode]
        assert of_ours(rows) == of_peer(taken, ledger)


@pytest.mark.parametrize("way", ["option", "environment"])
def test_head_takes_them_from_there_too(way: str) -> None:
    arguments = ["head", "ttp_events", "--source", STORE, "--start", str(LEDGER), "--rows", "3"]
    given, env = (["--ttp-mode", "derived"], {}) if way == "option" else ([], {"TTP_MODE": "derived"})
    result = CliRunner().invoke(command, arguments + given, env=env)
    assert [json.loads(line)["events_mode"] for line in result.stdout.splitlines()] == 3 * ["derived"]


def test_the_server_is_told_by_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def note(mode: TransferMode) -> Any:
        told.append(mode)
        raise SystemExit(0)

    monkeypatch.setattr("stellar_arrow_source.flight.process.ledger_tables", note)
    CliRunner().invoke(command, ["--mock-data", "--ttp-mode", "unified"])
    CliRunner().invoke(command, ["--mock-data"], env={"TTP_MODE": "derived"})
    CliRunner().invoke(command, ["--mock-data"])
    assert told == ["unified", "derived", "auto"]
    refused = CliRunner().invoke(command, ["--mock-data", "--ttp-mode", "derive"])
    assert refused.exit_code == 2
    assert "did you mean 'derived'" in refused.stderr
