"""One writer at a time in object storage, which has no locks: an object that its holder renews.

A lease that is not renewed is taken over: at once when its holder was a process of this machine that is gone, else
when nobody has renewed it for a while. Clocks of different machines are not compared. A holder that was cut off for
that long and comes back does no harm: what it records next is refused, because the log has changed (see
:mod:`parquet_consumer.buckets`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

from parquet_consumer.errors import storage_errors
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.object_storage import ATTEMPTS, repeat, tells_of_no_bucket

RENEWED_AFTER: Final = 5.0
EXPIRED_AFTER: Final = 30.0
"""Seconds without a renewal after which a holder counts as gone."""

_LOOK_EVERY: Final = 1.0
_MAX_BYTES: Final = 4096


class Lease:
    """The lease of one archive.

    Args:
        name: of the object.
        place: the archive, for messages.
    """

    def __init__(self, store: ObjectStore, name: str, place: str) -> None:
        self._store, self._name, self._place = store, name, place
        self._holder = {**_this_process(), "token": secrets.token_hex(8)}
        self._renewals = 0
        self._version: Any = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it.

        Raises:
            StellarArrowError: another process holds it.
            AuthenticationError, StorageUnavailableError: the storage refuses, or does not answer.
        """
        with storage_errors("write into", self._place):
            self._acquire()
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(ended,), daemon=True, name="lease")
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self._release()

    def is_held(self) -> bool:
        """Whether a process holds it, as far as can be told without waiting."""
        with storage_errors("read", self._place):
            found = self._look()
        return found is not None and not _is_gone(found[1])

    def _acquire(self) -> None:
        waiting_since, seen = 0.0, None
        while not self._put("create"):
            found = self._look()
            if found is None:
                continue
            version, holder = found
            if holder.get("token") == self._holder["token"]:  # the answer to the first attempt was lost
                self._version = version
                return
            if _is_gone(holder) or (seen == version and time.monotonic() - waiting_since > EXPIRED_AFTER):
                if self._put(version):
                    return
                continue
            if _is_here(holder) or (seen is not None and seen != version):
                raise StellarArrowError(
                    f"another process is writing to {self._place}: {holder.get('pid', 'one')} on "
                    f"{holder.get('host', 'an unknown machine')}; wait for it or choose another output"
                )
            if seen is None:
                seen, waiting_since = version, time.monotonic()
            time.sleep(_LOOK_EVERY)

    def _put(self, mode: Any) -> bool:
        """Write the lease if it is still what ``mode`` says."""
        self._renewals += 1
        content = json.dumps({**self._holder, "renewals": self._renewals}).encode()
        try:
            written = repeat(lambda: obstore.put(self._store, self._name, content, mode=mode, use_multipart=False))
        except (AlreadyExistsError, PreconditionError):
            return False
        except FileNotFoundError:
            if mode == "create":
                raise
            return False
        self._version = {name: value for name, value in written.items() if value is not None}
        return True

    def _look(self, attempts: int = ATTEMPTS) -> tuple[Any, dict[str, Any]] | None:
        """The version of the lease and its holder; None when nobody holds it."""
        try:
            meta, content = repeat(self._get, attempts=attempts)
        except FileNotFoundError as error:
            if tells_of_no_bucket(error):
                raise
            return None
        version = {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}
        try:
            holder = json.loads(content)
        except (ValueError, RecursionError):
            holder = None
        return version, holder if isinstance(holder, dict) else {}

    def _get(self) -> tuple[Any, bytes]:
        answer = obstore.get(self._store, self._name)
        return answer.meta, bytes(answer.bytes()) if answer.meta["size"] <= _MAX_BYTES else b""

    def _renew_until(self, ended: threading.Event) -> None:
        while not ended.wait(RENEWED_AFTER):
            with suppress(BaseError, OSError):  # the next renewal may do better; the log guards what is recorded
                if not self._put(self._version) and not self._is_mine():
                    self._version = None
                    return

    def _is_mine(self, attempts: int = ATTEMPTS) -> bool:
        """Whether the lease is still this process', which then learns its version."""
        found = self._look(attempts)
        if found is None or found[1].get("token") != self._holder["token"]:
            return False
        self._version = found[0]
        return True

    def _release(self) -> None:
        with suppress(BaseError, OSError):  # else it expires
            if self._version is not None and self._is_mine(attempts=1):
                obstore.delete(self._store, self._name)


def _this_process() -> dict[str, str]:
    """What tells this process from all others; machines without /proc leave parts of it blank."""
    boot = processes = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": boot,
        "processes": processes,
        "pid": str(os.getpid()),
        "started": _started(os.getpid()) or "",
    }


def _started(pid: int) -> str | None:
    """When a running process of this machine was started, in the kernel's own count; None when there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state == "Z" else fields[18]


def _is_here(holder: dict[str, Any]) -> bool:
    """Whether a holder was started where this process can see it."""
    here = _this_process()
    return bool(here["boot"]) and all(holder.get(name) == here[name] for name in ("host", "boot", "processes"))


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether a holder is known to have ended."""
    pid = str(holder.get("pid"))
    return _is_here(holder) and pid.isdecimal() and _started(int(pid[:9])) != holder.get("started")
