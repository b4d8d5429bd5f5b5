"""The commands ``stellar-arrow-source token``: make, list and revoke the credentials of clients."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.options import Group, LedgerNumber, option
from stellar_arrow_source.access.credentials import (
    MAX_SECRET_CHARS,
    MIN_PASSWORD_CHARS,
    PasswordHash,
    new_token,
    token_sha256,
)
from stellar_arrow_source.access.file import editing, read_grants
from stellar_arrow_source.access.grants import MAX_GRANTS, Grant, Limits, check_name, parse_time, rfc3339
from stellar_arrow_source.completing import complete_stream

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")

_file = option(
    "--auth-file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="ARROW_AUTH_FILE",
    required=True,
    help="File of the clients; the server reads it again when it changes.",
)


@click.group(cls=Group)
def token() -> None:
    """Make, list and revoke the credentials of clients."""


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _expiry(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    if days := _DAYS.fullmatch(value):
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(days[1]))
    try:
        return parse_time(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or a number of days such as 90d") from None


def _streams(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    from stellar_arrow_source.tables import find_stream  # loads slowly

    return tuple(find_stream(name).name for name in value) or None


def _limits(function: Callable[..., Any]) -> Callable[..., Any]:
    left_out = "that of the server when left out."
    for declaration, limit, bounds, meaning in reversed(
        [
            ("--max-requests", "requests_per_second", click.FloatRange(0.001, 1e9), f"Most calls a second; {left_out}"),
            ("--max-streams", "streams", click.IntRange(1), f"Most streams at a time; {left_out}"),
            ("--max-bytes", "bytes_per_second", click.IntRange(1), f"Most Arrow bytes a second; {left_out}"),
            ("--max-bytes-per-day", "bytes_per_day", click.IntRange(1), f"Most Arrow bytes a day, UTC; {left_out}"),
        ]
    ):
        function = option(declaration, limit, type=bounds, help=meaning)(function)
    return function


@token.command()
@click.argument("name", callback=_name)
@_file
@option(
    "--stream",
    "only",
    multiple=True,
    callback=_streams,
    shell_complete=complete_stream,
    help="A stream it may read; may be repeated; else all.",
)
@option("--first", type=LedgerNumber(), help="First ledger it may read.")
@option("--last", type=LedgerNumber(), help="Last ledger it may read.")
@option("--expires", callback=_expiry, metavar="TIME", help="When it ends: 2030-01-31T00:00:00Z, or 90d from now.")
@_limits
@option(
    "--password",
    "with_password",
    is_flag=True,
    help="A password, asked for or read from stdin, for Flight's basic login instead of a token.",
)
@option("--replace", "renew", is_flag=True, help="Put it in the place of the client of that name.")
def new(
    name: str,
    path: Path,
    only: tuple[str, ...] | None,
    first: int | None,
    last: int | None,
    expires: datetime | None,
    with_password: bool,
    renew: bool,
    **limits: Any,
) -> None:
    """Let the client NAME connect: adds it to the file, and prints its token.

    The token is shown this once: the file holds its hash only.
    """
    if first and last and first > last:
        raise InvalidRequestError(f"--first {first} is after --last {last}")
    grant = Grant(name, streams=only, first_ledger=first, last_ledger=last, expires=expires, limits=Limits(**limits))
    secret = None if with_password else new_token()
    if secret is None:
        grant = replace(grant, password_scrypt=PasswordHash.of(_password()))
    else:
        grant = replace(grant, token_sha256=token_sha256(secret))
    with editing(path) as grants:
        if name in grants and not renew:
            raise InvalidRequestError(f"there is a client {name} already; --replace puts the new one in its place")
        if len(grants) >= MAX_GRANTS:
            raise InvalidRequestError(f"{path} holds {MAX_GRANTS} clients, the most there may be; revoke some first")
        grants[name] = grant
    click.echo(f"{name} may read {', '.join(only or ('all streams',))}: {grant.ledgers}", err=True)
    if secret is not None:
        click.echo(secret)


@token.command(name="list")
@_file
def list_(path: Path) -> None:
    """List the clients: what they may read, and until when."""
    rows = [("NAME", "CREDENTIAL", "STREAMS", "LEDGERS", "EXPIRES", "LIMITS")]
    for grant in read_grants(path).by_name.values():
        credentials = {"token": grant.token_sha256, "password": grant.password_scrypt}
        over = " (over)" if grant.expires and grant.expires <= datetime.now(UTC) else ""
        rows.append(
            (
                grant.name,
                "+".join(kind for kind, value in credentials.items() if value),
                ",".join(grant.streams or ("all",)),
                grant.ledgers.removeprefix("ledgers ").removesuffix(" ledgers"),
                f"{rfc3339(grant.expires)}{over}" if grant.expires else "never",
                ",".join(f"{limit}={value:g}" for limit, value in grant.limits.as_dict().items()),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@token.command()
@click.argument("name")
@_file
def revoke(name: str, path: Path) -> None:
    """Take the client NAME out of the file: its calls are refused, and its streams end, within a second."""
    with editing(path) as grants:
        if grants.pop(name, None) is None:
            raise InvalidRequestError(f"{path} has no client {name[:80]!r}{did_you_mean(name, grants)}")
    click.echo(f"{name} is revoked", err=True)


def _password() -> str:
    if sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = sys.stdin.readline(MAX_SECRET_CHARS + 2).rstrip("\r\n")
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_SECRET_CHARS:
        raise InvalidRequestError(f"a password must have {MIN_PASSWORD_CHARS} to {MAX_SECRET_CHARS} characters")
    return password
