"""Two equal sources, real processes, of which one is stopped: it accepts, then says nothing."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.request import StreamRequest
from tests.faults.test_chaos import OverFolder, grpc, rpc
from tests.ledgers.stores import Store, made
from tests.monitoring.processes import Server, server
from tests.support.serving import wait_until

FIRST, HISTORY, LAST = 100, 179, 299
LEDGERS = made(FIRST, LAST)
SILENCE = 2


class Source:
    """A process that serves the ledgers of a folder and can be stopped."""

    def __init__(self, victim: OverFolder) -> None:
        self.endpoint = victim.endpoint
        self._victim = victim
        victim.start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._victim.kill()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        process = self._victim._process
        assert process is not None
        return process


def failovers(served: Server) -> int:
    [line] = [
        line for line in served.page("/metrics")[1].splitlines() if line.startswith("stellar_arrow_source_failovers")
    ]
    return int(float(line.rpartition(" ")[2]))


@contextmanager
def following(served: Server, got: list[int]) -> Iterator[None]:
    done = threading.Event()

    def follow() -> None:
        with suppress(StellarArrowError), Client(served.location) as client:  # the server ends before it
            for batch, _ in client.stream(StreamRequest("ledgers", FIRST, None)):
                got.extend(batch["ledger_sequence"].to_pylist())
                if done.is_set():
                    return

    threading.Thread(target=follow, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@pytest.mark.parametrize("kind", [grpc, rpc])
def test_one_of_two_sources_hangs(kind: Callable[[Path], OverFolder], tmp_path: Path) -> None:
    store = Store(tmp_path / "store", per_partition=1000)
    store.write(FIRST, LEDGERS[: HISTORY - FIRST + 1])
    put = HISTORY

    def close_ledgers(number: int) -> None:
        nonlocal put
        for _ in range(number):
            put += 1
            store.write(put, LEDGERS[put - FIRST : put - FIRST + 1])

    states: set[tuple[bool, str]] = set()
    with ExitStack() as stack:
        one, other = (Source(kind(tmp_path / "store")) for _ in range(2))
        stack.callback(one.close)
        stack.callback(other.close)
        served = stack.enter_context(
            server(
                f"{one.endpoint},{other.endpoint}", "--failover-seconds", str(SILENCE), "--source-stall-seconds", "6"
            )
        )
        over = threading.Event()
        stack.callback(over.set)

        def watch_readiness() -> None:
            while not over.wait(0.2):
                told = served.json("/ready")
                states.add((told["ready"], told["source_state"]))

        assert failovers(served) == 0

        # History.
        one.stop()
        with Client(served.location) as client:
            rows = client.read(StreamRequest("ledgers", FIRST, HISTORY)).to_table()
        assert rows["ledger_sequence"].to_pylist() == list(range(FIRST, HISTORY + 1))
        assert failovers(served) == 1
        one.go_on()
        wait_until(lambda: failovers(served) == 2, 90)  # it is gone back to

        # The tip.
        got: list[int] = []
        with following(served, got):
            wait_until(lambda: len(got) == HISTORY - FIRST + 1, 60)
            watch = threading.Thread(target=watch_readiness)
            watch.start()
            one.stop()
            close_ledgers(20)
            wait_until(lambda: len(got) == put - FIRST + 1, 60)
            assert failovers(served) == 3
            over.set()
            watch.join()
            assert states == {(True, "ok")}

            # Both.
            other.stop()
            close_ledgers(20)
            served.until("hung", ready=False)
            assert len(got) == put - FIRST - 19
            one.go_on()
            other.go_on()
            served.until("ok", ready=True)
            close_ledgers(20)
            wait_until(lambda: len(got) == put - FIRST + 1, 60)
        assert got == list(range(FIRST, put + 1))
