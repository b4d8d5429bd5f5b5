"""A consumer on trial: how to run it, how to read what it wrote, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pytest

from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.testing.sample import SAMPLE_STREAM, sample_table
from stellar_arrow_client.testing.server import FakeServer

FIRST: Final = 1000
LAST: Final = 1199
SECONDS: Final = 60.0
METERED: Final = ("--metrics-port", "0", "--log-format", "json")

_SETTINGS: Final = ("STELLAR_ARROW_", "LOG_", "METRICS_")
"""Environment of the person who runs the tests that would change what a consumer does."""
_WITH_SMALL_FILES: Final = (
    "import os, resource, sys; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY)); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


class ConsumerUnderTest(ABC):
    """How to run a consumer and how to read what it wrote.

    Attributes:
        stream: the stream that it reads.
        env: environment variables for it.
    """

    stream: str = SAMPLE_STREAM
    env: Mapping[str, str] = {}

    @abstractmethod
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        """The command line that reads ``start`` to ``end`` of :attr:`stream` into ``output``.

        ``end`` is None to follow the tip. ``output`` does not exist at the first run. Choose options that make
        checkpoints frequent, so that a kill meets many states. A consumer that prints its rows is given none:
        its standard output becomes the file ``output``.
        """

    @abstractmethod
    def read(self, output: Path) -> pa.Table:
        """All rows of ``output``, with the columns of the stream, in any order; none when nothing was written."""

    def program(self) -> Sequence[str]:
        """The command line without arguments, which ``--help`` can follow."""
        return self.command("localhost:1", Path("unused"), 1, 1)[:1]

    def table(self, first: int, last: int) -> pa.Table:
        """The rows that the server gives."""
        return sample_table(first, last, stream=self.stream)

    def further_tables(self, first: int, last: int) -> Mapping[str, pa.Table]:
        """Streams that the consumer asks for beside :attr:`stream`, with their rows."""
        return {}

    def expected(self, table: pa.Table) -> pa.Table:
        """What :meth:`read` gives for those rows; all of them unless the consumer drops or adds some."""
        return table


@dataclass(frozen=True, slots=True)
class Run:
    """A process of the consumer, the server and the stream that it reads, and the file that it says things to."""

    process: subprocess.Popen[bytes]
    server: FakeServer
    stream: str
    stderr: Path

    def said(self) -> str:
        """What stands on its standard error."""
        return self.stderr.read_text(errors="replace")

    def finish(self, code: ExitCode) -> str:
        """Wait for its end, check the exit code, and give what it said."""
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done after {SECONDS:g} seconds: {self.said()}")
        said = self.said()
        assert self.process.returncode == code, f"exit code {self.process.returncode} instead of {code}: {said}"
        assert "Traceback" not in said
        if 0 < code < 128:
            errors = [line for line in said.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, f"an error is one sentence after 'error: ', not {said!r}"
        return said

    def logged(self, event: str) -> Mapping[str, Any]:
        """Wait for a message; the consumer must run with :data:`METERED`."""
        found: list[Mapping[str, Any]] = []

        def look() -> bool:
            found[:] = [record for record in map(json.loads, self.said().splitlines()) if record["event"] == event]
            return bool(found)

        self._wait_for(look, f"it did not say {event!r}")
        return found[0]

    def wait_for_metrics(self, **values: float) -> None:
        """Wait until the metrics of its stream have these values; the consumer must run with :data:`METERED`."""
        url = self.logged("serving metrics")["url"]
        wanted = {
            f'stellar_arrow_consumer_{name}{{stream="{self.stream}"}} {float(value)}' for name, value in values.items()
        }

        def look() -> bool:
            page = urllib.request.urlopen(url, timeout=SECONDS).read().decode()
            return wanted <= set(page.splitlines())

        self._wait_for(look, f"the metrics do not come to have {', '.join(sorted(wanted))}")

    def wait_for_batches(self, count: int) -> None:
        """Wait until the server has sent that many batches with news in all."""
        self._wait_for(lambda: self.server.batches >= count, f"it does not ask for {count} batches")

    def _wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode} before it could be stopped: {self.said()}")
            if time.monotonic() > deadline:
                pytest.fail(f"{complaint}: {self.said()}")
            time.sleep(0.01)


class Trial:
    """Runs one consumer against one server into one output, and compares what it wrote with what it was sent.

    Args:
        prints: whether the consumer's output is what it prints, so that each run writes ``output`` anew.
    """

    def __init__(self, consumer: ConsumerUnderTest, server: FakeServer, output: Path, *, prints: bool) -> None:
        self.consumer, self.server, self.output = consumer, server, output
        self._prints = prints
        self._stderr = output.with_name("stderr")

    def run(self, start: int, end: int | None, *options: str, code: ExitCode = ExitCode.OK) -> str:
        """Run the command to its end, check its exit code, and return what it said."""
        with self.start(start, end, *options) as run:
            return run.finish(code)

    @contextmanager
    def start(
        self, start: int, end: int | None, *options: str, stdout: IO[bytes] | int | None = None, file_bytes: int = 0
    ) -> Iterator[Run]:
        """Start the command and leave it running, but no longer than the ``with`` block.

        Args:
            stdout: where it prints, instead of into the output or nowhere.
            file_bytes: no file that it writes may become larger, unless 0.
        """
        command = [*self.consumer.command(self.server.address, self.output, start, end), *options]
        if file_bytes:
            command = [sys.executable, "-c", _WITH_SMALL_FILES, str(file_bytes), *command]
        with (self.output if self._prints else Path(os.devnull)).open("wb") as out, self._stderr.open("wb") as err:
            process = subprocess.Popen(
                command,
                env=environment(self.consumer),
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
            )
        with process:
            try:
                yield Run(process, self.server, self.consumer.stream, self._stderr)
            finally:
                process.kill()

    def publish(self, last: int) -> None:
        """Let the ledgers up to ``last`` close."""
        self.server.publish(last, tables(self.consumer, self.server.last + 1, last))

    def starts(self) -> list[int | None]:
        """The ledgers from which the consumer asked for its stream, call by call."""
        return [request.start for request in self.server.requests if request.stream == self.consumer.stream]

    def check(self, first: int, last: int) -> None:
        """What was written is what the server gave of ``first`` to ``last``."""
        expected = _ordered(self.consumer.expected(self.consumer.table(first, last)))
        got = _ordered(self.consumer.read(self.output))
        assert got.column("ledger_sequence").to_pylist() == expected.column("ledger_sequence").to_pylist()
        for name in expected.schema.names:
            assert got.column(name).to_pylist() == expected.column(name).to_pylist(), f"values of {name}"

    def check_schema(self) -> None:
        """Columns, types and nullability are those of the stream."""
        expected = self.consumer.expected(self.consumer.table(FIRST, LAST)).schema
        got = self.consumer.read(self.output).schema
        assert got.remove_metadata().equals(expected.remove_metadata()), f"{got} instead of {expected}"

    def check_whole_ledgers(self) -> int:
        """What was written is a beginning of the range, without part of a ledger; its last ledger with rows."""
        sequences = self.consumer.read(self.output).column("ledger_sequence").to_pylist()
        assert sequences, "what came before must be kept"
        self.check(FIRST, max(sequences))
        return int(max(sequences))


def serve(consumer: ConsumerUnderTest, *, rows: bool = True) -> FakeServer:
    """A server of ledgers FIRST to LAST, whose rows are left out unless ``rows``."""
    made = tables(consumer, FIRST, LAST)
    if not rows:
        made[consumer.stream] = made[consumer.stream].slice(0, 0)
    return FakeServer(made, FIRST, LAST)


def execute(consumer: ConsumerUnderTest, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run any command line in the consumer's environment."""
    return subprocess.run(
        command, env=environment(consumer), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def tables(consumer: ConsumerUnderTest, first: int, last: int) -> dict[str, pa.Table]:
    """All that the server gives of some ledgers."""
    return {consumer.stream: consumer.table(first, last), **consumer.further_tables(first, last)}


def environment(consumer: ConsumerUnderTest) -> dict[str, str]:
    """What a process of the consumer finds in its environment."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)} | dict(consumer.env)


def _ordered(table: pa.Table) -> pa.Table:
    """The rows by ledger, then by whatever else tells them apart."""
    others = [
        field.name
        for field in table.schema
        if (pa.types.is_integer(field.type) or pa.types.is_string(field.type)) and field.name != "ledger_sequence"
    ]
    return table.sort_by([(name, "ascending") for name in ("ledger_sequence", *others)])
