"""Tokens and passwords, and the hashes of them that a server keeps instead.

A token is 256 random bits, which nobody finds by trying: SHA-256 of it is enough. A password may be one that somebody
thought of: its hash is scrypt (RFC 7914), which makes each attempt cost time and memory.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

TOKEN_PREFIX: Final = "sas_"
"""Marks a token as one of stellar-arrow-source, for those who look for secrets where none should be."""

MIN_PASSWORD_CHARS: Final = 12
MAX_SECRET_CHARS: Final = 1024
MAX_SCRYPT_BYTES: Final = 64 << 20
"""Memory of one scrypt: 128 n r bytes."""

_SCRYPT = re.compile(r"scrypt:([0-9]{1,7}):([0-9]{1,2}):([0-9]):([0-9a-f]{32,128}):([0-9a-f]{64})")


def new_token() -> str:
    """A bearer token: 256 bits of the system's randomness."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_sha256(token: str) -> str:
    """The hash of a token, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """scrypt of a password, with its cost: ``n`` iterations, block size ``r``, parallelism ``p``."""

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, password: str) -> PasswordHash:
        """The hash of a password, with a salt of its own; takes about 50 ms and 16 MiB."""
        n, r, p, salt = 1 << 14, 8, 1, secrets.token_bytes(16)
        return cls(n, r, p, salt, _scrypt(password, n, r, p, salt))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Read what ``str`` gives.

        Raises:
            ValueError: it is something else, or costs more than a server should spend.
        """
        match = _SCRYPT.fullmatch(text)
        if match is None:
            raise ValueError("must be scrypt:N:R:P:SALT:KEY, as the command token writes it")
        n, r, p = (int(number) for number in match.groups()[:3])
        if n < 2 or n & (n - 1) or not r or not p or 128 * n * r > MAX_SCRYPT_BYTES or p > 4:
            raise ValueError(f"must have a power of two as N, and need at most {MAX_SCRYPT_BYTES} bytes of memory")
        return cls(n, r, p, bytes.fromhex(match[4]), bytes.fromhex(match[5]))

    def matches(self, password: str) -> bool:
        """Whether it is the hash of that password; takes the same time either way."""
        return hmac.compare_digest(_scrypt(password, self.n, self.r, self.p, self.salt), self.key)

    def __str__(self) -> str:
        return f"scrypt:{self.n}:{self.r}:{self.p}:{self.salt.hex()}:{self.key.hex()}"


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * MAX_SCRYPT_BYTES, dklen=32)
