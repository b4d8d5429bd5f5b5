"""Certificates and keys: read and checked at once, so that what is wrong with a file is said in one sentence."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from stellar_arrow_client.errors import InvalidRequestError

_PROBE_SECONDS = 5.0
_EXPIRED, _NOT_YET_VALID = 10, 9  # verify_code of OpenSSL
_OTHER_NAME = (62, 64)
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the module ssl does not name


class Identity(NamedTuple):
    """Who one is: a PEM certificate chain and its private key."""

    chain: bytes
    key: bytes


def read_identity(cert: Path, key: Path) -> Identity:
    """The certificate chain of one file and the key of another.

    Raises:
        InvalidRequestError: a file cannot be read, is no PEM file, or the key is another certificate's.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
        return Identity(cert.read_bytes(), key.read_bytes())
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequestError(
            f"cannot use {cert} with {key} for TLS: {error.strerror or error}; "
            "both must be PEM files, and the key that of the certificate, without a password"
        ) from None


def certificate_end(cert: Path, key: Path) -> datetime:
    """When the first certificate of a chain expires, learnt by shaking hands with it in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    while sides:
        for side in tuple(sides):
            try:
                side.do_handshake()
                sides.remove(side)
                shown = side.getpeercert()
            except ssl.SSLWantReadError:
                continue
            if shown:
                return time_of(str(shown["notAfter"]))
    raise AssertionError("the client is shown a certificate")


def time_of(text: str) -> datetime:
    """A time as the module ssl writes it."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def read_authorities(file: Path) -> bytes:
    """The certificates of authorities in a file.

    Raises:
        InvalidRequestError: it cannot be read, or is no PEM file of certificates.
    """
    try:
        ssl.create_default_context(cafile=file)
        return file.read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequestError(
            f"cannot use {file} as certificates of authorities: {error.strerror or error}; it must be a PEM file"
        ) from None


class TlsMaterial(NamedTuple):
    """PEM certificates of the authorities to trust, and who one is; None = what the library takes, and nobody."""

    authorities: bytes | None
    identity: Identity | None


@dataclass(frozen=True, slots=True)
class SourceTls:
    """How ledger sources are spoken to over TLS.

    Attributes:
        ca: PEM certificates of the authorities to trust; those of the system when left out.
        cert, key: PEM certificate chain and key to show, both or none.
        name: the name that the server's certificate must be for, where it is not the host's.

    Raises:
        InvalidRequestError: a certificate without a key, or a key without a certificate.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidRequestError("a certificate to show needs both --source-tls-cert and --source-tls-key")

    def authorities(self) -> bytes | None:
        """What to trust, None where neither a file nor the system says.

        Raises:
            InvalidRequestError: the file cannot be used.
        """
        file = self.ca or ssl.get_default_verify_paths().cafile
        return None if file is None else read_authorities(Path(file))

    def identity(self) -> Identity | None:
        """What to show.

        Raises:
            InvalidRequestError: the files cannot be used.
        """
        return read_identity(self.cert, self.key) if self.cert and self.key else None

    def material(self) -> TlsMaterial:
        """What the files hold now.

        Raises:
            InvalidRequestError: a file cannot be used.
        """
        return TlsMaterial(self.authorities(), self.identity())

    def context(self) -> ssl.SSLContext:
        """The same for sockets."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["h2"])
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key, password="")
        return context


def tls_problem(target: str, tls: SourceTls | None) -> str | None:
    """What keeps a gRPC client from ``host:port`` as far as TLS goes, with what to do; None if nothing does.

    gRPC itself says no more than that there is no connection. One is made here to find out; ``tls`` is None for a
    client that speaks none.
    """
    try:
        return _speaks_tls(target) if tls is None else _handshake(target, tls)
    except OSError:
        return None  # nobody answers, which is no matter of TLS


def _speaks_tls(target: str) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _connect(target) as plain:
        try:
            context.wrap_socket(plain).close()
        except ssl.SSLError:
            return None
    return f"it speaks TLS: write grpcs://{target}"


def _handshake(target: str, tls: SourceTls) -> str | None:
    name = tls.name or urlsplit(f"//{target}").hostname
    with _connect(target) as plain:
        try:
            with tls.context().wrap_socket(plain, server_hostname=name) as secured:
                # Servers refuse a client's certificate after the handshake; those that do not, speak first.
                if secured.recv(1):
                    return None
        except ssl.SSLCertVerificationError as error:
            return _distrust(error)
        except ssl.SSLError as error:
            if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
                return f"it speaks no TLS: write grpc://{target}"
            if "ALERT" not in (error.reason or ""):
                return f"TLS with it fails ({error.reason})"
    shown = "another certificate" if tls.cert else "a certificate"
    return f"it may ask for {shown} of its clients: give --source-tls-cert and --source-tls-key"


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return f"its certificate is not valid now ({error.verify_message}): have it renewed, or set this clock"
    if error.verify_code in _OTHER_NAME:
        return f"{error.verify_message.rstrip('.')}: use the name it is for, or give that with --source-tls-name"
    return f"its certificate is not trusted ({error.verify_message}): give its authority's with --source-tls-ca"


def _connect(target: str) -> socket.socket:
    parts = urlsplit(f"//{target}")
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_PROBE_SECONDS)
