"""The command against the real server: its decoder, its streams, its clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from analytics_consumer.analyses import Analysis
from analytics_consumer.selection import Selection

from consumers.analytics.tests.made import EPOCH, Made
from consumers.analytics.tests.oracle import ORACLES, expected_windows, in_order
from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from tests.support.corpus import ROOT, requires_corpus

BIN = Path(sys.executable).parent
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("ANALYTICS_", "STELLAR_", "LOG_"))}
SOURCES = [
    pytest.param(str(ROOT / "testnet-2022"), id="testnet", marks=requires_corpus),
    pytest.param("synthetic://?ledgers=200", id="synthetic"),
]


@pytest.fixture(scope="module", params=SOURCES)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server of some two hundred ledgers."""
    process = subprocess.Popen(
        [
            str(BIN / "stellar-arrow-source"),
            *("--source", request.param, "--port", "0", "--health-port", "0", "--log-format", "json"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    try:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        yield first["flight"].removeprefix("grpc://")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def read(client: Client, analysis: Analysis, first: int, last: int) -> list[Made]:
    """The ledgers of a range with their rows, as the server tells them."""
    rows = client.read_table(StreamRequest(analysis.stream, first, last, analysis.request_columns)).to_pylist()
    closes = client.read_table(StreamRequest("ledgers", first, last, ("ledger_sequence", "ledger_close_time")))
    by_ledger = {sequence: list(group) for sequence, group in groupby(rows, lambda row: row["ledger_sequence"])}
    return [
        Made(row["ledger_sequence"], int((row["ledger_close_time"] - EPOCH).total_seconds()), found)
        for row in closes.to_pylist()
        for found in [by_ledger.get(row["ledger_sequence"], [])]
    ]


def test_results_of_the_real_server_equal_plain_python(
    request: pytest.FixtureRequest, server: str, analysis: Analysis
) -> None:
    with Client(server) as client:
        last = client.latest_ledger()
        assert last is not None
        first = last - 149
        ledgers = read(client, analysis, first, last)
    done = subprocess.run(
        [
            str(BIN / "analytics-consumer"),
            *(server, analysis.name, "5", "--from", str(first), "--to", str(last)),
            *(("--threshold", "10") if "threshold" in analysis.options else ()),
            *("--top", "100000"),
        ],
        capture_output=True,
        text=True,
        env=ENV,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "aligned" not in done.stderr

    results = [json.loads(line) for line in done.stdout.splitlines()]
    windows = expected_windows(ledgers, minutes=5, every=60)
    assert len(results) == len(windows) > 5
    selection = Selection(threshold=100_000_000)
    stroops = [measure.name for measure in analysis.measures if measure.unit == "stroops"]
    for result, window in zip(results, windows, strict=True):
        rows = in_order(analysis, ORACLES[analysis.name]([row for x in window for row in x.rows], selection))
        for row in rows:
            row.update({name: str(row[name]) for name in stroops})
        assert result["rows"] == rows
        assert (result["from_ledger"], result["to_ledger"]) == (window[0].sequence, window[-1].sequence)
    before_contracts = "testnet" in request.node.name and analysis.name == "contract-activity"
    assert any(result["rows"] for result in results) != before_contracts
