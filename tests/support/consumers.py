"""Consumers run as commands, and the server that those tests read from."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stellar_arrow_client.testing import FakeServer, sample_table

FIRST, LAST = 100, 699
"""The ledgers of :func:`server`."""

SECONDS = 180.0
_OURS = ("STELLAR_ARROW_", "LOG_", "METRICS_")

_numbers = itertools.count()


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serves ledgers 100 to 699 of ``samples`` and ``others``; a conftest.py imports it."""
    tables = {name: sample_table(FIRST, LAST, stream=name) for name in ("samples", "others")}
    with FakeServer(tables, FIRST, LAST) as server:
        yield server


def program(name: str) -> str:
    """Where a command is installed."""
    return str(Path(sys.executable).with_name(name))


class Command:
    """Runs a command as a process of its own, without settings from the environment of the tests.

    A consumer's own class overrides :meth:`line`; whatever that takes, the other methods take too.

    Attributes:
        env: further environment.
        seconds: how long it may take.
    """

    name: str
    """Of the command."""
    settings: tuple[str, ...] = ()
    """How names begin in the environment that it reads beside those of every command."""

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self.seconds = SECONDS

    def line(self, *arguments: object) -> list[str]:
        """What is run."""
        return [program(self.name), *map(str, arguments)]

    def __call__(
        self, *arguments: Any, code: int = 0, preexec_fn: Callable[[], None] | None = None, **place: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end and check the exit code; an error is one sentence."""
        done = subprocess.run(
            self.line(*arguments, **place),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
            preexec_fn=preexec_fn,
        )
        assert done.returncode == code, f"exit code {done.returncode} instead of {code}: {done.stderr}"
        assert "Traceback" not in done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == (0 < code < 128), done.stderr
        return done

    @contextmanager
    def start(self, *arguments: Any, **place: Any) -> Iterator[subprocess.Popen[str]]:
        """Start and leave running, but no longer than the context."""
        process = subprocess.Popen(
            self.line(*arguments, **place),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def environment(self) -> Mapping[str, str]:
        """What it finds in its environment."""
        ours = (*_OURS, *self.settings)
        return {name: text for name, text in os.environ.items() if not name.startswith(ours)} | self.env
