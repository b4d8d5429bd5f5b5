"""What every source of ledgers offers, and the small parts they share."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stellar_arrow_source.errors import NetworkMismatchError

POLL_SECONDS = 0.2
"""How often a source that waits looks at its stop event, and for a ledger that is not there yet."""


@dataclass(frozen=True, slots=True)
class RawLedger:
    """One ledger as the network closed it.

    Attributes:
        sequence: ledger sequence number.
        xdr: XDR of LedgerCloseMeta.
    """

    sequence: int
    xdr: bytes | memoryview


class Bounds(NamedTuple):
    """Oldest and newest ledger of a source, both inclusive; None = the source does not tell, or has none."""

    oldest: int | None
    latest: int | None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter.

    Attributes:
        attempts: failures in a row, without a ledger in between, after which a source gives up.
        initial: delay after the first failure, in seconds.
        maximum: upper bound of a delay, in seconds.
        jitter: a delay is shortened by a random share of up to this fraction, so that clients spread.
    """

    attempts: int = 10
    initial: float = 0.2
    maximum: float = 15.0
    jitter: float = 0.5

    def delay(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row (1 = the first)."""
        full = min(self.maximum, self.initial * 2.0 ** min(failures - 1, 32))
        return full * (1 - self.jitter * random.random())


class LedgerSource(Protocol):
    """A place that ledgers are read from; safe to use from several threads at once.

    Attributes:
        endpoint: where it is, as given, without credentials.
        network_passphrase: passphrase that the source itself declares, or None.
    """

    @property
    def endpoint(self) -> str: ...

    @property
    def network_passphrase(self) -> str | None: ...

    def bounds(self) -> Bounds:
        """The ledgers that are there now.

        Raises:
            SourceUnavailableError: the source cannot be reached.
        """

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """Every ledger from ``start`` to ``end`` (inclusive; None = follow the tip for ever), ascending.

        Waits for ledgers that are not there yet; returns early only when ``stop`` is set, which a waiting
        source looks at every :data:`POLL_SECONDS`.

        Raises:
            GapError: a ledger is missing although a later one exists, or ``start`` is before the oldest.
            IntegrityError: a ledger is damaged, or is another one than its place says.
            SourceUnavailableError: the source cannot be reached, after all retries.
        """

    def close(self) -> None:
        """Release connections and threads."""


def common_passphrase(sources: Sequence[LedgerSource]) -> str | None:
    """The network that several sources declare; None where none does.

    Raises:
        NetworkMismatchError: they declare different ones.
    """
    declared = {source.network_passphrase: source for source in sources if source.network_passphrase is not None}
    if len(declared) > 1:
        named = " and ".join(f"{source.endpoint} ({passphrase!r})" for passphrase, source in declared.items())
        raise NetworkMismatchError(f"these sources are of different networks: {named}")
    return next(iter(declared), None)
