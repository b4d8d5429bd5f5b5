"""A REST catalog of Iceberg of our own: the project's reference implementation, over a file of SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

import urllib3

from tests.support.object_storage import BUCKET, S3Server

JARS = Path(__file__).parents[2] / ".test-servers" / "iceberg"
SECONDS = 90.0

_JAVA = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@cache
def what_lacks() -> str | None:
    """Why no catalog can be had here; None when one can."""
    if shutil.which("javac") is None:
        return "no Java development kit is installed"
    if not list(JARS.glob("iceberg-core-*-tests.jar")):
        return f"no Iceberg in {JARS}; scripts/test-servers fetches it"
    return None


class IcebergCatalog:
    """A catalog on the loopback interface, whose tables lie in a bucket.

    Attributes:
        port: where it listens, also after a restart.
    """

    def __init__(self, folder: Path, s3: S3Server) -> None:
        self._folder, self._s3 = folder, s3
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        warehouse = f"s3://{BUCKET}/warehouse"
        program = [Path(__file__).with_name("IcebergCatalog.java"), self.port, self._folder / "catalog.db", warehouse]
        with (self._folder / "catalog.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *_JAVA, "-cp", f"{JARS}/*", *map(str, program), self._s3.endpoint],
                env=os.environ | self._s3.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the catalog does not start: {(self._folder / 'catalog.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/v1/config"
            return urllib3.request("GET", url, timeout=2.0, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False
