"""The real Flight server over a store of the corpus, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, LedgerDecoder, find_stream
from tests.support.corpus import ROOT
from tests.support.serving import serving

TABLES = Tables(STREAMS, find_stream, LedgerDecoder)


@contextmanager
def serve_store(store: str) -> Iterator[str]:
    """Serve a store of the corpus; gives the address."""
    with serving(tables=TABLES, open_source=lambda: open_source(str(ROOT / store))) as service:
        yield f"127.0.0.1:{service.port}"
