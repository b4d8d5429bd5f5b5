"""For tests of consumers: a server of given tables, sample data, and the conformance suites.

>>> from stellar_arrow_client.testing import FakeServer, sample_table
>>> with FakeServer({"samples": sample_table(1, 10)}, first=1, last=10) as server:
...     client = Client(server.address)
...     print(client.read_table(StreamRequest("samples", 3, 4)).num_rows)
10

:mod:`stellar_arrow_client.testing.conformance` holds the suites that a consumer's tests derive from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stellar_arrow_client.testing.sample import SAMPLE_STREAM, sample_table
    from stellar_arrow_client.testing.server import FakeServer, Fault

__all__ = ["SAMPLE_STREAM", "FakeServer", "Fault", "sample_table"]

_MODULES = {"sample": ("SAMPLE_STREAM", "sample_table"), "server": ("FakeServer", "Fault")}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: pytest loads this package in every run, for its plugin."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
