"""Files of clients, as an operator would write them, and certificates of an authority made on the spot."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import flight


@dataclass
class ClientsFile:
    """Written by hand, not by the code under test; a token is made of its client's name."""

    path: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write()

    def add(self, name: str, **fields: Any) -> str:
        """Put a client in the place of one of that name; returns its token."""
        token = f"token-of-{name}"
        credential = {} if "password_scrypt" in fields else {"token_sha256": hashlib.sha256(token.encode()).hexdigest()}
        self.entries[name] = {"name": name, "streams": "*", **credential, **fields}
        self.write()
        return token

    def remove(self, name: str) -> None:
        del self.entries[name]
        self.write()

    def write(self, text: str | None = None) -> None:
        body = {"version": 1, "clients": list(self.entries.values())}
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(body) if text is None else text)
        beside.chmod(0o600)
        beside.replace(self.path)


def bearer(token: str) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())], timeout=30)


class Certificate(NamedTuple):
    cert: Path
    key: Path


class Authority:
    """Signs certificates, with the openssl command."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, name
        self.own = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(
            f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {self.own.key} -out {self.own.cert}"
        )

    def sign(self, name: str, *, days: int = 2, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
        """A certificate for this machine, or for other names; of less than no days it has expired."""
        stem = self._folder / f"{self._name}-{name}"
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl(f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {made.key} -out {request}")
        _openssl(
            f"x509 -req -in {request} -CA {self.own.cert} -CAkey {self.own.key} -CAcreateserial -days {days}"
            f" -extfile {extensions} -out {made.cert}"
        )
        return made


def _openssl(arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True)
