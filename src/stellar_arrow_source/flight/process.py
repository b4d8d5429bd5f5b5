"""A server as a process of its own: the one that people start, and the workers that it starts."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from functools import partial
from typing import Final

from stellar_arrow_source.allocator import keep_freed_memory
from stellar_arrow_source.compiling import tell_of_compiling
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.endpoint import open_source

OPEN_FILES: Final = 65_536
"""Files and connections that a server may have open, if the machine lets it."""

SWITCH_SECONDS: Final = 0.0005
"""How long a thread waits before it asks the one that holds the interpreter lock for it.

A decoding thread lets go of the lock hundreds of times, for each kernel, and waits to have it back. With Python's
5 ms two streams at once come at 0.87 of this speed, with 0.2 ms at the same.
"""


def make_service(config: ServerConfig, *, is_worker: bool = False) -> Service:
    """The server that ``config`` describes, in this process, which serves nothing else.

    Raises:
        StellarArrowError: see :class:`~stellar_arrow_source.flight.service.Service`.
    """
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_open_files()
    tell_of_compiling()
    opened = partial(
        open_source,
        config.endpoint,
        live=config.live,
        passphrase=config.passphrase,
        tls=config.source_tls,
        failover_seconds=config.failover_seconds,
        cache=None if config.ledger_cache is None else (config.ledger_cache, config.ledger_cache_bytes),
    )
    return Service(config, ledger_tables(config.ttp_mode), opened, is_worker=is_worker)


def _allow_open_files() -> None:
    """Raise the limit that shells set low as far as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
