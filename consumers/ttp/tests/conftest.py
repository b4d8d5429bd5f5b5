from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from consumers.ttp.tests.serving import serve_store

NODE = Path(__file__).parent / "node"
INSTALLED = Path(__file__).parents[3] / ".test-servers" / "grpc-js"


@pytest.fixture(scope="session")
def address_of() -> Iterator[Callable[[str], str]]:
    """Stores of the corpus by name, each served from when it is first asked for."""
    with ExitStack() as stack:
        yield cache(lambda store: stack.enter_context(serve_store(store)))


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client of grpc-js, with what it needs beside it."""
    lock = INSTALLED / "package-lock.json"
    if shutil.which("node") is None or not lock.exists() or lock.read_bytes() != (NODE / lock.name).read_bytes():
        pytest.skip("no Node.js with the packages of the client of grpc-js: scripts/test-servers fetches them")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    return folder / "client.js"
