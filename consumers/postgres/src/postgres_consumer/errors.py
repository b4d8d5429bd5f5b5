"""Errors of a database, on the common base of the client SDK."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import psycopg

from stellar_arrow_client.errors import (
    AuthenticationError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)


class DatabaseError(StellarArrowError):
    """The database does not do what it is told: a full disk, a second writer, a statement that it refuses."""


class DatabaseUnavailableError(UnavailableError):
    """The database cannot be reached, or the connection to it broke and could not be made again in time."""


class DatabaseAuthenticationError(AuthenticationError):
    """The database refuses the user, the password or what they want to do."""


class TableIntegrityError(IntegrityError):
    """Rows of a table contradict its checkpoint, or a value is not what its type says."""


class _Meaning(NamedTuple):
    """What a SQLSTATE, or the beginning of one, means for a person."""

    sqlstate: str
    kind: type[StellarArrowError]
    advice: str


_AGAIN: Final = "and run the same command again: it goes on where it stopped"
_TLS: Final = "TLS"  # for which there is no SQLSTATE
_UNAVAILABLE: Final = "see that the server runs and can be reached, then run the same command again"

# https://www.postgresql.org/docs/current/errcodes-appendix.html; the first that fits counts.
_MEANINGS: Final = (
    _Meaning(_TLS, DatabaseAuthenticationError, "check PGSSLMODE and PGSSLROOTCERT, and what the server offers"),
    _Meaning("28", DatabaseAuthenticationError, "check user and password (PGUSER, PGPASSWORD, a password file)"),
    _Meaning("42501", DatabaseAuthenticationError, "grant the user what is missing, or choose another --schema"),
    _Meaning("3D000", InvalidRequestError, "create the database or name another one"),
    _Meaning("53100", DatabaseError, f"free disk space on the server {_AGAIN}"),
    _Meaning("23505", TableIntegrityError, "somebody else wrote into the table; remove those rows or choose another"),
    _Meaning("22", TableIntegrityError, "the value is not what the stream says it is; read it from another server"),
    _Meaning("42P01", DatabaseError, f"leave the tables alone while they are written, {_AGAIN}"),
    *(_Meaning(code, DatabaseUnavailableError, _UNAVAILABLE) for code in ("08", "53300", "57P", "25P03")),
)
_OTHERS: Final = _Meaning("", DatabaseError, f"put it right {_AGAIN}")

# Whatever ended a connection or a transaction but would not end the next one.
_PASSING: Final = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")

# Why a server, or libpq, refuses a connection is told by words alone.
_REFUSED: Final = (
    (re.compile(r"authentication failed|pg_hba\.conf|no password supplied|role .* does not exist"), "28000"),
    (re.compile(r"permission denied for database"), "42501"),
    (re.compile(r"database .* does not exist"), "3D000"),
    (re.compile(r"certificate|does not match host name|SSL was required"), _TLS),
)
_MISTAKEN: Final = re.compile(
    r"connection option|definition of service|invalid \w+ value|service file|Servname not supported"
)


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same work may succeed on a new connection."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_PASSING)
    return isinstance(error, psycopg.OperationalError) and not _is_refusal(str(error))


def typed_error(error: psycopg.Error, doing: str) -> StellarArrowError:
    """The error of one sentence for what libpq or the server said.

    Args:
        doing: what was to be done, such as ``write into the table public.payments``.
    """
    said = sentence(error)
    if error.sqlstate is None and (isinstance(error, psycopg.ProgrammingError) or _MISTAKEN.search(said)):
        return InvalidRequestError(f"cannot {doing}: {said}; correct DATABASE or the PG… environment variables")
    code = error.sqlstate or next((code for words, code in _REFUSED if words.search(said)), "08")
    meaning = next((meaning for meaning in _MEANINGS if code.startswith(meaning.sqlstate)), _OTHERS)
    return meaning.kind(f"cannot {doing}: {said}; {meaning.advice}")


def sentence(error: psycopg.Error) -> str:
    """What the server or libpq said, as part of a sentence: on one line, without a full stop."""
    said = error.diag.message_primary or str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__


def _is_refusal(said: str) -> bool:
    return any(words.search(said) for words, _ in _REFUSED) or bool(_MISTAKEN.search(said))
