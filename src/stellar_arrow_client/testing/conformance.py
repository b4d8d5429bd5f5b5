"""What every consumer must do, as tests: nothing lost, nothing doubled, plain errors, right exit codes.

A consumer's tests say how to run its command and how to read back what it wrote, and get all of them::

    class Parquet(ConsumerUnderTest):
        def command(self, server, output, start, end): ...
        def read(self, output): ...


    class TestConformance(ConsumerConformance):
        consumer = Parquet()
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from stellar_arrow_client.errors import ExitCode, IntegrityError
from stellar_arrow_client.testing.sample import SAMPLE_STREAM, sample_table
from stellar_arrow_client.testing.server import FakeServer, Fault

FIRST: Final = 1000
LAST: Final = 1199
SECONDS: Final = 60.0
SLOW: Final = 0.05
"""Delay of a batch that leaves time to kill the consumer in the middle."""


class ConsumerUnderTest(ABC):
    """How to run a consumer and how to read what it wrote."""

    stream: str = SAMPLE_STREAM
    env: Mapping[str, str] = {}

    @abstractmethod
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        """The command line that reads ``start`` to ``end`` of :attr:`stream` into ``output``.

        ``end`` is None to follow the tip. ``output`` does not exist at the first run. Choose options that make
        checkpoints frequent, so that a kill meets many states.
        """

    @abstractmethod
    def read(self, output: Path) -> pa.Table:
        """All rows of ``output``, with the columns of the stream, in any order; none when nothing was written."""

    def help_command(self) -> Sequence[str]:
        """The command line that shows the help text."""
        return [self.command("localhost:1", Path("unused"), 1, 1)[0], "--help"]

    def table(self, first: int, last: int) -> pa.Table:
        """The rows that the server gives."""
        return sample_table(first, last, stream=self.stream)

    def expected(self, table: pa.Table) -> pa.Table:
        """What :meth:`read` gives for those rows; all of them unless the consumer drops or adds some."""
        return table


class ConsumerConformance:
    """The suite; derive a class whose name begins with ``Test`` and set :attr:`consumer`."""

    consumer: ConsumerUnderTest

    @pytest.fixture
    def server(self) -> Iterator[FakeServer]:
        with FakeServer({self.consumer.stream: self.consumer.table(FIRST, LAST)}, FIRST, LAST) as server:
            yield server

    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        return tmp_path / "output"

    def test_keeps_rows_and_schema(self, server: FakeServer, output: Path) -> None:
        self._run(server, output, FIRST, LAST)
        got, expected = self._read(output), self._expected(FIRST, LAST)
        for name in expected.schema.names:
            wanted = expected.schema.field(name).type
            assert got.schema.field(name).type == wanted, f"type of {name}"
        self._check(output, FIRST, LAST)

    def test_many_small_batches(self, server: FakeServer, output: Path) -> None:
        server.ledgers_per_batch = 1
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_split_ledgers(self, server: FakeServer, output: Path) -> None:
        server.split_rows = 2
        server.faults = [Fault(after=4), Fault(after=1), Fault(after=8)]
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_range_without_rows(self, output: Path) -> None:
        table = self.consumer.table(FIRST, LAST).slice(0, 0)
        with FakeServer({self.consumer.stream: table}, FIRST, LAST) as server:
            self._run(server, output, FIRST, LAST)
            assert self.consumer.read(output).num_rows == 0

    def test_second_run_changes_nothing(self, server: FakeServer, output: Path) -> None:
        self._run(server, output, FIRST, LAST)
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_goes_on_where_it_ended(self, server: FakeServer, output: Path) -> None:
        self._run(server, output, FIRST, FIRST + 60)
        before = len(server.requests)
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)
        starts = [request.start for request in server.requests[before:]]
        assert starts == [FIRST + 61], "the second run must ask only for what is missing"

    @pytest.mark.parametrize("kills", [[1], [6], [2, 5, 9], [15]], ids=str)
    def test_kill_loses_and_doubles_nothing(self, server: FakeServer, output: Path, kills: list[int]) -> None:
        server.ledgers_per_batch, server.delay = 5, SLOW
        for batches in kills:
            with self._start(server, output, FIRST, LAST) as process:
                server.wait_for_batches(server.batches + batches, SECONDS)
                process.kill()
                assert process.wait(SECONDS) == -signal.SIGKILL, "it ended before it could be killed"
        server.delay = 0
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_server_restart(self, server: FakeServer, output: Path) -> None:
        server.ledgers_per_batch, server.delay = 5, SLOW
        with self._start(server, output, FIRST, LAST) as process:
            server.wait_for_batches(8, SECONDS)
            server.stop()
            time.sleep(0.5)
            server.start()
            self._finish(process, ExitCode.OK)
        self._check(output, FIRST, LAST)

    def test_broken_connections(self, server: FakeServer, output: Path) -> None:
        server.faults = [Fault(after=2), Fault(after=0), Fault(after=5, kind="end"), Fault(after=1)]
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_error_of_the_server(self, server: FakeServer, output: Path) -> None:
        error = IntegrityError("ledger 1030 is not valid XDR: the hash differs")
        server.faults = [Fault(after=3, kind="error", error=error)]
        said = self._run(server, output, FIRST, LAST, ExitCode.INTEGRITY)
        assert str(error) in said
        self._check_whole_ledgers(output)
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
    def test_signal_drains(self, server: FakeServer, output: Path, number: signal.Signals) -> None:
        with self._start(server, output, FIRST, None) as process:
            server.wait_for_batches((LAST - FIRST + 1) // server.ledgers_per_batch, SECONDS)
            time.sleep(0.5)
            process.send_signal(number)
            self._finish(process, ExitCode(128 + number))
        self._check(output, FIRST, LAST)
        server.publish(LAST + 20, {self.consumer.stream: self.consumer.table(LAST + 1, LAST + 20)})
        self._run(server, output, FIRST, LAST + 20)
        self._check(output, FIRST, LAST + 20)

    def test_signal_in_the_middle_keeps_what_came(self, server: FakeServer, output: Path) -> None:
        server.ledgers_per_batch, server.delay = 5, SLOW
        with self._start(server, output, FIRST, LAST) as process:
            server.wait_for_batches(6, SECONDS)
            process.terminate()
            self._finish(process, ExitCode.TERMINATED)
        self._check_whole_ledgers(output)
        server.delay = 0
        self._run(server, output, FIRST, LAST)
        self._check(output, FIRST, LAST)

    def test_help(self) -> None:
        done = self._execute(self.consumer.help_command())
        assert done.returncode == ExitCode.OK, done.stderr
        assert "Usage:" in done.stdout
        assert done.stderr == ""

    def test_usage_error(self, output: Path) -> None:
        done = self._execute([*self.consumer.command("localhost:1", output, FIRST, LAST), "--no-such-option"])
        assert done.returncode == ExitCode.USAGE, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stdout == ""

    def test_range_that_ends_before_it_begins(self, server: FakeServer, output: Path) -> None:
        self._run(server, output, LAST, FIRST, ExitCode.USAGE)

    def test_server_that_cannot_be_reached(self, output: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unused.getsockname()[1]}"
            command = self.consumer.command(address, output, FIRST, LAST)
            done = self._execute(command)
        assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
        assert f"cannot reach {address}" in done.stderr
        assert "Traceback" not in done.stderr

    def _run(
        self,
        server: FakeServer,
        output: Path,
        start: int,
        end: int | None,
        code: ExitCode = ExitCode.OK,
    ) -> str:
        """Run the command to its end, check its exit code, and return its stderr."""
        with self._start(server, output, start, end) as process:
            return self._finish(process, code)

    @contextmanager
    def _start(self, server: FakeServer, output: Path, start: int, end: int | None) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.consumer.command(server.address, output, start, end),
            env=os.environ | dict(self.consumer.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def _execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        env = os.environ | dict(self.consumer.env)
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)

    def _finish(self, process: subprocess.Popen[str], code: ExitCode) -> str:
        try:
            _out, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _out, said = process.communicate()
            pytest.fail(f"not done after {SECONDS:g} seconds: {said}")
        assert process.returncode == code, f"exit code {process.returncode} instead of {code}: {said}"
        assert "Traceback" not in said
        return said

    def _expected(self, first: int, last: int) -> pa.Table:
        return _ordered(self.consumer.expected(self.consumer.table(first, last)))

    def _read(self, output: Path) -> pa.Table:
        return _ordered(self.consumer.read(output))

    def _check(self, output: Path, first: int, last: int) -> None:
        expected, got = self._expected(first, last), self._read(output)
        assert got.column("ledger_sequence").to_pylist() == expected.column("ledger_sequence").to_pylist()
        for name in expected.schema.names:
            assert got.column(name).to_pylist() == expected.column(name).to_pylist(), f"values of {name}"

    def _check_whole_ledgers(self, output: Path) -> None:
        """What is there is a beginning of the range, without part of a ledger."""
        got = self._read(output)
        last = max(got.column("ledger_sequence").to_pylist(), default=FIRST - 1)
        assert last >= FIRST, "what came before must be kept"
        self._check(output, FIRST, last)


def _ordered(table: pa.Table) -> pa.Table:
    keys = [name for name in ("ledger_sequence", "transaction_id", "operation_id") if name in table.schema.names]
    return table.sort_by([(name, "ascending") for name in keys])
