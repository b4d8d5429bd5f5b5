"""The command as a process of its own, and the Flight server for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from ttp_processor.protos.event_service_pb2 import GetEventsRequest
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent

BIN = Path(sys.executable).parent
ENV = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("TTP_", "STELLAR_", "LOG_", "PORT", "METRICS_", "DRAIN_"))
}
SECONDS = 60


class Process:
    """A server process, which says in JSON lines what it does."""

    def __init__(self, *command: object) -> None:
        self._command = [str(BIN / str(command[0])), *map(str, command[1:]), "--log-format", "json"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> Self:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 (lives as long as the process)
        self.popen = subprocess.Popen(self._command, stderr=self._log, env=ENV)
        self.serving = self.wait_for("serving")
        return self

    @property
    def said(self) -> list[dict[str, Any]]:
        """What it has said so far."""
        whole, _, _ = Path(self._log.name).read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first message of that name."""
        deadline = time.monotonic() + SECONDS
        while True:
            ended = self.popen.poll()
            for said in self.said:
                if said["event"] == event:
                    return said
            assert ended is None, f"it ended with {ended} before it said {event!r}: {self.said}"
            assert time.monotonic() < deadline, f"it does not say {event!r}: {self.said}"
            time.sleep(0.02)

    def kill(self) -> None:
        """As kill -9."""
        self.popen.kill()
        self.popen.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.popen.send_signal(number)
        return self.popen.wait(SECONDS)


class Processor(Process):
    """``ttp-processor serve``."""

    def __init__(self, server: str, *arguments: object, port: int = 0) -> None:
        super().__init__("ttp-processor", "serve", server, *arguments, "--port", port)

    @property
    def address(self) -> str:
        return str(self.serving["grpc"]).partition("://")[2]

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=[("grpc.max_reconnect_backoff_ms", 500)])


def call(channel: grpc.Channel, start: int, end: int, timeout: float | None = SECONDS, wait: bool = True) -> Any:
    """The call GetTTPEvents: an iterator of messages; ``wait`` for a connection, else fail at once without one."""
    method = channel.unary_stream(
        "/token_transfer_service.EventService/GetTTPEvents",
        request_serializer=GetEventsRequest.SerializeToString,
        response_deserializer=TokenTransferEvent.FromString,
    )
    return method(GetEventsRequest(start_ledger=start, end_ledger=end), timeout=timeout, wait_for_ready=wait)


def wait_until(condition: Any, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
