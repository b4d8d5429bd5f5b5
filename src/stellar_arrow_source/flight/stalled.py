"""Cuts off clients that do not read.

A batch is sent by gRPC, which waits for as long as the client's windows are full and tells nobody. So the connection of
such a client is shut down beneath it; the client's side says that it is lost, and asks again for what it has not had.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import structlog

_LOOKS: Final = 4
"""In the time after which a client is cut off; the last look comes late by that part of it."""

_DESCRIPTORS: Final = ("/proc/self/fd", "/dev/fd")

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Sending:
    """A batch on its way.

    Attributes:
        peer: whom to, as gRPC writes addresses.
        since: when it began, by the monotonic clock.
        cut_off: the client did not take it.
    """

    peer: str
    since: float
    cut_off: bool = False


class StalledClients:
    """Looks at all batches that are being sent.

    Args:
        after: seconds that a client may take for one batch.
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._sending: set[Sending] = set()
        self._taken: dict[str, float] = {}  # peer → when it last took a batch
        self._lock = threading.Lock()
        self._watching = False

    @contextmanager
    def sending(self, peer: str) -> Iterator[Sending]:
        """While a batch is sent, and gRPC waits for the client to take it."""
        one = Sending(peer, time.monotonic())
        with self._lock:
            self._sending.add(one)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="stalled-clients", daemon=True).start()
        try:
            yield one
        finally:
            with self._lock:
                self._sending.remove(one)
                self._taken[peer] = time.monotonic()

    def _watch(self) -> None:
        while True:
            time.sleep(self._after / _LOOKS)
            with self._lock:
                if not self._sending:
                    self._taken.clear()
                    self._watching = False
                    return
                stalled = self._stalled()
            for one in stalled:
                one.cut_off = True  # before its stream ends, which looks at it
                if shut_down(one.peer):
                    _log.warning("client does not read; cut off", peer=one.peer, seconds=round(self._after, 1))

    def _stalled(self) -> list[Sending]:
        """Those of connections on which nothing moves: other streams, even clients, may share one."""
        long_ago = time.monotonic() - self._after
        self._taken = {peer: taken for peer, taken in self._taken.items() if taken > long_ago}
        return [
            one for one in self._sending if one.since <= long_ago and one.peer not in self._taken and not one.cut_off
        ]


def shut_down(peer: str) -> bool:
    """Shut the connections to a peer down, such as ``ipv4:10.0.0.7:41234``; whether there was one."""
    found = False
    folder = next((path for path in map(Path, _DESCRIPTORS) if path.is_dir()), None)
    for name in os.listdir(folder) if folder else ():
        with suppress(OSError):  # it is closed meanwhile, or has no peer
            descriptor = int(name)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with closing(socket.socket(fileno=os.dup(descriptor))) as one:
                if _same(one.getpeername(), peer):
                    one.shutdown(socket.SHUT_RDWR)
                    found = True
    return found


def _same(address: object, peer: str) -> bool:
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    with suppress(ValueError):
        return isinstance(address, tuple) and (_plain(address[0]), str(address[1])) == (_plain(host), port)
    return False


def _plain(host: str) -> str:
    """An address in one way of writing, IPv4 in that of IPv6 too."""
    address = ipaddress.ip_address(host.strip("[]"))
    return str(getattr(address, "ipv4_mapped", None) or address)
