"""What every consumer must do, as tests: nothing lost, nothing doubled, plain errors, right exit codes.

A consumer's tests say how to run its command and how to read back what it wrote, and get all of them::

    class Parquet(ConsumerUnderTest):
        def command(self, server, output, start, end): ...
        def read(self, output): ...


    class TestConformance(ConsumerConformance):
        consumer = Parquet()

A consumer whose output is what it prints derives from :class:`PrinterConformance` instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from stellar_arrow_client.errors import AuthenticationError, ExitCode, IntegrityError, InvalidRequestError
from stellar_arrow_client.testing.server import FakeServer, Fault
from stellar_arrow_client.testing.trial import FIRST, LAST, METERED, SECONDS, ConsumerUnderTest, Trial, execute, serve

__all__ = ["ConsumerConformance", "ConsumerUnderTest", "PrinterConformance"]

SLOW: Final = 0.05
"""Delay of a batch that leaves time to stop the consumer in the middle."""
STANDARD_OPTIONS: Final = (
    *("--token", "--tls-roots", "--client-cert", "--client-key", "--retry-for"),
    *("--progress", "--metrics-port", "--metrics-host"),
    *("--config", "--log-level", "--log-format", "--quiet", "--verbose", "--debug", "--version", "--help"),
)
PIPE_BYTES: Final = 4096


@pytest.mark.conformance
class _Conformance:
    """What holds whether the consumer keeps its rows or prints them."""

    consumer: ConsumerUnderTest
    prints: bool

    @pytest.fixture
    def server(self) -> Iterator[FakeServer]:
        with serve(self.consumer) as server:
            yield server

    @pytest.fixture
    def trial(self, server: FakeServer, tmp_path: Path) -> Trial:
        return Trial(self.consumer, server, tmp_path / "output", prints=self.prints)

    def test_keeps_rows_and_schema(self, trial: Trial) -> None:
        trial.run(FIRST, LAST)
        trial.check_schema()
        trial.check(FIRST, LAST)

    def test_many_small_batches(self, trial: Trial) -> None:
        trial.server.ledgers_per_batch = 1
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_split_ledgers(self, trial: Trial) -> None:
        trial.server.split_rows = 2
        trial.server.faults = [Fault(after=4), Fault(after=1), Fault(after=8)]
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_second_run_changes_nothing(self, trial: Trial) -> None:
        trial.run(FIRST, LAST)
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_server_restart(self, trial: Trial) -> None:
        trial.server.ledgers_per_batch, trial.server.delay = 5, SLOW
        with trial.start(FIRST, LAST) as run:
            run.wait_for_batches(8)
            trial.server.stop()
            time.sleep(0.5)
            trial.server.delay = 0
            trial.server.start()
            run.finish(ExitCode.OK)
        trial.check(FIRST, LAST)

    def test_broken_connections(self, trial: Trial) -> None:
        trial.server.faults = [Fault(after=2), Fault(after=0), Fault(after=5, kind="end"), Fault(after=1)]
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_standstill(self, trial: Trial) -> None:
        """A consumer that is slow, here that stands still, loses nothing; not even when its connection breaks."""
        trial.server.ledgers_per_batch, trial.server.delay = 2, SLOW / 10
        trial.server.faults = [Fault(after=30)]
        with trial.start(FIRST, LAST) as run:
            for batches in (3, 40):
                run.wait_for_batches(batches)
                run.process.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
                run.process.send_signal(signal.SIGCONT)
            run.finish(ExitCode.OK)
        trial.check(FIRST, LAST)

    def test_error_of_the_server(self, trial: Trial) -> None:
        error = IntegrityError("ledger 1030 is not valid XDR: the hash differs")
        trial.server.faults = [Fault(after=3, kind="error", error=error)]
        assert str(error) in trial.run(FIRST, LAST, code=ExitCode.INTEGRITY)
        trial.check_whole_ledgers()
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    @pytest.mark.parametrize("kind", [AuthenticationError, InvalidRequestError], ids=lambda kind: kind.__name__)
    def test_exit_code_is_that_of_the_error(
        self, trial: Trial, kind: type[AuthenticationError | InvalidRequestError]
    ) -> None:
        error = kind("the server says so")
        trial.server.faults = [Fault(after=0, kind="error", error=error)]
        assert str(error) in trial.run(FIRST, LAST, code=kind.exit_code)

    def test_stream_that_the_server_lacks(self, trial: Trial) -> None:
        del trial.server.tables[self.consumer.stream]
        assert self.consumer.stream in trial.run(FIRST, LAST, code=ExitCode.USAGE)

    def test_server_that_cannot_be_reached(self, trial: Trial) -> None:
        address = trial.server.address
        trial.server.stop()
        with socket.socket() as silent:  # nobody else gets the port
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            silent.bind(("127.0.0.1", trial.server.port))
            assert f"cannot reach {address}" in trial.run(FIRST, LAST, code=ExitCode.UNAVAILABLE)

    def test_signal_drains(self, trial: Trial) -> None:
        with trial.start(FIRST, None, *METERED) as run:
            run.wait_for_metrics(next_ledger=LAST + 1)
            run.process.send_signal(signal.SIGINT)
            run.finish(ExitCode.INTERRUPTED)
        trial.check(FIRST, LAST)

    def test_signal_in_the_middle_keeps_what_came(self, trial: Trial) -> None:
        trial.server.ledgers_per_batch, trial.server.delay = 5, SLOW
        with trial.start(FIRST, LAST) as run:
            run.wait_for_batches(6)
            run.process.terminate()
            run.finish(ExitCode.TERMINATED)
        assert trial.check_whole_ledgers() < LAST
        trial.server.delay = 0
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_signal_cancels_a_silent_call(self, trial: Trial) -> None:
        """The consumer does not wait for a server that says nothing, and tells it to stop."""
        trial.server.ledgers_per_batch, trial.server.faults = 5, [Fault(after=6, kind="silence")]
        with trial.start(FIRST, LAST, *METERED) as run:
            run.wait_for_metrics(next_ledger=FIRST + 30)
            began = time.monotonic()
            run.process.terminate()
            run.finish(ExitCode.TERMINATED)
        assert time.monotonic() - began < 10, "it must not wait for the server"
        trial.server.wait_until_idle(10)
        trial.check(FIRST, FIRST + 29)

    def test_metrics_and_log(self, trial: Trial) -> None:
        trial.server.faults = [Fault(after=4)]
        rows = self.consumer.table(FIRST, LAST).num_rows
        with trial.start(FIRST, None, *METERED) as run:
            run.wait_for_metrics(
                rows_total=rows, ledgers_total=LAST - FIRST + 1, reconnects_total=1, next_ledger=LAST + 1
            )
            run.process.terminate()
            said = run.finish(ExitCode.TERMINATED)
        assert all({"event", "level", "timestamp"} <= json.loads(line).keys() for line in said.splitlines())

    def test_help(self) -> None:
        done = self._execute("--help")
        assert done.returncode == ExitCode.OK, done.stderr
        assert "Usage:" in done.stdout
        assert done.stderr == ""
        missing = [name for name in STANDARD_OPTIONS if not re.search(rf"(^|\s){name}\b", done.stdout)]
        assert not missing, "it must have the options that all consumers share"
        options = re.split(r"^  (?=-)", done.stdout.split("Options:")[1], flags=re.MULTILINE)[1:]
        bare = [option.split()[0] for option in options if not re.search(r"\S\s{2,}\S", option)]
        assert not bare, "every option must be explained"

    def test_version(self) -> None:
        done = self._execute("--version")
        assert done.returncode == ExitCode.OK, done.stderr
        assert re.fullmatch(r"[\w-]+ \d\S*\n", done.stdout), "it must print its name and its version"

    def test_usage_error(self) -> None:
        done = self._execute("--no-such-option")
        assert done.returncode == ExitCode.USAGE, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""

    def test_range_that_ends_before_it_begins(self, trial: Trial) -> None:
        trial.run(LAST, FIRST, code=ExitCode.USAGE)

    def _execute(self, option: str) -> subprocess.CompletedProcess[str]:
        return execute(self.consumer, [*self.consumer.program(), option])


class ConsumerConformance(_Conformance):
    """For a consumer that keeps rows: each run goes on where what is durable ends.

    Derive a class whose name begins with ``Test`` and set :attr:`consumer`.
    """

    prints = False

    def test_goes_on_where_it_ended(self, trial: Trial) -> None:
        trial.run(FIRST, FIRST + 60)
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)
        assert trial.starts() == [FIRST, FIRST + 61], "the second run must ask only for what is missing"

    def test_goes_on_with_what_is_new(self, trial: Trial) -> None:
        trial.run(FIRST, LAST)
        trial.publish(LAST + 20)
        trial.run(FIRST, LAST + 20)
        trial.check(FIRST, LAST + 20)

    def test_range_without_rows(self, tmp_path: Path) -> None:
        """Ledgers without a row are done too."""
        with serve(self.consumer, rows=False) as server:
            trial = Trial(self.consumer, server, tmp_path / "output", prints=self.prints)
            trial.run(FIRST, LAST - 50)
            assert self.consumer.read(trial.output).num_rows == 0
            trial.run(FIRST, LAST)
            assert self.consumer.read(trial.output).num_rows == 0
            assert trial.starts() == [FIRST, LAST - 49], "the second run must ask only for what is missing"

    def test_kill_loses_and_doubles_nothing(self, trial: Trial) -> None:
        """Batches are large enough that part of one reaches the disk without a checkpoint."""
        last = LAST + 200
        trial.publish(last)
        trial.server.ledgers_per_batch, trial.server.delay = 20, SLOW
        for batches in (1, 3, 2, 4, 3):
            with trial.start(FIRST, last) as run:
                run.wait_for_batches(trial.server.batches + batches)
                time.sleep(SLOW / 2)
                run.process.kill()
                assert run.process.wait(SECONDS) == -signal.SIGKILL, "it ended before it could be killed"
            trial.server.wait_until_idle(SECONDS)
        trial.server.delay = 0
        trial.run(FIRST, last)
        trial.check(FIRST, last)

    def test_sink_that_fails(self, trial: Trial) -> None:
        """Files that cannot grow end the run in one sentence; what is missing then is fetched when they can."""
        codes = []
        for file_bytes in (4_096, 20_000):
            with trial.start(FIRST, LAST, file_bytes=file_bytes) as run:
                codes.append(ExitCode(run.process.wait(SECONDS)))
                run.finish(ExitCode.FAILURE if codes[-1] else ExitCode.OK)
        assert codes[0] == ExitCode.FAILURE, "what it cannot write it must not pass over"
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_one_writer_at_a_time(self, trial: Trial) -> None:
        with trial.start(FIRST, None, *METERED) as run:
            run.wait_for_metrics(next_ledger=LAST + 1)
            intruder = execute(
                self.consumer, self.consumer.command(trial.server.address, trial.output, FIRST, LAST + 20)
            )
            assert intruder.returncode == ExitCode.FAILURE, intruder.stderr
            assert intruder.stderr.startswith("error: ")
            run.process.terminate()
            run.finish(ExitCode.TERMINATED)
        trial.check(FIRST, LAST)


class PrinterConformance(_Conformance):
    """For a consumer whose output is what it prints: each run begins anew.

    Derive a class whose name begins with ``Test`` and set :attr:`consumer`.
    """

    prints = True

    def test_range_without_rows(self, tmp_path: Path) -> None:
        with serve(self.consumer, rows=False) as server:
            trial = Trial(self.consumer, server, tmp_path / "output", prints=self.prints)
            trial.run(FIRST, LAST)
            assert self.consumer.read(trial.output).num_rows == 0

    def test_begins_anew_after_a_kill(self, trial: Trial) -> None:
        trial.server.ledgers_per_batch, trial.server.delay = 5, SLOW
        with trial.start(FIRST, LAST) as run:
            run.wait_for_batches(8)
            run.process.kill()
        trial.server.delay = 0
        trial.run(FIRST, LAST)
        trial.check(FIRST, LAST)

    def test_slow_reader(self, trial: Trial) -> None:
        with _narrow_pipe() as (reading, writing), trial.start(FIRST, LAST, stdout=writing) as run:
            os.close(writing)
            time.sleep(1)
            with open(reading, "rb", closefd=False) as pipe:
                trial.output.write_bytes(pipe.read())
            run.finish(ExitCode.OK)
        trial.check(FIRST, LAST)

    def test_reader_that_leaves(self, trial: Trial) -> None:
        with _narrow_pipe() as (reading, writing), trial.start(FIRST, LAST, stdout=writing) as run:
            os.close(writing)
            os.close(reading)
            run.finish(ExitCode.OK)

    def test_output_that_cannot_be_written(self, trial: Trial) -> None:
        with open("/dev/full", "wb") as full, trial.start(FIRST, LAST, stdout=full) as run:
            run.finish(ExitCode.FAILURE)


@contextmanager
def _narrow_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is soon full, so that its writer must wait; its ends are closed where the user has not."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)
