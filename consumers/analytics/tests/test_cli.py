"""The command itself, as a process of its own, against a real Flight server."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.cli import command
from analytics_consumer.selection import AssetFilter, Selection

from consumers.analytics.tests.made import EPOCH, MINUTE, Made, make_ledgers, run_sink, to_batch
from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.testing import FakeServer, Fault

COMMAND = str(Path(sys.executable).with_name("analytics-consumer"))
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("ANALYTICS_", "STELLAR_", "LOG_"))}
BY_NAME = {analysis.name: analysis for analysis in ANALYSES}
SECONDS = 60


def tables(analysis: Analysis, ledgers: Sequence[Made]) -> dict[str, pa.Table]:
    batch, _ = to_batch(analysis, ledgers)
    closes = pa.table(
        {
            "ledger_sequence": pa.array([ledger.sequence for ledger in ledgers], pa.uint32()),
            "ledger_close_time": pa.array([ledger.closed for ledger in ledgers], pa.timestamp("us", "UTC")),
        }
    )
    return {analysis.stream: pa.Table.from_batches([batch]), "ledgers": closes}


def serve(analysis: Analysis, ledgers: Sequence[Made], **options: Any) -> FakeServer:
    return FakeServer(tables(analysis, ledgers), ledgers[0].sequence, ledgers[-1].sequence, **options)


def consume(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS, env=ENV | env, check=False
    )


def lines(results: Sequence[Any]) -> str:
    return "".join(f"{result.to_json()}\n" for result in results)


@pytest.fixture(scope="module")
def payments() -> list[Made]:
    return make_ledgers(random.Random("cli"), "payments", 120)


@pytest.fixture
def server(payments: list[Made]) -> Iterator[FakeServer]:
    with serve(BY_NAME["payment-volume"], payments) as running:
        yield running


def test_a_bounded_range_of_every_analysis(analysis: Analysis) -> None:
    ledgers = make_ledgers(random.Random(3), analysis.stream, 80)
    with serve(analysis, ledgers, ledgers_per_batch=7) as server:
        done = consume(server.address, analysis.name, 7, "--from", 1000, "--to", 1079, "--every", "2m", "--top", 3)
    assert (done.returncode, done.stdout) == (
        0,
        lines(run_sink(analysis, ledgers, minutes=7, every=120, top=3).results),
    )
    assert set(server.requests[0].columns or ()) == set(analysis.request_columns)


def test_breaks_and_split_ledgers_change_nothing(payments: list[Made]) -> None:
    faults = [Fault(3), Fault(1, "end"), Fault(9), Fault(0), Fault(5)]
    volume = BY_NAME["payment-volume"]
    with serve(volume, payments, ledgers_per_batch=4, split_rows=2, faults=faults) as server:
        done = consume(server.address, "--from", 1000, "--to", 1119)
    assert (done.returncode, done.stdout) == (0, lines(run_sink(volume, payments, minutes=60).results))
    assert len(server.faults) == 0


def test_defaults_are_payment_volume_and_an_hour(server: FakeServer) -> None:
    last = json.loads(consume(server.address, "--from", 1000, "--to", 1119).stdout.splitlines()[-1])
    assert (last["analysis"], last["window_minutes"], last["final"]) == ("payment-volume", 60, True)


def test_environment_and_configuration(server: FakeServer, payments: list[Made], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[analytics-consumer]\ntop = 2\nevery = "10m"\n')
    arguments = (server.address, "payment-volume", "5", "--to", "1119", "--config", config)
    expected = run_sink(BY_NAME["payment-volume"], payments, top=1, every=600).results
    done = consume(*arguments, ANALYTICS_CONSUMER_FROM_LEDGER="1000", ANALYTICS_CONSUMER_TOP="1")
    assert (done.returncode, done.stdout) == (0, lines(expected))


def test_assets_and_threshold(payments: list[Made]) -> None:
    analysis = BY_NAME["high-value"]
    selection = Selection(AssetFilter(frozenset({"native"}), frozenset({"USDC"})), threshold=5_000_001)
    with serve(analysis, payments) as server:
        options = ("--from", 1000, "--to", 1119, "--asset", "native", "--asset", "USDC", "--threshold", "0.5000001")
        done = consume(server.address, "high-value", 5, *options)
    assert (done.returncode, done.stdout) == (0, lines(run_sink(analysis, payments, selection=selection).results))


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_gives_the_final_result(
    server: FakeServer, payments: list[Made], number: signal.Signals, code: int
) -> None:
    process = start(server.address, "payment-volume", 5, "--from", 1000)
    server.wait_for_batches(12)
    time.sleep(1)
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (code, lines(run_sink(BY_NAME["payment-volume"], payments).results))
    assert "Traceback" not in err


def test_follows_the_tip_from_the_latest_ledger(server: FakeServer, payments: list[Made]) -> None:
    process = start(server.address, "payment-volume", 5)
    server.wait_for_batches(1)
    after = [Made(1120 + n, payments[-1].seconds + 30 * n, payments[1 + n].rows) for n in range(1, 9)]
    after = [Made(ledger.sequence - 1, ledger.seconds, ledger.rows) for ledger in after]
    server.publish(1127, tables(BY_NAME["payment-volume"], after))
    server.wait_for_batches(2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert out == lines(run_sink(BY_NAME["payment-volume"], [payments[-1], *after]).results)


def test_an_integrity_error_ends_without_a_final_result(payments: list[Made]) -> None:
    error = IntegrityError("ledger 1050 is not valid XDR")
    with serve(BY_NAME["payment-volume"], payments, faults=[Fault(5, "error", error)]) as server:
        done = consume(server.address, "--from", 1000, "--to", 1119)
    assert done.returncode == 4
    assert "ledger 1050 is not valid XDR" in done.stderr
    assert all(not json.loads(line)["final"] for line in done.stdout.splitlines())


def test_a_close_time_that_goes_back_is_an_integrity_error() -> None:
    back = [Made(1, 60, [{"amount": 1}]), Made(2, 30, [{"amount": 1}])]
    for ledger in back:
        ledger.rows[0].update(asset_type="native", asset_code="XLM", successful=True)
    with serve(BY_NAME["payment-volume"], back) as server:
        done = consume(server.address, "--from", 1, "--to", 2)
    assert (done.returncode, done.stdout) == (4, "")
    assert "ledger 2 closes before ledger 1" in done.stderr


def test_nobody_listens() -> None:
    done = consume("localhost:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("payment-volum",), "did you mean 'payment-volume'?"),
        (("payment-volume", "0"), "0 is not in the range"),
        (("payment-volume", "sixty"), "'sixty' is not a valid integer"),
        (("fees", "--asset", "native"), "fees knows no --asset; these do: payment-volume, high-value"),
        (("payment-volume", "--threshold", "1"), "payment-volume knows no --threshold; these do: high-value"),
        (("high-value", "--threshold", "0.00000001"), "at most seven decimals"),
        (("payment-volume", "--asset", "XLM"), "write native for lumens"),
        (("payment-volume", "--every", "1"), "'1' is not a duration"),
        (("payment-volume", "--every", "0s"), "'0s' is not a duration"),
        (("payment-volume", "--to", "5"), "--to needs --from"),
        (("payment-volume", "--from", "9", "--to", "5"), "start 9 is after end 5"),
        (("payment-volume", "--top", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage(arguments: Sequence[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["localhost:1", *arguments], prog_name="analytics-consumer")
    out, err = capfd.readouterr()
    assert (left.value.code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_analyses_are_listed() -> None:
    done = consume("--list")
    assert done.returncode == 0
    for analysis in ANALYSES:
        assert f"{analysis.name}: {analysis.description}" in done.stdout
        for measure in analysis.measures:
            assert measure.name in done.stdout


def test_tables_off_a_terminal(server: FakeServer) -> None:
    done = consume(server.address, "--from", 1000, "--to", 1119, "--output", "table", "--every", "1d")
    assert done.returncode == 0
    assert "(final)" in done.stdout
    assert "LONGERCODE:GAAA…AAAA" in done.stdout


def test_a_closed_pipe_is_no_failure(server: FakeServer) -> None:
    shell = f"{COMMAND} {server.address} payment-volume 5 --from 1000 --to 1119 --every 1s | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, env=ENV, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "Traceback" not in done.stderr


def test_the_epoch_of_these_tests_is_not_the_present() -> None:
    """Close times move the window, never the wall clock: all of this happens years ago."""
    assert EPOCH.timestamp() * 1e6 + 365 * 24 * 60 * MINUTE < time.time() * 1e6
