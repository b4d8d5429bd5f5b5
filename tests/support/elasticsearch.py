"""An Elasticsearch node of our own, for tests; of its modules it has the one for the network alone."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.support.opensearch import OpenSearchServer
from tests.support.programs import TEST_SERVERS, lack_of_java

JARS = TEST_SERVERS / "elasticsearch"
_NETWORK = "transport-netty4"
_DESCRIPTOR = f"META-INF/es-plugins/{_NETWORK}/plugin-descriptor.properties"


@cache
def what_lacks() -> str | None:
    """Why no node can be had here; None when one can."""
    return lack_of_java("Elasticsearch", JARS, f"{_NETWORK}-*.jar")


class ElasticsearchServer(OpenSearchServer):
    """See :class:`~tests.support.opensearch.OpenSearchServer`."""

    program = "Elasticsearch.java"

    def __init__(self, folder: Path) -> None:
        home = folder / "node"
        (home / "config").mkdir(parents=True)
        self._make_module(home / "modules" / _NETWORK)
        super().__init__(folder)

    @staticmethod
    def _make_module(module: Path) -> None:
        """The module that speaks HTTP, which Elasticsearch takes from a folder of its own only."""
        module.mkdir(parents=True)
        for jar in _network_jars():
            (module / jar.name).symlink_to(jar)
        with zipfile.ZipFile(next(JARS.glob(f"{_NETWORK}-*.jar"))) as jar:
            lines = jar.read(_DESCRIPTOR).decode().splitlines()
        plain = [line for line in lines if not line.startswith("modulename=")]  # the others are on the class path
        (module / "plugin-descriptor.properties").write_text("\n".join(plain))

    def _classes(self) -> str:
        return ":".join(str(jar) for jar in sorted(set(JARS.glob("*.jar")) - _network_jars()))


def _network_jars() -> set[Path]:
    return {*JARS.glob("netty-*.jar"), *JARS.glob(f"{_NETWORK}-*.jar")}


@contextmanager
def elasticsearch_server() -> Iterator[ElasticsearchServer]:
    """A node in a new folder, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="elasticsearch") as folder:
        server = ElasticsearchServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()
