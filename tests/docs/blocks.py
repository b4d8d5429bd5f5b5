"""The code blocks of documentation, each with how it is tested, and a place where they can be run."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.environments import path_with
from tests.support.programs import free_port

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

_FENCE = re.compile(r"(?:<!-- test: (?P<test>[a-z ]+) -->\n)?```(?P<language>[a-z]*)\n(?P<code>.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^##+ (.*)$", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        section: the heading that it stands under.
        test: how it is tested, None when it does not say so.
        language: of the fence, "" for plain text.
    """

    section: str
    test: str | None
    language: str
    code: str


def blocks(page: str = README) -> list[Block]:
    found = []
    for match in _FENCE.finditer(page):
        headings = _HEADING.findall(page, 0, match.start())
        found.append(Block(headings[-1] if headings else "", match["test"], match["language"], match["code"]))
    return found


def of(section: str, test: str, page: str = README) -> list[str]:
    """The code of the blocks of a section that are tested in one way; there is at least one."""
    found = [block.code for block in blocks(page) if block.section == section and block.test == test]
    assert found, f"the section {section!r} has no block marked {test!r}"
    return found


def typed(code: str) -> list[tuple[str, str]]:
    """What is typed after each prompt of a console, and what is printed then."""
    parts = re.split(r"^\$ ", code, flags=re.M)[1:]
    cut = (re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", part, re.S) for part in parts)
    return [(found[1], found[2]) for found in cut if found]


class Newcomer:
    """Types blocks of a page into a shell, in a folder of its own, with free ports in place of the usual ones.

    Attributes:
        places: what stands on the page, such as an address of a database, and what is typed in its stead.

    Args:
        programs: what is found first in the PATH; what is installed for the tests when left out.
    """

    def __init__(self, folder: Path, programs: Path = Path(sys.executable).parent) -> None:
        self.folder = folder
        self.places: dict[str, str] = {}
        self._running: list[subprocess.Popen[str]] = []
        self._logs: dict[int, Path] = {}
        self._ports = {usual: str(free_port()) for usual in ("8815", "8088", "50053", "50051")}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SOURCE_", "STELLAR_"))},
            "PATH": path_with(programs),
            "ARROW_PORT": self._ports["8815"],
            "HEALTH_PORT": self._ports["8088"],
            "TTP_PORT": self._ports["50051"],
        }

    def here(self, code: str) -> str:
        """The code with the addresses of this place."""
        for usual, place in self.places.items():
            code = code.replace(usual, place)
        return re.sub(r"\b(8815|8088|50053|50051)\b", lambda usual: self._ports[usual[0]], code)

    def run(self, code: str, *command: str) -> str:
        """Run a block to its end, by the shell unless another command is given; its standard output."""
        done = subprocess.run(
            [*(command or ("sh", "-euc")), self.here(code)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{code}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, code: str) -> Iterator[subprocess.Popen[str]]:
        """Run a block until the end of the ``with`` block, then interrupt it as Ctrl-C does; it must end by that."""
        log = self.folder / f"{time.monotonic_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["sh", "-euc", self.here(code)],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._logs[process.pid] = log
        self._running.append(process)
        try:
            yield process
            self._check(process)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
        finally:
            self._running.remove(process)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_until_ready(self) -> None:
        """Until the server says that it is ready."""
        deadline = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._ports['8088']}/ready", timeout=10).close()
                return
            except OSError:
                for process in self._running:
                    self._check(process)
                assert time.monotonic() < deadline, "the server is not ready after four minutes"
                time.sleep(0.2)

    def wait_until_open(self, usual: str) -> None:
        """Until something listens at the port that is ``usual`` elsewhere."""
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self._ports[usual]))) == 0:
                    return
            for process in self._running:
                self._check(process)
            assert time.monotonic() < deadline, f"nothing listens at {usual} after a minute"
            time.sleep(0.1)

    def _check(self, process: subprocess.Popen[str]) -> None:
        assert process.poll() is None, f"{process.args}\nended by itself:\n{self._logs[process.pid].read_text()}"
