"""Worker processes: started, watched, started again when they end, and taken along when the server ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import IO, Any, Final, cast

import structlog

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.logs import log_settings
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.auth import Access
from stellar_arrow_source.flight.orders import Channel, Drain, Heard, Listening, Start, tell_news
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.ledgers.endpoint import pipes

COMMAND: Final = (sys.executable, "-m", "stellar_arrow_source.flight.worker")

LOOK_SECONDS: Final = 1.0
"""How often a worker is asked whether it is ready."""
ANSWER_SECONDS: Final = 5.0
PAGES_SECONDS: Final = 2.0
"""How long pages of all workers are waited for together; what has not come by then is left out."""
PAGES_AT_ONCE: Final = 64
HUNG_SECONDS: Final = 60.0
"""A worker that has not answered for so long is ended and started anew."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before a worker is started again: the wait doubles while it ends soon."""
STEADY_SECONDS: Final = 60.0

GRACE_SECONDS: Final = 3.0
"""What a worker may need beyond the time in which streams drain."""

OWN: Final = "server"
"""How the workers know the process that started them."""

LOOPBACK: Final = "127.0.0.1"

_log = structlog.get_logger(__name__)


class Workers:
    """The workers of one server.

    Args:
        config: of the server.
        preparation: the workers begin when nothing is left of it, so that nobody compiles twice.
        access: of the server; what callers use of one process counts in all.

    Raises:
        InvalidRequestError: the source is a pipe, which only one process can read.
    """

    def __init__(self, config: ServerConfig, preparation: Preparation, access: Access) -> None:
        for pipe in pipes(config.endpoint, config.live):
            raise InvalidRequestError(
                f"{pipe} is a pipe, which several processes cannot read: leave --workers out, or have stellar-core"
                " write to a file"
            )
        self._preparation = preparation
        self._access = access
        self._drain_seconds, self._deadline = config.drain_seconds, float("-inf")
        self._stop = threading.Event()
        self._workers = [_Worker(number, config, self._stop, self._hear) for number in range(1, config.workers + 1)]
        self._threads: list[threading.Thread] = []
        # Some for each, so that one that hangs keeps nobody from asking the others.
        self._asking = futures.ThreadPoolExecutor(
            min(4 * config.workers, PAGES_AT_ONCE), thread_name_prefix="worker-pages"
        )

    def start(self) -> None:
        """Begin; each worker is looked after by a thread."""
        self._threads = [
            threading.Thread(target=self._watch, args=(worker,), name=f"worker-{worker.number}", daemon=True)
            for worker in self._workers
        ]
        self._threads.append(
            threading.Thread(
                target=tell_news, args=(self._access, OWN, self._say, self._stop), name="worker-news", daemon=True
            )
        )
        for thread in self._threads:
            thread.start()

    def ports(self) -> list[int]:
        """Ports of Flight of those that can serve now."""
        return [worker.listening.port for worker in self._workers if worker.listening and worker.ready]

    def report(self) -> list[dict[str, Any]]:
        """What /health says of each worker."""
        return [worker.report() for worker in self._workers]

    def pages(self, path: str) -> dict[str, bytes]:
        """Number of each worker that answers in time → a page of its monitoring; all are asked at the same time."""
        asked = {
            self._asking.submit(worker.page, path, PAGES_SECONDS): str(worker.number)
            for worker in self._workers
            if worker.ready
        }
        answered, late = futures.wait(asked, PAGES_SECONDS)
        for question in late:
            question.cancel()
        pages = {number: question.result() for question, number in asked.items() if question in answered}
        return {number: page[1] for number, page in pages.items() if page and page[0] == HTTPStatus.OK}

    def drain(self) -> None:
        """Tell all to let open streams finish their batch, and to end; starts none again."""
        self._deadline = time.monotonic() + self._drain_seconds + GRACE_SECONDS
        self._stop.set()
        for worker in self._workers:
            worker.say(Drain())

    def close(self) -> None:
        """Wait until all have ended, as long as draining takes, and kill those that have not by then."""
        for worker in self._workers:
            worker.close(max(0.0, self._deadline - time.monotonic()))
        self._asking.shutdown(wait=False, cancel_futures=True)

    def _hear(self, told: Heard) -> None:
        """News of a worker, for this process and for the other workers."""
        told.tell(self._access)
        self._say(told)

    def _say(self, told: Heard) -> None:
        for worker in self._workers:
            if str(worker.number) != told.process:
                worker.say(told)

    def _watch(self, worker: _Worker) -> None:
        while not self._preparation.finished(LOOK_SECONDS) and not self._stop.is_set():
            pass
        worker.run(lambda: Heard(OWN, self._access.known()))


class _Worker:
    def __init__(self, number: int, config: ServerConfig, stop: threading.Event, hear: Callable[[Heard], None]) -> None:
        self.number = number
        self.ready = False
        self.listening: Listening | None = None
        self._config = _worker_config(config, number)
        self._stop = stop
        self._hear = hear
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._lock = threading.Lock()

    def run(self, known: Callable[[], Heard]) -> None:
        """Keep one process running, which is told what is ``known``, until the workers are to end."""
        wait = FIRST_WAIT
        while not self._stop.is_set():
            began = time.monotonic()
            ended = self._run_once(known())
            if self._stop.is_set():
                return
            if time.monotonic() - began >= STEADY_SECONDS:
                wait = FIRST_WAIT
            _log.warning("a worker ended and is started again", worker=self.number, reason=ended, wait=wait)
            self._stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def say(self, message: object) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.say(message)

    def close(self, timeout: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            _log.warning("a worker does not end and is killed", worker=self.number)
            self._process.kill()
            self._process.wait()

    def report(self) -> dict[str, Any]:
        return {
            "worker": self.number,
            "ready": self.ready,
            "pid": self._process.pid if self._process else None,
            "port": self.listening.port if self.listening else None,
            "restarts": max(0, self._starts - 1),
        }

    def page(self, path: str, timeout: float = ANSWER_SECONDS) -> tuple[int, bytes] | None:
        """Status and body of a page of its monitoring; None when it does not answer."""
        if self.listening is None:
            return None
        connection = HTTPConnection(LOOPBACK, self.listening.health_port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def _run_once(self, known: Heard) -> str:
        """Run one process; how it ended."""
        try:
            process = self._start(known)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        if process is None:
            return "not to be started"
        self._attend(process)
        self.ready = False
        self._hear(Heard(str(self.number), None))
        return f"exit code {process.wait()}"

    def _start(self, known: Heard) -> subprocess.Popen[bytes] | None:
        """A new process; None when the workers are to end."""
        with self._lock:
            if self._stop.is_set():
                return None
            if self._channel is not None:
                self._channel.close()
            process = self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the server, which ends its workers
            )
            self._starts += 1
            # Where it was before: clients that know of it find it again.
            port = self.listening.port if self.listening else self._config.port
            self.listening = None
            logs = log_settings()
            self._channel = Channel(cast(IO[bytes], process.stdout), cast(IO[bytes], process.stdin), self._take)
            self._channel.say(
                Start(replace(self._config, port=port), logs._replace(fields={**logs.fields, "worker": self.number}))
            )
            self._channel.say(known)
            return process

    def _take(self, message: Listening | Heard) -> None:
        if isinstance(message, Listening):
            self.listening = message
        else:
            self._hear(message)

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Follow a process until it ends or hangs."""
        answered = time.monotonic()
        while process.poll() is None:
            page = self.page("/ready")
            if page is not None:
                answered = time.monotonic()
            before, self.ready = self.ready, page is not None and page[0] == HTTPStatus.OK
            if self.ready and not before and not self._stop.is_set():
                _log.info("a worker serves", **self.report())
            if time.monotonic() - answered > HUNG_SECONDS:
                _log.warning("a worker hangs and is killed", worker=self.number, pid=process.pid)
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)


def _worker_config(config: ServerConfig, number: int) -> ServerConfig:
    """A worker's settings: those of its server, but for where it listens and its part of the cache."""
    cache = config.ledger_cache / f"worker-{number}" if config.ledger_cache else None
    return replace(
        config,
        workers=0,
        locations=(),
        port=config.worker_port + number - 1 if config.worker_port else 0,
        health_host=LOOPBACK,
        health_port=0,
        ledger_cache=cache,
        ledger_cache_bytes=config.ledger_cache_bytes // (config.workers + 1),
    )
