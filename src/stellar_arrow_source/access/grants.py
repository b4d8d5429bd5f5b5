"""What each client may read, as a JSON file says it: credentials (hashed), streams, ledgers, expiry, limits."""

from __future__ import annotations

import dataclasses
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import AuthenticationError, InvalidRequestError, PermissionDeniedError
from stellar_arrow_client.request import MAX_LEDGER
from stellar_arrow_source.access.credentials import PasswordHash, token_sha256

VERSION: Final = 1
MAX_FILE_BYTES: Final = 8 << 20
MAX_GRANTS: Final = 10_000
ALL_STREAMS: Final = "*"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_STREAM = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may use; None is without limit.

    Attributes:
        requests_per_second: calls of any kind, on average; as many may come at once as in one second.
        streams: streams open at a time.
        bytes_per_second: Arrow bytes (before compression) of all its streams together, on average.
        bytes_per_day: Arrow bytes of all its streams from midnight to midnight, UTC.
    """

    requests_per_second: float | None = None
    streams: int | None = None
    bytes_per_second: int | None = None
    bytes_per_day: int | None = None

    def or_else(self, defaults: Limits) -> Limits:
        """These, with those of ``defaults`` where they are None."""
        own = {name: value for name in LIMITS if (value := getattr(self, name)) is not None}
        return dataclasses.replace(defaults, **own)

    def as_dict(self) -> dict[str, float]:
        """Those that are set."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}


LIMITS: Final = tuple(limit.name for limit in dataclasses.fields(Limits))


@dataclass(frozen=True, slots=True)
class Grant:
    """One client: how it proves who it is, and what it may read then.

    Attributes:
        name: for logs and messages.
        token_sha256: hash of its bearer token, in hexadecimal; None when it has none.
        password_scrypt: hash of its password for basic login; None when it has none.
        streams: names or aliases of the streams it may read; None for all.
        first_ledger, last_ledger: of the ledgers it may read; None without such a bound.
        expires: when it ends; None for never.
        limits: its own; the server's hold where they are None.
    """

    name: str
    token_sha256: str | None = None
    password_scrypt: PasswordHash | None = None
    streams: tuple[str, ...] | None = None
    first_ledger: int | None = None
    last_ledger: int | None = None
    expires: datetime | None = None
    limits: Limits = field(default_factory=Limits)

    def check_expiry(self, now: datetime) -> None:
        """Raises AuthenticationError: the time of this client is over."""
        if self.expires is not None and now >= self.expires:
            raise AuthenticationError(
                f"the credentials of {self.name} expired at {rfc3339(self.expires)}; ask the operator for new ones"
            )

    def covers_stream(self, *names: str) -> bool:
        """Whether the stream of that name (or with these aliases) may be read."""
        return self.streams is None or not set(names).isdisjoint(self.streams)

    def check_stream(self, *names: str) -> None:
        """Raises PermissionDeniedError: that stream may not be read."""
        if not self.covers_stream(*names):
            allowed = ", ".join(self.streams or ())
            raise PermissionDeniedError(f"{self.name} may not read {names[0]}, only {allowed}")

    def check_range(self, start: int, end: int | None) -> None:
        """Raises PermissionDeniedError: not all of these ledgers may be read; an ``end`` of None is none."""
        too_early = self.first_ledger is not None and start < self.first_ledger
        too_late = self.last_ledger is not None and (end is None or end > self.last_ledger)
        if too_early or too_late:
            asked = f"ledgers {start} to {end}" if end is not None else f"ledgers from {start} without an end"
            raise PermissionDeniedError(f"{self.name} may not read {asked}, only {self.ledgers}")

    @property
    def ledgers(self) -> str:
        """The ledgers that it may read, in words."""
        match self.first_ledger, self.last_ledger:
            case None, None:
                return "all ledgers"
            case first, None:
                return f"ledgers from {first} on"
            case None, last:
                return f"ledgers up to {last}"
            case first, last:
                return f"ledgers {first} to {last}"

    def as_dict(self) -> dict[str, Any]:
        """The entry of the file; what is not set is left out."""
        entry = {
            "name": self.name,
            "token_sha256": self.token_sha256,
            "password_scrypt": str(self.password_scrypt) if self.password_scrypt else None,
            "streams": ALL_STREAMS if self.streams is None else list(self.streams),
            "first_ledger": self.first_ledger,
            "last_ledger": self.last_ledger,
            "expires": rfc3339(self.expires) if self.expires else None,
            "limits": self.limits.as_dict() or None,
        }
        return {key: value for key, value in entry.items() if value is not None}


class Grants:
    """All clients of a server, as one reading of the file gave them.

    Raises:
        InvalidRequestError: two have one name or one token.
    """

    def __init__(self, grants: Iterable[Grant] = ()) -> None:
        self.by_name: dict[str, Grant] = {}
        self._by_token: dict[str, Grant] = {}
        for grant in grants:
            if self.by_name.setdefault(grant.name, grant) is not grant:
                raise InvalidRequestError(f"two clients are called {grant.name}")
            if grant.token_sha256 and self._by_token.setdefault(grant.token_sha256, grant) is not grant:
                other = self._by_token[grant.token_sha256].name
                raise InvalidRequestError(f"{other} and {grant.name} have the same token")

    def of_token(self, token: str) -> Grant | None:
        """The client whose bearer token it is."""
        digest = token_sha256(token)
        # What the time of the look-up tells of a hash helps nobody to a token that has it.
        grant = self._by_token.get(digest)
        return grant if grant and hmac.compare_digest(grant.token_sha256 or "", digest) else None

    def to_json(self) -> bytes:
        """What :func:`parse_grants` reads."""
        clients = [grant.as_dict() for grant in self.by_name.values()]
        return json.dumps({"version": VERSION, "clients": clients}, indent=2).encode() + b"\n"


def parse_grants(content: bytes) -> Grants:
    """Read the file of clients; every key is known, every value has its form.

    Raises:
        InvalidRequestError: it is anything else; no hash is part of the message.
    """
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequestError(f"it has more than {MAX_FILE_BYTES} bytes")
    try:
        body = json.loads(content.decode(), object_pairs_hook=_unique_keys)
    except (UnicodeDecodeError, RecursionError):
        raise InvalidRequestError("it is not JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"it is not JSON: {error}") from None
    if not isinstance(body, dict) or set(body) != {"version", "clients"}:
        raise InvalidRequestError('it must be an object with "version" and "clients"')
    if body["version"] != VERSION or type(body["version"]) is not int:
        raise InvalidRequestError(f'its "version" must be {VERSION}')
    clients = body["clients"]
    if not isinstance(clients, list) or len(clients) > MAX_GRANTS:
        raise InvalidRequestError(f'its "clients" must be a list of at most {MAX_GRANTS}')
    return Grants(_grant(entry, number) for number, entry in enumerate(clients, 1))


def parse_time(text: Any) -> datetime:
    """A time as RFC 3339 writes it.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2030-01-31T00:00:00Z")
    return time.astimezone(UTC)


def rfc3339(time: datetime) -> str:
    """A time in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_name(value: Any) -> str:
    """Raises ValueError: no name of a client."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 letters, digits or . _ @ -, and begin with a letter or digit")
    return value


def _grant(entry: Any, number: int) -> Grant:
    name = entry.get("name") if isinstance(entry, dict) else None
    place = f"client {name}" if isinstance(name, str) and _NAME.fullmatch(name) else f"client {number}"
    values = _values(entry, _GRANT_FIELDS, place)
    for required in ("name", "streams"):
        if required not in values:
            raise InvalidRequestError(f"{place} has no {required!r}")
    grant = Grant(**values)
    if grant.token_sha256 is None and grant.password_scrypt is None:
        raise InvalidRequestError(f"{place} has neither 'token_sha256' nor 'password_scrypt'")
    if (grant.first_ledger or 1) > (grant.last_ledger or MAX_LEDGER):
        raise InvalidRequestError(f"{place} has a 'first_ledger' after its 'last_ledger'")
    return grant


def _values(entry: Any, fields: Mapping[str, Callable[[Any], Any]], place: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise InvalidRequestError(f"{place} must be an object")
    values = {}
    for key, value in entry.items():
        if key not in fields:
            raise InvalidRequestError(f"{place} has an unknown key {key[:80]!r}{did_you_mean(key[:80], fields)}")
        try:
            values[key] = fields[key](value)
        except ValueError as error:
            raise InvalidRequestError(f"{place}: {key!r} {error}") from None
    return values


def _token_hash(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError("must be 64 hexadecimal digits in lower case")
    return value


def _password_hash(value: Any) -> PasswordHash:
    return PasswordHash.parse(value if isinstance(value, str) else "")


def _streams(value: Any) -> tuple[str, ...] | None:
    if value == ALL_STREAMS:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= 256:
        raise ValueError(f'must be "{ALL_STREAMS}" or a list of names of streams')
    if not all(isinstance(name, str) and _STREAM.fullmatch(name) for name in value):
        raise ValueError("must hold names of streams, such as payments")
    return tuple(value)


def _ledger(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_LEDGER:
        raise ValueError(f"must be a ledger, 1 to {MAX_LEDGER}")
    return value


def _positive_integer(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 1 << 60:
        raise ValueError("must be a whole number above 0")
    return value


def _positive_number(value: Any) -> float:
    if type(value) not in (int, float) or not 0.001 <= value <= 1e9:
        raise ValueError("must be a number from 0.001 on")
    return float(value)


def _limits(value: Any) -> Limits:
    try:
        return Limits(**_values(value, _LIMIT_FIELDS, "it"))
    except InvalidRequestError as error:
        raise ValueError(f"is wrong: {error}") from None


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise InvalidRequestError(f"the key {key[:80]!r} stands twice in one object")
        fields[key] = value
    return fields


_GRANT_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": check_name,
    "token_sha256": _token_hash,
    "password_scrypt": _password_hash,
    "streams": _streams,
    "first_ledger": _ledger,
    "last_ledger": _ledger,
    "expires": parse_time,
    "limits": _limits,
}
_LIMIT_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "requests_per_second": _positive_number,
    "streams": _positive_integer,
    "bytes_per_second": _positive_integer,
    "bytes_per_day": _positive_integer,
}
