"""Many clients on one tip: each ledger is decoded once for all of them, and none is held up by another."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from urllib.request import urlopen

import pyarrow as pa
import pytest
from pyarrow import flight

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.flight.service import Service
from tests.support.serving import (
    HEADER,
    TABLES,
    Decoded,
    PlainDecoder,
    ScriptedSource,
    find,
    ledger_bytes,
    serving,
    wait_until,
)

CLIENTS = 100
TIP = 100

COLUMNS = (None, ("index",), ("text", "ledger_sequence"), ("raw_xdr",))
FILTERS = (None, "index = 1", "text LIKE 'abc%'")


class Counting(PlainDecoder):
    """Counts how often each ledger is decoded, and of which columns."""

    decoded: Counter[int]
    columns_of: dict[int, set[str]]

    def decode(self, xdrs: Sequence[bytes]) -> Decoded:
        time.sleep(0.005)  # so that all ask for it meanwhile
        for xdr in xdrs:
            sequence, _ = HEADER.unpack_from(xdr)
            self.decoded[sequence] += 1
            self.columns_of.setdefault(sequence, set()).update(*(columns or () for _, columns in self.columns))
        return super().decode(xdrs)


@pytest.fixture
def counting() -> type[Counting]:
    return type("Counted", (Counting,), {"decoded": Counter(), "columns_of": {}})


class Follower(threading.Thread):
    """A client at the tip, as plain as can be.

    Attributes:
        reached: the last ledger that has come.
        rows: all that have come.
    """

    def __init__(self, service: Service, columns: tuple[str, ...] | None, condition: str | None, last: int) -> None:
        super().__init__(daemon=True)
        request = StreamRequest("numbers", TIP, None, columns=columns, filter=condition)
        self._client = flight.FlightClient(service.location)
        self._ticket, self._last = flight.Ticket(request.to_ticket()), last
        self.columns, self.condition = columns, condition
        self.reached, self.batches = 0, list[pa.RecordBatch]()

    def run(self) -> None:
        with self._client as client:
            reader = client.do_get(self._ticket)
            while self.reached < self._last:
                chunk = reader.read_chunk()
                self.batches.append(chunk.data)
                self.reached = Cursor.from_metadata(chunk.app_metadata.to_pybytes()).last
            reader.cancel()

    def expected(self) -> pa.Table:
        """All rows of the ledgers from the first on, two each."""
        keep = [1] if self.condition == "index = 1" else [0, 1]
        wanted = find("numbers").schema(self.columns, "")
        everything = {
            "ledger_sequence": [s for s in range(TIP, self._last + 1) for _ in keep],
            "index": [i for _ in range(TIP, self._last + 1) for i in keep],
        }
        rows = len(everything["index"])
        everything |= {"text": [PlainDecoder.text] * rows, "raw_xdr": [b"x"] * rows}
        return pa.table({field.name: pa.array(everything[field.name], field.type) for field in wanted})


def test_a_hundred_clients_on_one_tip_cost_one_decode_of_each_ledger(counting: type[Counting]) -> None:
    """Whatever columns and conditions they ask for; and each gets exactly its rows."""
    source, last = ScriptedSource(latest=TIP), TIP + 20
    with serving(source, tables=TABLES._replace(decoder=counting), max_connections=CLIENTS) as service:
        followers = [
            Follower(service, COLUMNS[number % len(COLUMNS)], FILTERS[number % len(FILTERS)], last)
            for number in range(CLIENTS)
        ]
        for follower in followers:
            follower.start()
        for sequence in range(TIP, last + 1):
            wait_until(lambda sequence=sequence: all(one.reached >= sequence for one in followers), 60)
            if sequence < last:
                source.advance()
        for follower in followers:
            follower.join(20)
    assert {sequence: counting.decoded[sequence] for sequence in range(TIP + 1, last + 1)} == dict.fromkeys(
        range(TIP + 1, last + 1), 1
    )
    for follower in followers:
        got = pa.Table.from_batches(follower.batches).replace_schema_metadata()
        assert got.cast(follower.expected().schema) == follower.expected()


def test_columns_that_nobody_asks_for_any_more_are_not_decoded(counting: type[Counting]) -> None:
    source = ScriptedSource(latest=TIP)
    with serving(source, tables=TABLES._replace(decoder=counting)) as service:
        narrow, wide = Follower(service, ("index",), None, TIP + 2), Follower(service, None, None, TIP + 1)
        for follower in (narrow, wide):
            follower.start()
        wait_until(lambda: narrow.reached == wide.reached == TIP)
        source.advance()
        wide.join(20)
        wait_until(lambda: service.health()["open_streams"] == 1)
        source.advance()
        narrow.join(20)
    assert counting.columns_of[TIP + 1] == {"ledger_sequence", "index", "text"}
    assert counting.columns_of[TIP + 2] == {"index"}


def test_one_client_that_does_not_read_stops_no_other_and_costs_no_memory(counting: type[Counting]) -> None:
    """Its connection is alive, with TCP's and HTTP/2's windows full."""
    budget, size = 1 << 20, 20_000
    source = ScriptedSource(latest=TIP, make=lambda sequence: ledger_bytes(sequence, 2000, size))
    with ExitStack() as stack:
        service = stack.enter_context(
            serving(source, tables=TABLES._replace(decoder=counting), prefetch_bytes=budget, drain_seconds=0.2)
        )
        stalled = stack.enter_context(flight.FlightClient(service.location))
        reader = stalled.do_get(flight.Ticket(StreamRequest("numbers", TIP, None).to_ticket()))
        followers = [Follower(service, None, None, TIP + 600) for _ in range(4)]
        for follower in followers:
            follower.start()
        most = 0
        while any(one.reached < TIP + 600 for one in followers):
            slowest = min(one.reached for one in followers)
            source.advance(max(0, min(TIP + 600, slowest + 20) - source.latest))
            most = max(most, service._hub.held_bytes)
            time.sleep(0.002)
        for follower in followers:
            follower.join(20)
        assert most <= 4 * budget
        reader.cancel()
    for follower in followers:
        assert sum(batch.num_rows for batch in follower.batches) == 601 * 2000


WIDE = 3000
"""Rows of a ledger; a stalled client's windows are full after a few dozen such ledgers."""


def wide(sequence: int) -> bytes:
    return ledger_bytes(sequence, WIDE)


def test_a_client_that_does_not_read_is_cut_off_and_can_go_on() -> None:
    source = ScriptedSource(latest=1000, make=wide)
    with serving(source, stalled_client_seconds=0.4) as service, Client(service.location) as client:
        stream = client.stream(StreamRequest("numbers", 1, 1000))
        taken = [next(stream)]
        wait_until(lambda: service.health()["open_streams"] == 1)
        wait_until(lambda: service.health()["open_streams"] == 0, 20)  # it is cut off
        assert source.reading == 0
        taken += stream
        with urlopen(f"http://127.0.0.1:{service.health_port}/metrics", timeout=10) as page:
            metrics = page.read().decode()
    rows = [sequence for batch, _ in taken for sequence in batch["ledger_sequence"].unique().to_pylist()]
    assert rows == list(range(1, 1001))
    assert sum(batch.num_rows for batch, _ in taken) == 1000 * WIDE
    assert re.search(r'dropped_total{reason="stalled"} [1-9]', metrics)


def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    source = ScriptedSource(latest=400, make=wide)
    with serving(source, stalled_client_seconds=0.8) as service, flight.FlightClient(service.location) as client:
        rows = 0
        for chunk in client.do_get(flight.Ticket(StreamRequest("numbers", 1, 400).to_ticket())):
            rows += chunk.data.num_rows
            time.sleep(0.1)
    assert rows == 400 * WIDE


def test_a_connection_is_cut_off_only_when_none_of_its_streams_moves() -> None:
    source = ScriptedSource(latest=TIP, make=wide)
    stopped = threading.Event()
    with serving(source, stalled_client_seconds=0.4) as service, flight.FlightClient(service.location) as client:
        stalled = client.do_get(flight.Ticket(b"numbers:1:"))
        follower = client.do_get(flight.Ticket(StreamRequest("numbers", TIP, None, columns=("index",)).to_ticket()))
        feeder = threading.Thread(target=lambda: [source.advance() for _ in iter(lambda: stopped.wait(0.05), True)])
        feeder.start()
        until, reached = time.monotonic() + 2, 0
        while time.monotonic() < until:
            reached = Cursor.from_metadata(follower.read_chunk().app_metadata.to_pybytes()).last
        assert service.health()["open_streams"] == 2
        stopped.set()
        feeder.join()
        assert reached > TIP + 10
        for reader in (stalled, follower):
            reader.cancel()
