"""A REST catalog of Iceberg of our own: the project's reference implementation, over a file of SQLite."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import urllib3

from tests.support.object_storage import BUCKET, S3Server
from tests.support.programs import JAVA, TEST_SERVERS, free_port, lack_of_java, wait_for

JARS = TEST_SERVERS / "iceberg"


@cache
def what_lacks() -> str | None:
    """Why no catalog can be had here; None when one can."""
    return lack_of_java("Iceberg", JARS, "iceberg-core-*-tests.jar")


class IcebergCatalog:
    """A catalog on the loopback interface, whose tables lie in a bucket.

    Attributes:
        port: where it listens, also after a restart.
    """

    def __init__(self, folder: Path, s3: S3Server) -> None:
        self._folder, self._s3 = folder, s3
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        warehouse = f"s3://{BUCKET}/warehouse"
        program = [Path(__file__).with_name("IcebergCatalog.java"), self.port, self._folder / "catalog.db", warehouse]
        path = self._folder / "catalog.log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(
                [*JAVA, "-Xmx512m", "-Xms128m", "-cp", f"{JARS}/*", *map(str, program), self._s3.endpoint],
                env=os.environ | self._s3.environment,
                stdout=log,
                stderr=log,
            )
        wait_for(self._process, self._answers, path)

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
