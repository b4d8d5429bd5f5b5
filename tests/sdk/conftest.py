"""The real server over synthetic ledgers, a client of it, and the whole tables as the server gives them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pyarrow as pa
import pytest

from stellar_arrow_client import Client, StreamRequest
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.service import Service
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import STREAMS, LedgerDecoder, find_stream
from tests.sdk.recording import FIRST, LAST, WholeTables
from tests.support.serving import serving, wait_until


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    tables = Tables(STREAMS, find_stream, LedgerDecoder)
    endpoint = f"synthetic://?ledgers={LAST - FIRST + 1}"
    with serving(tables=tables, open_source=lambda: open_source(endpoint), batch_size=16) as service:
        wait_until(lambda: not service.not_ready(), 240)
        yield service


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[Client]:
    with Client(service.location) as client:
        assert client.latest_ledger() == LAST
        yield client


@pytest.fixture(scope="session")
def whole(client: Client) -> WholeTables:
    @cache
    def read(stream: str) -> pa.Table:
        return client.read_table(StreamRequest(stream, FIRST, LAST))

    return read
