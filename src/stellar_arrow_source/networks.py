"""The networks that are known by name; a network's id is the SHA-256 of its passphrase."""

from __future__ import annotations

from hashlib import sha256

KNOWN_NETWORKS: dict[str, str] = {
    "pubnet": "Public Global Stellar Network ; September 2015",
    "testnet": "Test SDF Network ; September 2015",
    "futurenet": "Test SDF Future Network ; October 2022",
    "synthetic": "stellar-arrow synthetic network",
}
"""Short name → passphrase."""


def network_id(passphrase: str) -> bytes:
    """The 32-byte network id that every transaction hash starts from."""
    return sha256(passphrase.encode()).digest()


def network_name(passphrase: str) -> str:
    """The short name of a known network, else the passphrase itself."""
    return next((name for name, known in KNOWN_NETWORKS.items() if known == passphrase), passphrase)
