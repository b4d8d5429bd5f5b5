"""How to serve, and what of it does not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stellar_arrow_client.errors import InvalidRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to serve; see the options of ``ttp-processor serve``."""

    host: str
    port: int
    start: int | None = None
    condition: str | None = None
    max_calls: int = 64
    drain_seconds: float = 10.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidRequestError("TLS needs both --tls-cert and --tls-key")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidRequestError("--tls-client-ca needs --tls-cert and --tls-key")
