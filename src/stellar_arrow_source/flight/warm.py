"""Compiles the decoder before the first client needs it."""

from __future__ import annotations

import threading
import time
from itertools import islice

import structlog

from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.ledgers.source import LedgerSource

SAMPLE_LEDGERS = 4

_log = structlog.get_logger(__name__)


def warm(tables: Tables, sample: LedgerSource) -> float:
    """Decode a few ledgers of ``sample`` into every stream; returns the seconds it took.

    The first decode of a process loads the compiled kernels, or compiles them when they are not cached.
    """
    began = time.perf_counter()
    stop = threading.Event()
    ledgers = [bytes(ledger.xdr) for ledger in islice(sample.ledgers(2, None, stop), SAMPLE_LEDGERS)]
    stop.set()
    for stream in tables.streams:
        tables.decoder({stream.name: None}, passphrase=sample.network_passphrase).decode(ledgers)
    return time.perf_counter() - began
