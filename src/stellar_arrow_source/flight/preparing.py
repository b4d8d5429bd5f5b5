"""Has another process compile what streams need before this one decodes them.

Compiling takes a minute or two, once per machine, and hundreds of megabytes; what is in the caches is loaded in a
fraction of a second. Streams that somebody waits for come first.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, cast

import structlog

COMMAND = (sys.executable, "-m", "stellar_arrow_source.tables.prepare")

_log = structlog.get_logger(__name__)


class Preparation:
    """The streams that are still to be compiled.

    Args:
        streams: names, in the order in which to compile them; of none, everything is ready.
        command: the process to start, see :mod:`stellar_arrow_source.tables.prepare`.
    """

    def __init__(self, streams: Sequence[str], command: Sequence[str] = COMMAND) -> None:
        self._left = list(streams)
        self._abandoned: frozenset[str] = frozenset()
        self._command = list(command)
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def left(self) -> int:
        """Streams that are still to be compiled."""
        return len(self._left)

    def start(self, ledger: bytes | memoryview, passphrase: str | None) -> None:
        """Begin, with a ledger to try the streams on; does nothing when it has begun before, or nothing is left."""
        if self._thread is None and self._left:
            if passphrase is not None:
                self._command.append(passphrase)
            self._thread = threading.Thread(target=self._run, args=(bytes(ledger),), name="preparation", daemon=True)
            self._thread.start()

    def wait(self, stream: str, seconds: float) -> bool:
        """Whether the stream can be decoded; waits at most so long, and has it compiled next."""
        with self._changed:
            if stream in self._left[1:]:  # the first one is being compiled
                self._left.remove(stream)
                self._left.insert(1, stream)
            return self._changed.wait_for(lambda: stream not in self._left, seconds)

    def is_compiled(self, stream: str) -> bool:
        """Whether the stream is compiled; what is left to be compiled where it is used is not."""
        return stream not in self._left and stream not in self._abandoned

    def finished(self, seconds: float) -> bool:
        """Whether nothing is left to be compiled; waits at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._left, seconds)

    def close(self) -> None:
        """End the process; what is left is compiled where it is used."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        self._done(None)

    def _run(self, ledger: bytes) -> None:
        began = time.monotonic()
        _log.info(
            "compiling the decoder, as once on every machine; it takes some minutes, streams are served when theirs is "
            "compiled",
            left=len(self._left),
        )
        try:
            while self._left and self._serve(ledger):
                pass
        except OSError as error:
            _log.warning("cannot compile in another process", reason=str(error))
        finally:
            if self._left and not self._closed:
                _log.warning("streams are compiled as they are asked for", streams=list(self._left))
            elif not self._closed:
                _log.info("decoder compiled", seconds=round(time.monotonic() - began, 1))
            self._done(None)

    def _serve(self, ledger: bytes) -> bool:
        """Have one process compile what it will; whether another one is to go on."""
        with (
            contextlib.suppress(BrokenPipeError),  # its exit code says why
            subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server, which ends it
            ) as process,
        ):
            self._process = process
            self._converse(process, ledger)
        code = process.wait()
        if code not in (os.EX_OK, os.EX_TEMPFAIL) and not self._closed:
            _log.warning("compiling in another process failed", exit_code=code)
        return code == os.EX_TEMPFAIL and not self._closed

    def _converse(self, process: subprocess.Popen[bytes], ledger: bytes) -> None:
        requests, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        requests.write(len(ledger).to_bytes(8, "big") + ledger)
        while not self._closed:
            with self._changed:
                stream = next(iter(self._left), None)
            if stream is None:
                break
            requests.write(stream.encode() + b"\n")
            requests.flush()
            if not answers.readline():
                break
            self._done(stream)
        requests.close()

    def _done(self, stream: str | None) -> None:
        """Tell that a stream, or every one, need not be waited for."""
        with self._changed:
            if stream is None:
                self._abandoned = frozenset(self._left)
            self._left = [] if stream is None else [name for name in self._left if name != stream]
            self._changed.notify_all()
