"""Runs: resume, checkpoints, several streams at once, failures, signals, progress, metrics."""

from __future__ import annotations

import logging
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stellar_arrow_client import Client, Cursor, Job, RetryPolicy, Sink, StreamRequest, run, run_all
from stellar_arrow_client.errors import (
    ExitCode,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.progress import Progress, reporting
from stellar_arrow_client.runner import START_SECONDS
from stellar_arrow_client.scaffold import TEMPLATE
from stellar_arrow_client.testing import FakeServer, Fault, sample_table

QUICK = RetryPolicy(retry_for=5.0, first_tries=2, initial=0.01, maximum=0.05)
SILENT = RunOptions(progress="none")
CONSUMER = [sys.executable, "-c", "from template_consumer.cli import command; command()", "--stream", "samples"]
IMPORTABLE = os.environ | {"PYTHONPATH": str(TEMPLATE / "src")}


class Memory:
    """A sink that notes its calls."""

    def __init__(self, resume: int | None = None, fail_at: int | None = None) -> None:
        self.calls: list[str] = []
        self.batches: list[pa.RecordBatch] = []
        self.threads: set[int] = set()
        self._resume, self._fail_at = resume, fail_at
        self.next_ledger: int | None = resume

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        self.calls.append("open")
        self.schema, self.request = schema, request
        self.threads.add(threading.get_ident())
        return self._resume

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        self.calls.append("write")
        self.threads.add(threading.get_ident())
        if self._fail_at is not None and cursor.last >= self._fail_at:
            raise StellarArrowError("the disk is full")
        self.batches.append(batch)
        self.next_ledger = cursor.cursor

    def checkpoint(self) -> int | None:
        self.calls.append("checkpoint")
        self.threads.add(threading.get_ident())
        return self.next_ledger

    def close(self, *, complete: bool = True) -> None:
        self.calls.append(f"close {'complete' if complete else 'failed'}")

    @property
    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    tables = {"samples": sample_table(10, 109), "others": sample_table(10, 109, stream="others")}
    with FakeServer(tables, 10, 109) as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, retry=QUICK) as client:
        yield client


def test_a_whole_run(client: Client) -> None:
    sink = Memory()
    assert isinstance(sink, Sink)
    result = run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.calls == ["open", *["write"] * 10, "checkpoint", "close complete"]
    assert sink.table.equals(sample_table(10, 109))
    assert sink.schema.equals(sample_table(10, 10).schema, check_metadata=True)
    assert len(sink.threads) == 1
    assert (result.complete, result.ledgers, result.rows) == (True, 100, sink.table.num_rows)
    assert (result.next_ledger, result.reconnects, result.exit_code) == (110, 0, ExitCode.OK)


def test_goes_on_where_the_sink_says(server: FakeServer, client: Client) -> None:
    sink = Memory(resume=42)
    result = run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.table.equals(sample_table(42, 109))
    assert sink.request == StreamRequest("samples", 10, 109)
    assert (result.ledgers, result.next_ledger) == (68, 110)
    assert [request.start for request in server.requests] == [42]


@pytest.mark.parametrize("resume", [110, 200])
def test_nothing_to_do_is_complete(server: FakeServer, client: Client, resume: int) -> None:
    sink = Memory(resume=resume)
    result = run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.calls == ["open", "close complete"]
    assert (result.complete, result.ledgers, result.next_ledger) == (True, 0, resume)
    assert server.requests == []


def test_checkpoints_come_regularly_also_at_the_tip(client: Client) -> None:
    sink, stop = Memory(), threading.Event()
    threading.Timer(1.5, stop.set).start()
    result = run(sink, client, StreamRequest("samples", 10), options=SILENT, stop=stop, checkpoint_seconds=0.3)
    assert 3 <= sink.calls.count("checkpoint") <= 7
    assert sink.calls[-2:] == ["checkpoint", "close complete"]
    assert (result.complete, result.exit_code, result.next_ledger) == (False, ExitCode.OK, 110)


def test_a_failing_sink_gets_no_checkpoint(client: Client) -> None:
    sink = Memory(fail_at=50)
    with pytest.raises(StellarArrowError, match="the disk is full"):
        run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.calls[-2:] == ["write", "close failed"]
    assert "checkpoint" not in sink.calls


def test_what_came_before_the_stream_failed_is_kept(server: FakeServer, client: Client) -> None:
    server.faults = [Fault(4, "error", IntegrityError("ledger 50 is damaged"))]
    sink = Memory()
    with pytest.raises(IntegrityError, match="ledger 50 is damaged"):
        run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.calls[-2:] == ["checkpoint", "close failed"]
    assert sink.next_ledger == 50
    assert sink.table.equals(sample_table(10, 49))


def test_a_server_that_is_not_there_leaves_the_sink_alone(server: FakeServer, client: Client) -> None:
    server.stop()
    sink = Memory()
    with pytest.raises(UnavailableError, match="cannot reach"):
        run(sink, client, StreamRequest("samples", 10, 109), options=SILENT)
    assert sink.calls == []


@pytest.mark.parametrize("wrong", [{"columns": ("amuont",)}, {"filter": "amount > 1"}])
def test_a_request_that_the_server_refuses_leaves_the_sink_alone(client: Client, wrong: dict[str, Any]) -> None:
    sink = Memory()
    with pytest.raises(InvalidRequestError):
        run(sink, client, StreamRequest("samples", 10, 109, **wrong), options=SILENT)
    assert sink.calls == []


def test_several_streams_at_once(server: FakeServer, client: Client) -> None:
    server.delay = 0.05
    sinks = {"samples": Memory(), "others": Memory(resume=60)}
    jobs = [Job(StreamRequest(name, 10, 109), sink) for name, sink in sinks.items()]
    began = time.monotonic()
    results = run_all(jobs, client, options=SILENT)
    assert time.monotonic() - began < 0.85, "one after the other"
    assert [(r.stream, r.complete, r.ledgers) for r in results] == [("samples", True, 100), ("others", True, 50)]
    assert sinks["samples"].table.equals(sample_table(10, 109))
    assert sinks["others"].table.equals(sample_table(60, 109))


def test_when_one_stream_fails_the_others_are_drained(server: FakeServer, client: Client) -> None:
    server.delay = 0.05
    good, bad = Memory(), Memory(fail_at=30)
    jobs = [Job(StreamRequest("samples", 10), good), Job(StreamRequest("others", 10, 109), bad)]
    with pytest.raises(StellarArrowError, match="the disk is full"):
        run_all(jobs, client, options=SILENT)
    assert good.calls[-2:] == ["checkpoint", "close complete"]
    assert bad.calls[-1] == "close failed"
    assert good.next_ledger is not None
    assert good.table.equals(sample_table(10, good.next_ledger - 1))


class SlowToOpen(Memory):
    """It takes half a second to open, then may fail."""

    def __init__(self, failure: StellarArrowError | None = None) -> None:
        super().__init__()
        self.failure = failure

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        time.sleep(0.5)
        if self.failure is not None:
            raise self.failure
        return super().open(schema, request)


def test_no_stream_is_read_before_all_sinks_are_open(server: FakeServer, client: Client) -> None:
    opened_first: list[bool] = []
    slow = SlowToOpen()

    class Quick(Memory):
        def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
            opened_first.append("open" in slow.calls)
            super().write(batch, cursor)

    jobs = [Job(StreamRequest("samples", 10, 109), Quick()), Job(StreamRequest("others", 10, 109), slow)]
    assert all(result.complete for result in run_all(jobs, client, options=SILENT))
    assert opened_first
    assert all(opened_first)


def test_a_sink_that_cannot_be_opened_is_not_waited_for(server: FakeServer, client: Client) -> None:
    jobs = [
        Job(StreamRequest("samples", 10, 109), Memory()),
        Job(StreamRequest("others", 10, 109), SlowToOpen(StellarArrowError("no room"))),
    ]
    began = time.monotonic()
    with pytest.raises(StellarArrowError, match="no room"):
        run_all(jobs, client, options=SILENT)
    assert time.monotonic() - began < START_SECONDS - 1


def test_an_interrupt_of_the_caller_drains(client: Client) -> None:
    sink = Memory()

    def interrupt(_: object) -> None:
        if sink.batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sink, client, StreamRequest("samples", 10), options=SILENT, on_progress=interrupt)
    assert sink.calls[-2:] == ["checkpoint", "close complete"]


def test_progress(server: FakeServer, client: Client) -> None:
    server.delay, server.faults = 0.1, [Fault(3)]
    seen: list[tuple[int, int | None, int]] = []

    def note(streams: list[Progress]) -> None:
        seen.append((streams[0].ledgers, streams[0].remaining, streams[0].reconnects))

    run(Memory(), client, StreamRequest("samples", 10, 109), options=SILENT, on_progress=note)
    assert len(seen) >= 4
    assert seen == sorted(seen, key=lambda now: now[0])
    assert all(remaining is None or ledgers + remaining == 100 for ledgers, remaining, _ in seen)
    assert seen[-1] == (100, 0, 1)


def test_log_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stellar_arrow_client.progress.LOG_SECONDS", 0.0)
    progress = Progress("samples", 10, 29)
    progress.began -= 2
    progress.count(sample_table(10, 19).to_batches()[0], Cursor(10, 19))
    with caplog.at_level(logging.INFO), reporting("log") as report:
        report([progress])
    record = caplog.records[0]
    assert (record.stream, record.next_ledger, record.ledgers, record.rows) == ("samples", 20, 10, 45)
    assert record.ledgers_per_second == pytest.approx(5, rel=0.1)
    assert record.eta_seconds == 2


def test_one_log_line_for_many_streams(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stellar_arrow_client.progress.LOG_SECONDS", 0.0)
    streams = [Progress(f"s{index}", 10, 29, 10) for index in range(6)]
    for index, progress in enumerate(streams[1:], 11):
        progress.count(sample_table(10, index).to_batches()[0], Cursor(10, index))
    with caplog.at_level(logging.INFO), reporting("log") as report:
        report(streams)
    (record,) = caplog.records
    assert (record.stream, record.next_ledger, record.ledgers) == ("6 streams", 10, 0)
    assert record.rows == sum(progress.rows for progress in streams) > 0


def test_metrics(server: FakeServer, client: Client) -> None:
    pages: list[str] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server.delay = 0.1

    def scrape(streams: list[Progress]) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            pages.append(response.read().decode())

    options = RunOptions("none", port)
    run(Memory(), client, StreamRequest("samples", 10, 109), options=options, on_progress=scrape)
    page = pages[-1]
    rows = sample_table(10, 109).num_rows
    assert f'stellar_arrow_consumer_rows_total{{stream="samples"}} {rows}.0' in page
    assert 'stellar_arrow_consumer_ledgers_total{stream="samples"} 100.0' in page
    assert 'stellar_arrow_consumer_reconnects_total{stream="samples"} 0.0' in page
    assert 'stellar_arrow_consumer_next_ledger{stream="samples"} 110.0' in page
    lag = re.search(r'lag_seconds\{stream="samples"\} (\S+)', page)
    assert lag is not None
    newest = sample_table(109, 109)["ledger_close_time"][0].value / 1e6
    assert float(lag[1]) == pytest.approx(time.time() - newest, abs=60)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


def test_a_metrics_port_that_is_taken(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = RunOptions("none", taken.getsockname()[1])
        with pytest.raises(StellarArrowError, match="choose another --metrics-port"):
            run(Memory(), client, StreamRequest("samples", 10, 109), options=options)


_STUCK = """
import sys, time
from stellar_arrow_client import Client, StreamRequest, run
class Stuck:
    def open(self, schema, request): return None
    def write(self, batch, cursor):
        print("stuck", flush=True)
        time.sleep(600)
    def checkpoint(self): return None
    def close(self, *, complete=True): pass
run(Stuck(), Client(sys.argv[1]), StreamRequest("samples", 10))
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_kills_a_stuck_sink(server: FakeServer, second: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STUCK, server.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stuck\n"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(second)
            assert process.wait(2) == -second
        finally:
            process.kill()


def test_handlers_are_put_back(client: Client) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(Memory(), client, StreamRequest("samples", 10, 109), options=SILENT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_bar_on_a_terminal(server: FakeServer, tmp_path: Path) -> None:
    server.delay = 0.05
    command = [*CONSUMER, server.address, str(tmp_path / "out"), "10", "109"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=IMPORTABLE | {"COLUMNS": "120", "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # the other side has closed the terminal
            pass
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    rows = sample_table(10, 109).num_rows
    assert f"100 ledgers  {rows} rows" in shown.decode()
    assert "━" in shown.decode()
