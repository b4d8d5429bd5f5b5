"""A PostgreSQL server of our own, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

OLDEST = 14


def find_programs() -> Path | None:
    """Where initdb, pg_ctl and postgres are; None when this machine has no server that is new enough."""
    named = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in [*folders, *([Path(named).resolve().parent] if named else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
            if int(said.split()[2].split(".")[0]) >= OLDEST:
                return folder
    return None


class PostgresServer:
    """A cluster in a new folder, which listens on the loopback interface; every local user may connect.

    Attributes:
        port: where it listens, also after a restart.
        folder: of the cluster.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        programs = find_programs()
        assert programs is not None, "no PostgreSQL server is installed"
        self._programs = programs
        self.folder = folder / "data"
        self._owner = _owner_of(folder)
        self._run(
            "initdb", "-D", self.folder, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--no-locale"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        lines = [
            f"port = {self.port}",
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            *settings,
        ]
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    @property
    def url(self) -> str:
        """Of the database ``postgres``, as its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.folder / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> Self:
        """Start it and wait until it takes connections."""
        self._run("pg_ctl", "-D", self.folder, "-w", "-t", "60", "-l", self.folder / "log", "start")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is as a crash."""
        self._run("pg_ctl", "-D", self.folder, "-w", "-t", "60", "-m", mode, "stop")

    def give(self, file: Path) -> None:
        """Make a file the server's own, which nobody else can read."""
        file.chmod(0o600)
        if self._owner is not None:
            os.chown(file, self._owner.pw_uid, self._owner.pw_gid)

    def run_as_owner(self, *command: str | Path) -> None:
        """Run a command as the user that the server runs as."""
        subprocess.run(
            [*_as(self._owner), *map(str, command)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.folder.parent,
        )

    def _run(self, program: str, *arguments: str | Path) -> None:
        self.run_as_owner(self._programs / program, *arguments)


@contextmanager
def postgres_server(settings: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """A running server, in a folder of its own that goes with it."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = PostgresServer(Path(folder), settings)
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "postmaster.pid").exists():
                server.stop("immediate")


def _owner_of(folder: Path) -> pwd.struct_passwd | None:
    """Who the server runs as, to whom the folder is given: it refuses to run as root."""
    if os.getuid() != 0:
        return None
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return owner


def _as(owner: pwd.struct_passwd | None) -> list[str]:
    if owner is None:
        return []
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--init-groups"]
