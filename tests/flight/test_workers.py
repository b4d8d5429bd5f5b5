"""Worker processes: all rows whoever serves them, whatever is killed, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyarrow import flight

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.policy import RetryPolicy
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.access.credentials import PasswordHash
from tests.ledgers.stores import Store, made
from tests.support.clients import Authority, ClientsFile, bearer
from tests.support.server_process import Server, command
from tests.support.serving import wait_until

FIRST, LAST = 200, 999
STREAMS = ("ledgers", "transactions", "operations", "ttp_events", "ledger_entry_changes")
KILLS = int(os.environ.get("STELLAR_ARROW_WORKER_KILLS", "2"))
"""How often a worker is killed under a reader."""

PATIENT = RetryPolicy(retry_for=60, initial=0.05, maximum=0.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    Store(folder, per_batch=1, per_partition=64_000).write(FIRST, made(FIRST, LAST))
    return folder


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with command(tmp_path_factory.mktemp("server"), "--source", str(store), "--workers", "2", "--analytics") as server:
        wait_for_workers(server)
        yield server


def workers_of(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.page("/health")[1])["workers"]
    return found


def wait_for_workers(server: Server, number: int = 2) -> list[dict[str, Any]]:
    """Until so many are ready; the first server on a machine compiles for some minutes before."""
    server.event("serving")
    wait_until(lambda: sum(worker["ready"] for worker in workers_of(server)) == number, 300)
    return workers_of(server)


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs; one that only nobody has waited for does not."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
    return True


def request(stream: str = "operations", start: int = FIRST, end: int = LAST) -> StreamRequest:
    return StreamRequest(stream, start, end)


def alone(server: Server, wanted: StreamRequest, **credentials: Any) -> pa.Table:
    with Client(server.address, parallel=1, **credentials) as client:
        return client.read_table(wanted)


def streams_begun(server: Server) -> dict[str, float]:
    """Worker ("" for the server itself) → how many streams it has begun."""
    begun: dict[str, float] = {}
    for family in text_string_to_metric_families(server.page("/metrics")[1]):
        for sample in family.samples:
            if sample.name == "stellar_arrow_streams_started_total":
                worker = sample.labels.get("worker", "")
                begun[worker] = begun.get(worker, 0) + sample.value
    return begun


@pytest.mark.parametrize("stream", STREAMS)
def test_rows_are_those_of_one_process(server: Server, stream: str) -> None:
    whole = alone(server, request(stream))
    before = streams_begun(server)
    with Client(server.address) as client:
        shared = client.read_table(request(stream))
    after = streams_begun(server)
    assert whole.num_rows > 0
    assert shared.equals(whole)
    assert shared.schema.equals(whole.schema, check_metadata=True)
    assert all(after[worker] > before.get(worker, 0) for worker in ("1", "2"))
    assert after[""] == before[""] + 1  # its last ledgers are left to the server that was asked


def test_clients_that_fetch_endpoints_themselves_get_all(server: Server) -> None:
    with flight.FlightClient(server.address) as client:
        info = client.get_flight_info(flight.FlightDescriptor.for_path(f"operations:{FIRST}:{LAST}"))

    def fetch(endpoint: flight.FlightEndpoint) -> pa.Table:
        with flight.connect(endpoint.locations[0]) as there:
            return there.do_get(endpoint.ticket).read_all()

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(fetch, info.endpoints))
    assert pa.concat_tables(parts).equals(alone(server, request()))
    assert {str(endpoint.locations[0].uri) for endpoint in info.endpoints} == {
        str(f"grpc://127.0.0.1:{worker['port']}".encode()) for worker in workers_of(server)
    }
    assert all(server.address.encode() in [place.uri for place in endpoint.locations] for endpoint in info.endpoints)
    assert {StreamRequest.parse(e.ticket.ticket).start % 64 for e in info.endpoints[1:]} == {0}


def test_analytics_are_those_of_all_processes(server: Server) -> None:
    wanted = request("offers")  # of which no other test reads
    whole = alone(server, request("offers", end=FIRST))
    with Client(server.address) as client:
        rows = client.read_table(wanted)
    told = json.loads(server.page("/analytics")[1])
    # Its first ledger was read by itself before, by the server; now by a worker.
    figures = told["streams"]["offers"]["15m"]
    assert figures["ledgers"] == LAST - FIRST + 2
    assert figures["rows"] == rows.num_rows + whole.num_rows
    assert told["silent_workers"] == 0
    assert json.loads(server.page("/status")[1])["analytics"]["streams"]["offers"]["15m"] == figures


def test_workers_that_hang_hold_nobody_up(server: Server) -> None:
    """All are asked at the same time, and for so long only; what lacks them says so."""
    workers = workers_of(server)
    for worker in workers:
        os.kill(worker["pid"], signal.SIGSTOP)
    try:
        began = time.monotonic()
        told = [json.loads(server.page(path, timeout=30)[1])["silent_workers"] for path in ("/analytics", "/status")]
        metrics = server.page("/metrics", timeout=30)[1]
        # One after the other, with the patience that they are watched with, it would take three times 10 s.
        assert time.monotonic() - began < 20
        assert told == [2, 2]
        assert 'worker="' not in metrics
        wait_until(lambda: not any(worker["ready"] for worker in workers_of(server)), 30)
    finally:
        for worker in workers:
            os.kill(worker["pid"], signal.SIGCONT)
    assert [worker["restarts"] for worker in wait_for_workers(server)] == [0, 0]
    assert streams_begun(server).keys() == {"", "1", "2"}


def test_every_server_serves_every_ticket(server: Server) -> None:
    with flight.FlightClient(server.address) as client:
        info = client.get_flight_info(flight.FlightDescriptor.for_path(f"ledgers:{FIRST}:{LAST}"))
    endpoint = info.endpoints[3]
    found = []
    for location in endpoint.locations[:3]:
        with flight.connect(location) as there:
            found.append(there.do_get(endpoint.ticket).read_all())
    assert found[0].num_rows == 64
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_a_range_that_ends_beyond_the_tip_is_followed_by_one_server(store: Path, tmp_path: Path) -> None:
    growing = tmp_path / "growing"
    writer = Store(growing, per_batch=1, per_partition=64_000)
    ledgers = made(FIRST, LAST)
    writer.write(FIRST, ledgers[:400])
    with command(tmp_path, "--source", str(growing), "--workers", "2") as server:
        wait_for_workers(server)
        with Client(server.address) as client:
            batches, next_ledger, grown = client.stream(request("ledgers", end=FIRST + 404)), FIRST, False
            for batch, cursor in batches:
                assert cursor.first == next_ledger
                assert batch["ledger_sequence"].to_pylist() == list(range(cursor.first, cursor.cursor))
                next_ledger = cursor.cursor
                if next_ledger == FIRST + 400 and not grown:
                    writer.write(FIRST + 400, ledgers[400:405])
                    grown = True
    assert grown
    assert next_ledger == FIRST + 405


def test_a_worker_that_is_killed_loses_and_doubles_nothing(server: Server, store: Path, tmp_path: Path) -> None:
    whole = alone(server, request("transactions"))
    slow = ("--client-bytes-per-second", "60000", "--batch-size", "8")
    with command(tmp_path, "--source", str(store), "--workers", "2", *slow) as server:
        workers = wait_for_workers(server)
        breaks: list[StellarArrowError] = []
        killed: set[int] = set()
        with Client(server.address, retry=PATIENT) as client:
            while len(killed) < KILLS:
                parts = []
                for batch, _ in client.stream(request("transactions"), on_reconnect=breaks.append):
                    parts.append(batch)
                    running = {worker["pid"] for worker in workers_of(server) if worker["ready"]} - killed
                    if len(killed) < KILLS and running:
                        os.kill(pid := min(running), signal.SIGKILL)
                        killed.add(pid)
                assert pa.Table.from_batches(parts).equals(whole)
        assert len(killed) == KILLS
        assert breaks  # in the middle of what a worker sent
        again = wait_for_workers(server)
    assert sum(worker["restarts"] for worker in again) == KILLS
    # They are where they were, for those who know of them.
    assert [worker["port"] for worker in again] == [worker["port"] for worker in workers]


def test_workers_end_with_their_server_even_when_it_is_killed(store: Path, tmp_path: Path) -> None:
    with command(tmp_path, "--source", str(store), "--workers", "2") as server:
        pids = [worker["pid"] for worker in wait_for_workers(server)]
        assert not gone(pids)
        server.stop(signal.SIGKILL)
        wait_until(lambda: gone(pids), 10)


@pytest.mark.parametrize("also", [False, True], ids=["server", "all"])
def test_draining_takes_the_workers_along(store: Path, tmp_path: Path, also: bool) -> None:
    slow = ("--client-bytes-per-second", "100000")
    with command(tmp_path, "--source", str(store), "--workers", "2", *slow) as server:
        workers = wait_for_workers(server)
        with flight.FlightClient(f"grpc://127.0.0.1:{workers[0]['port']}") as client:
            reader = client.do_get(flight.Ticket(f"operations:{FIRST}:{LAST}".encode()))
            reader.read_chunk()
            for worker in workers if also else ():  # as a service manager may do
                os.kill(worker["pid"], signal.SIGTERM)
            code, _ = server.stop(timeout=30)
            with pytest.raises(flight.FlightUnavailableError, match="shutting down"):
                reader.read_all()
        assert code == 0
        wait_until(lambda: gone([worker["pid"] for worker in workers]), 5)
        assert not [line for line in server.lines() if "killed" in line["event"] or "started again" in line["event"]]


def test_several_hosts_share_a_range(store: Path, tmp_path: Path) -> None:
    with command(tmp_path, "--source", str(store)) as one, command(tmp_path, "--source", str(store)) as two:
        places = f"{one.address},{two.address}"
        for server in (one, two):
            server.event("source answers", 300)
        with command(tmp_path, "--source", str(store), "--locations", places) as asked:
            asked.event("source answers", 300)
            with Client(asked.address, retry=PATIENT) as client:
                shared = client.read_table(request())
                assert all(streams_begun(server).get("", 0) > 1 for server in (one, two))
                two.stop(signal.SIGKILL)
                after = client.read_table(request())
            whole = alone(asked, request())
    assert shared.equals(whole)
    assert after.equals(whole)


def test_workers_ask_for_tokens_over_tls_as_their_server_does(store: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, clients = authority.sign("server"), ClientsFile(tmp_path / "clients.json")
    token = clients.add("ann")
    options = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key), "--auth-file", str(clients.path))
    trusted = authority.own.cert.read_bytes()
    with command(tmp_path, "--source", str(store), "--workers", "2", *options) as server:
        workers = wait_for_workers(server)
        with Client(server.address, token=token, tls_roots=trusted) as client:
            shared = client.read_table(request())
        assert all(streams_begun(server)[worker] > 0 for worker in ("1", "2"))
        assert shared.equals(alone(server, request(), token=token, tls_roots=trusted))
        place = f"grpc+tls://127.0.0.1:{workers[0]['port']}"
        ticket = flight.Ticket(request().to_ticket())
        with flight.FlightClient(place, tls_root_certs=trusted) as stranger:
            with pytest.raises(flight.FlightUnauthenticatedError, match="asks for a token"):
                stranger.do_get(ticket)
            with pytest.raises(flight.FlightUnauthenticatedError, match="not valid"):
                stranger.do_get(ticket, bearer("guessed"))
        clients.remove("ann")
        with Client(server.address, token=token, tls_roots=trusted) as client:
            wait_until(lambda: refuses(client), 30)


def refuses(client: Client) -> bool:
    try:
        client.read_table(request(end=FIRST + 300))
    except StellarArrowError as error:
        return error.exit_code == 5
    time.sleep(0.2)
    return False


def test_a_pipe_cannot_be_shared(tmp_path: Path) -> None:
    pipe = tmp_path / "meta"
    os.mkfifo(pipe)
    with command(tmp_path, "--source", f"core://{pipe}", "--workers", "2") as server:
        assert server.process.wait(60) == 2
        assert "is a pipe" in server.errors()


def test_clients_are_not_sent_to_all_addresses(tmp_path: Path) -> None:
    with command(tmp_path, "--source", "synthetic://", "--workers", "2", "--host", "0.0.0.0") as server:
        assert server.process.wait(60) == 2
        assert "--advertise" in server.errors()


def test_limits_hold_for_all_processes_together(store: Path, tmp_path: Path) -> None:
    limits = ("--client-streams", "1", "--client-bytes-per-second", "20000")
    ticket = flight.Ticket(request().to_ticket())
    with command(tmp_path, "--source", str(store), "--workers", "2", *limits) as server, ExitStack() as stack:
        places = [f"grpc://127.0.0.1:{worker['port']}" for worker in wait_for_workers(server)]
        one, two, asked = (stack.enter_context(flight.connect(place)) for place in (*places, server.address))
        reader = one.do_get(ticket)
        reader.read_chunk()
        for other in (two, asked):
            wait_until(lambda other=other: refuses_stream(other, ticket), 30)
        reader.cancel()
        wait_until(lambda: not refuses_stream(two, ticket), 30)


def refuses_stream(client: flight.FlightClient, ticket: flight.Ticket) -> bool:
    try:
        client.do_get(ticket).cancel()
    except flight.FlightUnavailableError as error:
        return "your limit is 1" in str(error)
    time.sleep(0.2)
    return False


def test_a_login_holds_for_all_processes(store: Path, tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    clients.add("ann", password_scrypt=str(PasswordHash.of("secret")))
    ticket = flight.Ticket(request("ledgers", end=FIRST).to_ticket())
    with command(tmp_path, "--source", str(store), "--workers", "2", "--auth-file", str(clients.path)) as server:
        workers = wait_for_workers(server)
        with flight.connect(server.address) as client:
            header = client.authenticate_basic_token("ann", "secret")
        options = flight.FlightCallOptions(headers=[header])

        def serves(worker: dict[str, Any]) -> bool:
            with flight.connect(f"grpc://127.0.0.1:{worker['port']}") as client:
                try:
                    return bool(client.do_get(ticket, options).read_all().num_rows == 1)
                except flight.FlightUnauthenticatedError:
                    return False

        for worker in workers:
            wait_until(lambda worker=worker: serves(worker), 10)
        os.kill(workers[0]["pid"], signal.SIGKILL)
        wait_until(lambda: workers_of(server)[0]["restarts"] == 1, 30)
        wait_until(lambda: workers_of(server)[0]["ready"], 30)
        assert serves(workers_of(server)[0])  # who begins later knows it too
