"""Who calls: bearer tokens, basic login for a short-lived one, and what each caller may do and use."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import structlog
from pyarrow import flight

from stellar_arrow_client.errors import AuthenticationError, LimitError, UnavailableError
from stellar_arrow_source.access.credentials import MAX_SECRET_CHARS, PasswordHash, new_token
from stellar_arrow_source.access.file import GrantsFile
from stellar_arrow_source.access.grants import MAX_GRANTS, Grant, Limits
from stellar_arrow_source.access.rates import Account, Accounts, Bucket, Use
from stellar_arrow_source.access.sessions import Session, Sessions
from stellar_arrow_source.flight.failures import to_flight_error

LOGIN_TRIES: Final = 10.0
LOGIN_TRIES_PER_SECOND: Final = 1 / 6
LOGIN_WAIT_SECONDS: Final = 5.0
"""How long a login waits for others: passwords are hashed one at a time, for that takes much time and memory."""

MAX_ADDRESSES: Final = 4096
REPORT_SECONDS: Final = 5.0
"""How often refusals are logged at most; all are counted."""

NOT_VALID: Final = "the token is not valid here: mistyped, revoked, or of another server; ask the operator for one"

_MIDDLEWARE: Final = "access"
_SCHEMES: Final = {"bearer": "Bearer", "basic": "Basic"}

_log = structlog.get_logger(__name__)


class News(NamedTuple):
    """What one process of a server tells the others about callers.

    Attributes:
        named, addresses: what clients used, by their names or addresses.
        sessions: that began, by the hashes of their tokens.
    """

    named: Mapping[str, Use]
    addresses: Mapping[str, Use]
    sessions: Mapping[str, Session]


class Caller:
    """Whoever made a call; anonymous where the server asks for no credentials.

    Attributes:
        name: of the client, None when anonymous.
    """

    def __init__(self, access: Access, account: Account, grant: Grant | None) -> None:
        self.name = grant.name if grant else None
        self._access = access
        self._account = account
        self._grant = grant

    @property
    def account(self) -> Account:
        return self._account

    @property
    def limits(self) -> Limits:
        """As they are now."""
        grant = self._current()
        return grant.limits.or_else(self._access.defaults) if grant else self._access.defaults

    def covers_stream(self, *names: str) -> bool:
        """Whether it may know of the stream of that name, or with these aliases."""
        grant = self._current()
        return grant is None or grant.covers_stream(*names)

    def check(self, names: Sequence[str] = (), start: int | None = None, end: int | None = None) -> None:
        """Refuse what the caller may not do, as the file of clients is now.

        Args:
            names: the stream and its aliases.
            start, end: the range; not looked at without a start.

        Raises:
            AuthenticationError: the credentials have expired or are revoked.
            PermissionDeniedError: not that stream, or not these ledgers.
        """
        grant = self._current()
        if grant is None:
            return
        grant.check_expiry(datetime.now(UTC))
        if names:
            grant.check_stream(*names)
        if start is not None:
            grant.check_range(start, end)

    def _current(self) -> Grant | None:
        if self._grant is None:
            return None
        grant = self._access.grant(self._grant.name)
        same = (self._grant.token_sha256, self._grant.password_scrypt)
        if grant is None or (grant.token_sha256, grant.password_scrypt) != same:
            raise AuthenticationError(
                f"the credentials of {self._grant.name} are revoked; ask the operator for new ones"
            )
        return grant


class Access:
    """Lets callers in.

    Args:
        clients: those who may; None for everybody.
        defaults: limits of each client, or of each address where everybody may.
        count_failure: told of logins that are refused; of other calls the server itself knows.
    """

    def __init__(
        self, clients: GrantsFile | None, defaults: Limits, count_failure: Callable[[Exception], None] = lambda _: None
    ) -> None:
        self.defaults = defaults
        self.count_failure = count_failure
        self._clients = clients
        self._sessions = Sessions()
        self._named, self._addresses = Accounts(MAX_GRANTS), Accounts(MAX_ADDRESSES)
        self._hashing = threading.Lock()
        self._tries: dict[str, Bucket] = {}
        # What is compared with for a client that is not known, so that it takes the same time.
        self._nobody = PasswordHash.of(new_token()) if clients else None
        self._refused, self._reported = 0, float("-inf")

    @property
    def handler(self) -> flight.ServerAuthHandler | None:
        """What Flight needs to answer a login; it checks nothing."""
        return _Handler() if self._clients else None

    @property
    def middleware(self) -> Mapping[str, flight.ServerMiddlewareFactory]:
        return {_MIDDLEWARE: _CallFactory(self)}

    def grant(self, name: str) -> Grant | None:
        """A client as the file says now."""
        return self._clients.current().by_name.get(name) if self._clients else None

    def news(self) -> News | None:
        """What other processes of this server should know since the last call; None when there is nothing."""
        news = News(self._named.news(), self._addresses.news(), self._sessions.news())
        return news if any(news) else None

    def known(self) -> News:
        """What a process that begins should know first."""
        return News({}, {}, self._sessions.all())

    def hear(self, process: str, news: News) -> None:
        """Take what another process tells."""
        self._named.hear(process, news.named)
        self._addresses.hear(process, news.addresses)
        self._sessions.hear(news.sessions)

    def forget(self, process: str) -> None:
        """Another process has ended."""
        self._named.forget(process)
        self._addresses.forget(process)

    def enter(self, context: flight.ServerCallContext) -> Caller:
        """Find out who makes a call, and count it; once for each call.

        Raises:
            AuthenticationError: no credentials, or wrong ones.
            LimitError: too many calls.
        """
        call = context.get_middleware(_MIDDLEWARE)
        if self._clients is None:
            caller = Caller(self, self._addresses.of(address_of(context.peer())), None)
        else:
            try:
                grant = self._authenticate(call.authorization)
                caller = Caller(self, self._named.of(grant.name), grant)
                caller.check()
            except AuthenticationError as error:
                self._report(error, context.peer())
                raise
        caller.account.request(caller.limits)
        call.caller = caller
        return caller

    def caller(self, context: flight.ServerCallContext) -> Caller:
        """Who makes this call, after :meth:`enter`."""
        caller = context.get_middleware(_MIDDLEWARE).caller
        assert isinstance(caller, Caller)
        return caller

    def log_in(self, authorization: Sequence[str]) -> str:
        """The token for name and password.

        Raises:
            AuthenticationError: they are wrong.
            LimitError: wrong ones came too often.
            UnavailableError: too many log in at the same time.
        """
        assert self._clients is not None
        assert self._nobody is not None
        try:
            name, colon, password = (
                base64.b64decode(_secret(authorization, "basic"), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            colon = name = password = ""
        if not colon or len(password) > MAX_SECRET_CHARS:
            raise AuthenticationError("a basic login needs a name and a password")
        grant = self._clients.current().by_name.get(name)
        known = grant.password_scrypt if grant else None
        if not self._hashing.acquire(timeout=LOGIN_WAIT_SECONDS):
            raise UnavailableError("too many log in at the same time; try again in a moment")
        try:
            tries = self._allow_try(name if known else "")
            right = (known or self._nobody).matches(password)
            if not right:
                tries.take(1)
        finally:
            self._hashing.release()
        if grant is None or known is None or not right:
            error = AuthenticationError("name or password is wrong")
            self._report(error, None)
            raise error
        grant.check_expiry(datetime.now(UTC))
        _log.info("logged in", client=grant.name)
        return self._sessions.begin(grant, known)

    def _authenticate(self, authorization: Sequence[str]) -> Grant:
        assert self._clients is not None
        token, grants = _secret(authorization, "bearer"), self._clients.current()
        if (grant := grants.of_token(token)) is not None:
            return grant
        session = self._sessions.of_token(token)
        grant = grants.by_name.get(session.name) if session else None
        if session is None or grant is None or grant.password_scrypt != session.password:
            raise AuthenticationError(NOT_VALID)
        return grant

    def _allow_try(self, name: str) -> Bucket:
        """The tries that are left of a name; all unknown names share theirs. Called by one thread at a time."""
        if len(self._tries) > MAX_GRANTS:
            self._tries.clear()
        tries = self._tries.setdefault(name, Bucket())
        lack = 1 + tries.lack(LOGIN_TRIES_PER_SECOND, LOGIN_TRIES, time.monotonic())
        if lack > 0:
            wait = lack / LOGIN_TRIES_PER_SECOND
            raise LimitError(f"too many wrong logins; wait {wait:.0f} seconds", retry_after=wait)
        return tries

    def _report(self, error: AuthenticationError, peer: str | None) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            _log.warning("refused", reason=str(error), peer=peer, since_last=self._refused)
            self._refused, self._reported = 0, now


class _Call(flight.ServerMiddleware):  # type: ignore[misc]
    """One call: what it says of its caller, until ``caller`` is known."""

    def __init__(self, authorization: Sequence[str] = (), token: str | None = None) -> None:
        self.authorization = authorization
        self.caller: Caller | None = None
        self._token = token

    def sending_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}


class _CallFactory(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Answers logins; all other calls are checked by :meth:`Access.enter`, which knows where they come from."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[Any]]) -> _Call:
        authorization = headers.get("authorization", ())
        if info.method != flight.FlightMethod.HANDSHAKE or self._access.handler is None:
            return _Call(authorization)
        try:
            return _Call(token=self._access.log_in(authorization))
        except Exception as error:  # none but Flight errors may leave, see failures.py
            self._access.count_failure(error)
            refusal = to_flight_error(error)
        raise refusal


class _Handler(flight.ServerAuthHandler):  # type: ignore[misc]
    def authenticate(self, outgoing: object, incoming: object) -> None:
        """The header of the call has been checked by then."""

    def is_valid(self, token: object) -> bytes:
        return b""


def _secret(authorization: Sequence[str], scheme: str) -> str:
    """What follows the scheme in the only ``authorization`` header.

    Raises:
        AuthenticationError: none, several, or of another scheme.
    """
    written = _SCHEMES[scheme]
    if not authorization:
        raise AuthenticationError("the server asks for a token; give yours with --token or STELLAR_ARROW_TOKEN")
    if len(authorization) > 1:
        raise AuthenticationError("the call has more than one authorization header")
    given, _, secret = authorization[0].partition(" ")
    if given.lower() != scheme or not secret or len(secret) > 2 * MAX_SECRET_CHARS:
        raise AuthenticationError(f"the authorization header must be '{written} …'")
    return secret


def address_of(peer: str) -> str:
    """The address in what gRPC tells of a peer; of IPv6 the network of 64 bits that one client usually has."""
    kind, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return kind
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
