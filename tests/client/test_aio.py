"""The client for asyncio: the same rows, an event loop that goes on, and nothing left of a cancelled stream."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pyarrow as pa
import pytest

from stellar_arrow_client import AsyncClient, Client, StreamRequest
from stellar_arrow_client.errors import GapError, InvalidRequestError, UnavailableError, UnknownStreamError
from stellar_arrow_client.testing import FakeServer, Fault, sample_table
from tests.client.scripted import QUICK, ScriptedServer, step


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"samples": sample_table(10, 400)}, 10, 400, ledgers_per_batch=5) as server:
        yield server


def run(server: str, work: Callable[[AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        async with AsyncClient(server, retry=QUICK) as client:
            return await work(client)

    return asyncio.run(main())


def threads_of_streams() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("stream", "read "))]


def test_rows_are_those_of_the_client(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> Any:
        batches = [batch async for batch, _ in client.stream("samples:10:400")]
        resumed = [cursor async for _, cursor in client.stream("samples:10:400", resume=396)]
        nothing = [cursor async for _, cursor in client.stream("samples:10:400", resume=401)]
        table = await client.read_table(StreamRequest("samples", 20, 30, ("amount",)))
        frame = await asyncio.to_thread(client.read("samples:20:30").to_polars)
        return batches, resumed, nothing, table, frame

    batches, resumed, nothing, table, frame = run(server.address, work)
    assert pa.Table.from_batches(batches).equals(sample_table(10, 400))
    assert [(cursor.first, cursor.last) for cursor in resumed] == [(396, 400)]
    assert nothing == []
    assert table.equals(sample_table(20, 30).select(["amount"]))
    assert frame["amount"].to_list() == table["amount"].to_pylist()
    assert threads_of_streams() == []


def test_short_calls(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> Any:
        return (
            await client.streams(),
            await client.schema("samples"),
            await client.latest_ledger(),
            await client.health(),
            (await client.preview("samples", 3)).table,
        )

    streams, schema, latest, health, preview = run(server.address, work)
    with Client(server.address) as client:
        assert streams == client.streams()
    assert schema.equals(sample_table(10, 10).schema)
    assert latest == 400
    assert health == {"status": "ok"}
    assert preview.equals(sample_table(398, 400).slice(7))


def test_many_streams_at_the_same_time(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> Any:
        return await asyncio.gather(
            *(client.read_table(f"samples:{first}:{first + 40}") for first in range(10, 110, 4))
        )

    tables = run(server.address, work)
    assert all(
        table.equals(sample_table(first, first + 40)) for first, table in zip(range(10, 110, 4), tables, strict=True)
    )
    assert threads_of_streams() == []


def test_the_loop_is_not_blocked() -> None:
    """While the server says nothing, other tasks run."""

    async def work(client: AsyncClient) -> Any:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        cursors = [cursor.last async for _, cursor in client.stream(StreamRequest("samples", 1, 2))]
        ticking.cancel()
        return ticks, cursors

    with ScriptedServer([[step(1, 1, 1), 0.5, step(2, 2, 2)]]) as server:
        ticks, cursors = run(server.address, work)
    assert cursors == [1, 2]
    assert ticks > 20


@pytest.mark.parametrize("way", ["cancel", "timeout", "break"])
def test_a_stream_that_is_left_ends_on_the_server_too(way: str) -> None:
    async def work(client: AsyncClient) -> Any:
        begun = asyncio.Event()

        async def follow() -> None:
            async with aclosing(client.stream(StreamRequest("samples", 1))) as stream:
                async for _ in stream:
                    begun.set()
                    if way == "break":
                        break

        if way == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(follow(), 0.3)
        else:
            task = asyncio.create_task(follow())
            await begun.wait()
            if way == "cancel":
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task
        return threads_of_streams()

    with ScriptedServer([[step(1, 1, 1), 30.0, step(2, 2, 2)]]) as server:
        began = time.monotonic()
        left = run(server.address, work)
        assert time.monotonic() - began < 5
        assert server.cancelled.wait(5)
    assert not any(name.startswith("read ") for name in left)
    assert threads_of_streams() == []


def test_a_slow_reader_is_not_run_over(server: FakeServer) -> None:
    """What is read ahead is bounded: gRPC's buffer aside, a few batches."""
    ledgers = range(10, 110)
    values = pa.array([b"x" * 2**20] * len(ledgers))
    wide = pa.table({"ledger_sequence": pa.array(ledgers, pa.uint32()), "value": values})
    server.tables["samples"], server.last, server.ledgers_per_batch = wide, ledgers[-1], 1

    async def work(client: AsyncClient) -> int:
        async with aclosing(client.stream("samples:10:109")) as stream:
            await anext(stream)
            await asyncio.sleep(0.7)
            return server.batches

    assert run(server.address, work) < 40


def test_errors_are_those_of_the_client(server: FakeServer) -> None:
    async def consume(client: AsyncClient, request: str) -> None:
        async for _ in client.stream(request):
            pass

    with pytest.raises(UnknownStreamError, match="did you mean 'samples'"):
        run(server.address, lambda client: consume(client, "sample:1:2"))
    with pytest.raises(InvalidRequestError, match="start 5 is after end 4"):
        run(server.address, lambda client: consume(client, "samples:5:4"))
    with pytest.raises(InvalidRequestError, match="samples:10: has no end"):
        run(server.address, lambda client: client.read_table("samples:10:"))
    with (
        ScriptedServer([[step(1, 1, 1), step(5, 5, 5)]]) as gapped,
        pytest.raises(GapError, match="2 to 4 are missing"),
    ):
        run(gapped.address, lambda client: consume(client, "samples:1:9"))
    server.stop()
    with pytest.raises(UnavailableError, match="is stellar-arrow-source running there"):
        run(server.address, lambda client: consume(client, "samples:10:20"))
    assert threads_of_streams() == []


def test_breaks_are_resumed(server: FakeServer) -> None:
    server.faults = [Fault(3), Fault(0), Fault(7, "end")]
    told: list[str] = []

    async def work(client: AsyncClient) -> list[pa.RecordBatch]:
        stream = client.stream("samples:10:400", on_reconnect=lambda error: told.append(type(error).__name__))
        return [batch async for batch, _ in stream]

    assert pa.Table.from_batches(run(server.address, work)).equals(sample_table(10, 400))
    assert told == ["UnavailableError"] * 3
