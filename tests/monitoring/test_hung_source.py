"""A source that is connected but gives nothing is told from one that is away, whatever else goes on."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any

import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import UnavailableError
from stellar_arrow_client.request import StreamRequest
from tests.monitoring.processes import SOURCE, get, running, server
from tests.support.programs import free_port
from tests.support.serving import ScriptedSource, ledger_bytes, serving, wait_until


def ready(service: Any) -> dict[str, Any]:
    status, body, _ = get(service.health_port, "/ready")
    told: dict[str, Any] = json.loads(body)
    assert status == (200 if told["ready"] else 503)
    return told


def test_a_source_process_that_is_stopped_and_goes_on() -> None:
    port = free_port()
    endpoint = f"127.0.0.1:{port}"
    source_args = ("serve", "synthetic://?start=100&ledgers=50&rate=20&transactions=2", "--port", str(port))
    with running(SOURCE, *source_args) as source, server(endpoint, "--source-stall-seconds", "4") as served:
        got: list[int] = []
        enough = threading.Event()

        def follow() -> None:
            with Client(served.location) as client:
                for batch, _ in client.stream(StreamRequest("ledgers", 120, None)):
                    got.extend(batch["ledger_sequence"].to_pylist())
                    if enough.is_set():
                        return

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        wait_until(lambda: len(got) > 40, 120)

        source.send_signal(signal.SIGSTOP)
        told = served.until("hung", ready=False)
        assert endpoint in told["reasons"][0]
        before = len(got)
        began = time.monotonic()
        with Client(served.location) as client:
            assert client.health()["source_state"] == "hung"
            with pytest.raises(UnavailableError, match="has not answered"):
                client.latest_ledger()
        assert time.monotonic() - began < 30
        assert served.json("/health")["status"] == "ok"
        assert 'stellar_arrow_source_state{state="hung"} 1.0' in served.page("/metrics")[1]

        source.send_signal(signal.SIGCONT)
        served.until("ok", ready=True)
        wait_until(lambda: len(got) > before + 40, 60)
        enough.set()
        follower.join(30)
        assert got == list(range(120, 120 + len(got)))

        source.kill()
        served.until("unreachable", ready=False)
        assert served.page("/health")[0] == 200


def test_a_tip_that_does_not_move_on() -> None:
    source = ScriptedSource()
    with serving(source, source_stall_seconds=3) as service:
        source.advance()
        wait_until(lambda: service.health()["newest_ledger"] == 1001)
        assert ready(service)["ready"]
        wait_until(lambda: not ready(service)["ready"], 30)
        told = ready(service)
        assert told["source_state"] == "hung"
        assert "has had no ledger after 1001 for" in told["reasons"][0]
        source.advance()
        wait_until(lambda: ready(service)["ready"])


def test_a_source_that_does_not_answer_to_be_opened() -> None:
    answers = threading.Event()

    def open_source() -> ScriptedSource:
        answers.wait(60)
        return ScriptedSource()

    with serving(open_source=open_source, source_stall_seconds=1) as service:
        assert ready(service)["source_state"] == "starting"
        wait_until(lambda: ready(service)["source_state"] == "hung", 30)
        assert "has not answered for" in ready(service)["reasons"][0]
        answers.set()
        wait_until(lambda: ready(service)["ready"], 30)


def test_a_source_that_goes_backwards() -> None:
    source = ScriptedSource()
    with serving(source, source_stall_seconds=2) as service, Client(service.location) as client:
        source.advance()
        wait_until(lambda: service.health()["newest_ledger"] == 1001)
        source.latest = 500
        gone = "answers that its newest ledger is 500, but it had 1001"
        wait_until(lambda: any(gone in reason for reason in ready(service)["reasons"]), 30)
        assert ready(service)["source_state"] == "hung"
        # What it still has is served, and what comes is.
        assert client.read_table(StreamRequest("numbers", 450, 500))["ledger_sequence"].to_pylist()[::2] == [
            *range(450, 501)
        ]
        source.advance(502)
        wait_until(lambda: ready(service)["ready"], 30)


def test_a_source_whose_ledgers_are_history_need_not_move_on() -> None:
    with serving(source_stall_seconds=0.5) as service:
        time.sleep(1.5)
        assert ready(service) == {"ready": True, "source_state": "ok", "reasons": []}


@pytest.mark.parametrize("end", [100, None])
def test_a_ledger_that_is_there_but_does_not_come(end: int | None) -> None:
    come = threading.Event()

    def make(sequence: int) -> bytes:
        if sequence == 50:
            come.wait(60)
        return ledger_bytes(sequence)

    with serving(ScriptedSource(make=make), source_stall_seconds=1) as service, Client(service.location) as client:
        request = StreamRequest("numbers", 1, end)
        got: list[int] = []

        def read() -> None:
            for batch, _ in client.stream(request):
                got.extend(batch["ledger_sequence"].to_pylist())
                if got[-1:] >= [100]:
                    return

        waiting = threading.Thread(target=read, daemon=True)
        waiting.start()
        wait_until(lambda: not ready(service)["ready"], 30)
        told = ready(service)
        assert told["source_state"] == "hung"
        assert "has not given ledger 50 for" in told["reasons"][0]
        come.set()
        wait_until(lambda: ready(service)["ready"])
        waiting.join(30)
        assert sorted(set(got))[:100] == list(range(1, 101))


def test_a_client_that_does_not_read_is_no_fault_of_the_source() -> None:
    source = ScriptedSource(latest=100_000, make=lambda sequence: ledger_bytes(sequence, rows=50, padding=992))
    with (
        serving(source, source_stall_seconds=0.5, prefetch_bytes=1 << 20) as service,
        Client(service.location) as client,
    ):
        stream = iter(client.stream(StreamRequest("numbers", 1, None)))
        next(stream)
        wait_until(lambda: not service._hub.waits(), 30)
        time.sleep(1.5)
        assert ready(service)["ready"]


def test_without_a_threshold_a_tip_may_stand_still() -> None:
    source = ScriptedSource()
    with serving(source, source_stall_seconds=0) as service:
        source.advance()
        wait_until(lambda: service.health()["newest_ledger"] == 1001)
        time.sleep(1)
        assert ready(service)["ready"]
