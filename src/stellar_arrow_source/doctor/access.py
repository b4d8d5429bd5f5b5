"""Who can reach the server, and how: ports, certificates, the file of clients."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.access.file import read_grants
from stellar_arrow_source.access.grants import rfc3339
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.doctor.findings import Finding, fail, ok, warn
from stellar_arrow_source.flight.binding import require_free
from stellar_arrow_source.tls import certificate_end, read_authorities, read_identity, time_of

SOON: Final = timedelta(days=21)


def ports(config: ServerConfig) -> Iterator[Finding]:
    """Whether the addresses that the server listens on can be bound."""
    listeners = [
        ("Flight", config.host, config.port, "--port or ARROW_PORT"),
        ("monitoring", config.health_host or config.host, config.health_port, "--health-port or HEALTH_PORT"),
    ]
    if config.workers > 1 and config.worker_port:
        setting = "--worker-port or ARROW_WORKER_PORT"
        listeners += [
            (f"worker {number + 1}", config.host, config.worker_port + number, setting)
            for number in range(config.workers)
        ]
    for name, host, port, setting in listeners:
        try:
            require_free(host, port, name, setting)
        except StellarArrowError as error:
            yield fail(f"port of {name}", f"{error}, or stop what uses it")
        else:
            yield ok(f"port of {name}", f"{host}:{port} is free" if port else f"any free one of {host}")


def openness(config: ServerConfig) -> Iterator[Finding]:
    """Who may connect."""
    if config.auth_file is not None or config.tls_client_ca is not None:
        asked = [*(["a token"] if config.auth_file else []), *(["a certificate"] if config.tls_client_ca else [])]
        yield ok("access", f"clients are asked for {' and '.join(asked)}")
    elif config.loopback_only:
        yield ok("access", "everybody on this machine, and nobody else")
    else:
        fix = "give --auth-file or --tls-client-ca, or keep to --host 127.0.0.1"
        yield warn("access", f"anyone who reaches {config.host} can read all streams", fix)


def certificates(config: ServerConfig) -> Iterator[Finding]:
    """Certificates and keys of the server, and those that it shows to its source."""
    source = config.source_tls
    for name, cert, key in (("TLS", config.tls_cert, config.tls_key), ("TLS of the source", source.cert, source.key)):
        if cert is not None and key is not None:
            yield from _identity(name, cert, key)
    for name, ca in (("client authorities", config.tls_client_ca), ("source authorities", source.ca)):
        if ca is not None:
            read_authorities(ca)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(ca)
            ends = [time_of(str(found["notAfter"])) for found in context.get_ca_certs()]
            yield _expiry(name, ca, min(ends)) if ends else ok(name, f"{ca} can be used")


def clients(config: ServerConfig) -> Iterator[Finding]:
    """The file of clients."""
    path = config.auth_file
    if path is None:
        return
    grants = read_grants(path).by_name.values()
    mode = stat.S_IMODE(path.stat().st_mode)
    now = datetime.now(UTC)
    over = [grant.name for grant in grants if grant.expires is not None and grant.expires <= now]
    if mode & stat.S_IRWXO:
        yield warn("file of clients", f"every user of this machine can use {path} (mode {mode:o})", f"chmod o= {path}")
    if not grants:
        yield warn("file of clients", f"{path} names nobody", "add a client with stellar-arrow-source token new NAME")
    elif over:
        yield warn(
            "file of clients", f"expired: {', '.join(over)}", "renew them with token new --replace, or revoke them"
        )
    else:
        yield ok("file of clients", f"{path} names {len(grants)}")


def _identity(name: str, cert: Path, key: Path) -> Iterator[Finding]:
    read_identity(cert, key)  # says what is wrong with them
    yield _expiry(name, cert, certificate_end(cert, key))
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & stat.S_IRWXO:
        yield warn(f"key of {name}", f"every user of this machine can use {key} (mode {mode:o})", f"chmod o= {key}")


def _expiry(name: str, file: Path, end: datetime) -> Finding:
    text, left = f"{file} is valid until {rfc3339(end)}", end - datetime.now(UTC)
    if left <= timedelta():
        return fail(name, f"{file} expired at {rfc3339(end)}", "renew it, and start the server again")
    if left < SOON:
        return warn(name, f"{text}, {left.days} days from now", "renew it, and start the server again")
    return ok(name, text)
