"""Client SDK: typed, resumable streams of Stellar ledgers from a stellar-arrow-source server.

>>> from stellar_arrow_client import Client, StreamRequest
>>> with Client(SERVER) as client:  # such as "localhost:8815"
...     print(client.schema("payments").names[:2])
...     request = StreamRequest("payments", 100, 109, columns=("ledger_sequence", "amount"))
...     for batch, cursor in client.stream(request):
...         print(f"ledgers {cursor.first} to {cursor.last}: {batch.num_rows} rows")
...     table = client.read_table(request)
['ledger_sequence', 'ledger_close_time']
ledgers 100 to 109: 45 rows
>>> table.column_names
['ledger_sequence', 'amount']

``stream`` resumes by itself when the connection breaks and gives every ledger once; without ``end`` it follows
the tip. :func:`run` drives a :class:`Sink` the same way, with checkpoints and signals.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stellar_arrow_client.aio import AsyncClient
    from stellar_arrow_client.checkpointed import CheckpointedStream
    from stellar_arrow_client.client import Client, StreamInfo
    from stellar_arrow_client.policy import RetryPolicy
    from stellar_arrow_client.request import Cursor, StreamRequest
    from stellar_arrow_client.rows import Rows
    from stellar_arrow_client.runner import Job, RunResult, run, run_all
    from stellar_arrow_client.sink import Sink
    from stellar_arrow_client.sql import Answer, Connection, connect

__all__ = [
    "Answer",
    "AsyncClient",
    "CheckpointedStream",
    "Client",
    "Connection",
    "Cursor",
    "Job",
    "RetryPolicy",
    "Rows",
    "RunResult",
    "Sink",
    "StreamInfo",
    "StreamRequest",
    "connect",
    "run",
    "run_all",
]

_MODULES = {
    "aio": ("AsyncClient",),
    "checkpointed": ("CheckpointedStream",),
    "client": ("Client", "StreamInfo"),
    "policy": ("RetryPolicy",),
    "request": ("Cursor", "StreamRequest"),
    "rows": ("Rows",),
    "runner": ("Job", "RunResult", "run", "run_all"),
    "sink": ("Sink",),
    "sql": ("Answer", "Connection", "connect"),
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: pyarrow loads slowly, and ``--help`` needs none of it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
