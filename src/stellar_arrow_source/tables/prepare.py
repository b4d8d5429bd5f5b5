"""Compiles what streams need ahead of their use, in a process of its own, whose memory goes when it ends.

``python -m stellar_arrow_source.tables.prepare [PASSPHRASE]`` reads the length of a ledger (8 bytes, big-endian), the
ledger, then names of streams or :data:`TOGETHER`, a line each; it answers each with the same line once its code is in
the caches. It ends when there is nothing more to read, or, having compiled much, with EX_TEMPFAIL for another one to go
on.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

import numba

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.tables.catalog import STREAMS
from stellar_arrow_source.tables.decoder import LedgerDecoder
from stellar_arrow_source.xdr import code_cache

TOGETHER: Final = "all-streams"
"""The name for what decodes several streams in one call."""

_MOST_MEMORY = 400 << 10  # KiB, as ru_maxrss counts on Linux


def is_prepared(stream: str) -> bool:
    """Whether a process has prepared the stream before, with the same sources on the same kind of processor."""
    return (
        numba.config.DISABLE_JIT
        or code_cache.load(f"prepared {stream} of {_sources()}", *code_cache.processor()) is not None
    )


@cache
def _sources() -> str:
    """A digest of all that compiled code is made of, and of where it is: numba keeps that of each place by itself."""
    package = Path(__file__).parents[1]
    digest = sha256(f"{sys.version}, numba {numba.__version__}, {numba.config.BOUNDSCHECK}, {package}".encode())
    for path in sorted(path for name in ("xdr", "tables") for path in (package / name).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def serve(requests: IO[bytes], answers: IO[bytes], passphrase: str | None) -> int:
    """Do what the module says; the exit code."""
    ledger = requests.read(int.from_bytes(requests.read(8), "big"))
    for line in requests:
        name = line.decode().strip()
        with contextlib.suppress(StellarArrowError):  # whoever decodes the ledger is told
            streams = [stream.name for stream in STREAMS] if name == TOGETHER else [name]
            LedgerDecoder(dict.fromkeys(streams), passphrase=passphrase).decode([ledger])
            code_cache.store(f"prepared {name} of {_sources()}", *code_cache.processor(), b"done")
        answers.write(line)
        answers.flush()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _MOST_MEMORY:
            return os.EX_TEMPFAIL
    return os.EX_OK


if __name__ == "__main__":
    os.nice(5)
    sys.exit(serve(sys.stdin.buffer, sys.stdout.buffer, next(iter(sys.argv[1:]), None)))
