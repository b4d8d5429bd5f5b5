"""Events that give no row are never silently gone: counted in /metrics, logged once, told by ``head``."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from stellar_sdk import scval, xdr

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.cli import command
from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.endpoint import open_source
from tests.ledgers.stores import Store, made
from tests.support.serving import serving, wait_until

NO_AMOUNT = "event whose amount is not an i128"
TOO_FEW = "event with too few topics"
FIRST, SPOILED, LAST = 100, (103, 106), 109


def spoil(ledger: bytes) -> tuple[bytes, dict[str, int]]:
    """The ledger with transfers made such that none can be read, and how many for which reason."""
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger)
    counts = {NO_AMOUNT: 0, TOO_FEW: 0}
    for processed in meta.v2.tx_processing:
        for operation in processed.tx_apply_processing.v4.operations:
            for event in operation.events:
                if event.body.v0.topics[0].sym.sc_symbol != b"transfer":
                    continue
                if counts[NO_AMOUNT] <= counts[TOO_FEW]:
                    event.body.v0.data = scval.to_uint64(7)
                    counts[NO_AMOUNT] += 1
                else:
                    event.body.v0.topics = event.body.v0.topics[:2]
                    counts[TOO_FEW] += 1
    return meta.to_xdr_bytes(), counts


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A store with unreadable events in two ledgers, and how many for which reason."""
    folder, ledgers, total = tmp_path_factory.mktemp("store"), list(made(FIRST, LAST, 6)), {NO_AMOUNT: 0, TOO_FEW: 0}
    for sequence in SPOILED:
        ledgers[sequence - FIRST], counts = spoil(ledgers[sequence - FIRST])
        for reason, number in counts.items():
            total[reason] += number
    Store(folder).write(FIRST, tuple(ledgers))
    assert all(total.values())
    return folder, total


def skipped(service: Service) -> dict[tuple[str, str], float]:
    connection = HTTPConnection("127.0.0.1", service.health_port, timeout=5)
    connection.request("GET", "/metrics")
    families = text_string_to_metric_families(connection.getresponse().read().decode())
    return {
        (sample.labels["stream"], sample.labels["reason"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "stellar_arrow_events_skipped_total"
    }


class Log:
    """Keeps the warnings of a logger."""

    def __init__(self) -> None:
        self.warnings: list[dict[str, object]] = []

    def bind(self, **_: object) -> Log:
        return self

    def info(self, _: str, **fields: object) -> None:
        pass

    def warning(self, _: str, **fields: object) -> None:
        self.warnings.append(fields)


def test_the_server_counts_them_and_logs_each_reason_once(
    store: tuple[Path, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, total = store
    log = Log()
    monkeypatch.setattr("stellar_arrow_source.flight.server._log", log)
    with serving(tables=ledger_tables(), open_source=lambda: open_source(str(folder)), batch_size=1) as service:
        wait_until(lambda: not service.not_ready(), 120)
        before = skipped(service)
        with Client(service.location) as client:
            rows = client.read_table(StreamRequest("ttp_events", FIRST, LAST)).num_rows
            client.read_table(StreamRequest("payments", FIRST, LAST))
            once = skipped(service)
            client.read_table(StreamRequest("ttp_events", FIRST, LAST))
        twice = skipped(service)
    assert rows > 0
    assert before == {}
    assert once == {("ttp_events", reason): number for reason, number in total.items()}
    assert twice == {key: 2 * number for key, number in once.items()}
    assert sorted(str(fields["reason"]) for fields in log.warnings) == sorted(total)
    assert {(fields["stream"], fields["first_ledger"]) for fields in log.warnings} == {("ttp_events", SPOILED[0])}


def test_head_tells_of_them(store: tuple[Path, dict[str, int]]) -> None:
    folder, total = store
    arguments = ["head", "ttp_events", "--source", str(folder), "--start", str(FIRST), "--rows", "10000"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    told = dict(re.findall(r"^skipped in ttp_events: (.*): (\d+)$", result.stderr, re.MULTILINE))
    assert {reason: int(number) for reason, number in told.items()} == total
