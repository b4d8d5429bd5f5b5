"""Short-lived tokens that logins with name and password give."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stellar_arrow_source.access.credentials import PasswordHash, new_token, token_sha256
from stellar_arrow_source.access.grants import Grant

SESSION_SECONDS: Final = 3600.0
"""How long the token of a basic login may begin calls."""
MAX_SESSIONS: Final = 64
"""Of one client; the oldest ends when another one begins."""

MAX_UNTOLD: Final = 1024
MAX_HEARD: Final = 65_536
"""Sessions that wait to be told to other processes of the server, and that one process knows of."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a basic login gives: it is good as long as the client has the same password."""

    name: str
    password: PasswordHash
    ends: float


class Sessions:
    """The tokens that basic logins gave, by their hashes."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._new: deque[tuple[str, Session]] = deque(maxlen=MAX_UNTOLD)
        self._lock = threading.Lock()

    def begin(self, grant: Grant, password: PasswordHash) -> str:
        """A new token of a client."""
        token, now = new_token(), time.monotonic()
        session = Session(grant.name, password, now + SESSION_SECONDS)
        with self._lock:
            own = [key for key, session in self._sessions.items() if session.name == grant.name]
            over = [key for key, session in self._sessions.items() if session.ends <= now]
            for key in {*over, *own[: max(0, len(own) - MAX_SESSIONS + 1)]}:
                del self._sessions[key]
            self._sessions[token_sha256(token)] = session
            self._new.append((token_sha256(token), session))
        return token

    def news(self) -> dict[str, Session]:
        """Those that began here since the last call, by the hashes of their tokens."""
        with self._lock:
            new = dict(self._new)
            self._new.clear()
            return new

    def all(self) -> dict[str, Session]:
        """All of them, by the hashes of their tokens."""
        with self._lock:
            return dict(self._sessions)

    def hear(self, sessions: Mapping[str, Session]) -> None:
        """Take those that began in another process."""
        with self._lock:
            self._sessions.update(sessions)
            while len(self._sessions) > MAX_HEARD:
                self._sessions.popitem(last=False)

    def of_token(self, token: str) -> Session | None:
        """The session that has this token, unless it is over."""
        with self._lock:
            session = self._sessions.get(token_sha256(token))
        return session if session and session.ends > time.monotonic() else None
