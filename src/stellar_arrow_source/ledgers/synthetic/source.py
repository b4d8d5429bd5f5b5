"""The source of synthetic ledgers: a history that is made as it is read, and a tip that moves on."""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_type_hints
from urllib.parse import parse_qsl, urlsplit

from stellar_arrow_client.errors import GapError, InvalidRequestError
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, RawLedger
from stellar_arrow_source.ledgers.synthetic.ledger import close_ledger
from stellar_arrow_source.ledgers.synthetic.world import World
from stellar_arrow_source.networks import KNOWN_NETWORKS, network_id

NETWORK_PASSPHRASE = KNOWN_NETWORKS["synthetic"]
"""Passphrase that the synthetic ledgers' hashes are made with."""

_MAX_SEQUENCE = (1 << 31) - 1  # an id (SEP-35) is a signed 64-bit integer with the sequence on top
_CACHE_BYTES = 64 << 20
_MAX_SNAPSHOTS = 64
_MAX_WORLDS = 8


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query of ``synthetic://?…``.

    Attributes:
        ledgers: how many are there from the beginning.
        start: sequence of the first one.
        rate: how many more come in a second, for ever; 0 = none.
        seed: another seed gives other ledgers.
        transactions: how many there are in an average ledger.

    Raises:
        InvalidRequestError: a value is out of its bounds.
    """

    ledgers: int = 1_000
    start: int = 2
    rate: float = 0.0
    seed: str = "stellar"
    transactions: int = 30

    def __post_init__(self) -> None:
        for name, least, most in (
            ("start", 2, _MAX_SEQUENCE),
            ("ledgers", 1, _MAX_SEQUENCE - self.start + 1),
            ("rate", 0, 1_000),
            ("transactions", 1, 500),
        ):
            if not least <= (value := getattr(self, name)) <= most:
                raise InvalidRequestError(f"{name}={value} is out of bounds: give {least} to {most}")

    @classmethod
    def parse(cls, endpoint: str) -> Parameters:
        """Read an endpoint.

        Raises:
            InvalidRequestError: a parameter is unknown, given twice, or no number.
        """
        parts = urlsplit(endpoint)
        kinds: dict[str, type] = get_type_hints(cls)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        given = dict(pairs)
        unknown = sorted(given.keys() - kinds.keys())
        if parts.netloc or parts.path or parts.fragment or unknown or len(given) < len(pairs):
            raise InvalidRequestError(
                f"{endpoint!r} is no synthetic source: use synthetic://?name=value&…, each of "
                f"{', '.join(kinds)} at most once"
            )
        try:
            return cls(**{name: kinds[name](value) for name, value in given.items()})
        except ValueError as error:
            raise InvalidRequestError(f"{endpoint!r}: {error}") from error


class SyntheticSource:
    """Ledgers of a simulated world; the same parameters give the same bytes, wherever reading starts.

    Attributes:
        endpoint: ``synthetic://?…``, as given.
        network_passphrase: :data:`NETWORK_PASSPHRASE`.
    """

    def __init__(self, parameters: Parameters, *, endpoint: str) -> None:
        self.endpoint = endpoint
        self.network_passphrase: str | None = NETWORK_PASSPHRASE
        self._parameters = parameters
        self._history = _History(parameters)
        self._opened = time.monotonic()

    @classmethod
    def from_endpoint(cls, endpoint: str) -> SyntheticSource:
        """The source that an endpoint describes.

        Raises:
            InvalidRequestError: see :meth:`Parameters.parse`.
        """
        return cls(Parameters.parse(endpoint), endpoint=endpoint)

    def bounds(self) -> Bounds:
        """First ledger and the newest by now."""
        come = int((time.monotonic() - self._opened) * self._parameters.rate)
        first = self._parameters.start
        return Bounds(first, min(first + self._parameters.ledgers - 1 + come, _MAX_SEQUENCE))

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`."""
        if start < self._parameters.start:
            raise GapError(f"{self.endpoint} begins with ledger {self._parameters.start}, after ledger {start}")
        sequence = start
        while not stop.is_set() and (end is None or sequence <= end):
            if (wait := self._seconds_until(sequence)) > 0:
                stop.wait(min(wait, POLL_SECONDS))
            elif (xdr := self._history.ledger(sequence, stop)) is not None:
                yield RawLedger(sequence, xdr)
                sequence += 1

    def close(self) -> None:
        """Nothing to release."""

    def _seconds_until(self, sequence: int) -> float:
        """How long a ledger is still to come; 0 or less when it is there."""
        ahead = sequence - (self._parameters.start + self._parameters.ledgers - 1)
        if ahead <= 0:
            return 0.0
        if not self._parameters.rate:
            return POLL_SECONDS
        return self._opened + ahead / self._parameters.rate - time.monotonic()


class _History:
    """Ledgers by sequence, made in order since each holds the hash of the one before.

    What was made lately is kept, and the world at times, so that reading may start anywhere and readers
    may be at different places without everything being made again.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._lock = threading.Lock()
        self._ledgers: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        genesis = World.genesis(
            network_id(NETWORK_PASSPHRASE),
            parameters.seed,
            parameters.start - 1,
            users=max(64, 3 * parameters.transactions),
        )
        # Both by the sequence of the ledger that is closed next.
        self._snapshots = {parameters.start: pickle.dumps(genesis)}
        self._worlds: OrderedDict[int, World] = OrderedDict()
        self._interval = 64  # ledgers between two snapshots

    def ledger(self, sequence: int, stop: threading.Event) -> bytes | None:
        """XDR of a ledger, or None when ``stop`` is set before it is made."""
        while not stop.is_set():
            with self._lock:
                if (xdr := self._ledgers.get(sequence)) is not None:
                    self._ledgers.move_to_end(sequence)
                    return xdr
                self._advance_towards(sequence)
        return None

    def _advance_towards(self, sequence: int) -> None:
        """Close one ledger: the next one of the world that is nearest before ``sequence``."""
        at = max(known for known in (*self._snapshots, *self._worlds) if known <= sequence)
        world = self._worlds.pop(at, None)
        if world is None:
            world = pickle.loads(self._snapshots[at])
        number = at - self._parameters.start
        self._keep(at, close_ledger(world, number, self._parameters.transactions))
        self._worlds[at + 1] = world
        if len(self._worlds) > _MAX_WORLDS:
            self._worlds.popitem(last=False)
        if (number + 1) % self._interval == 0 and at + 1 not in self._snapshots:
            self._snapshot(at + 1, world)

    def _keep(self, sequence: int, xdr: bytes) -> None:
        if sequence not in self._ledgers:
            self._ledgers[sequence] = xdr
            self._bytes += len(xdr)
        while self._bytes > _CACHE_BYTES and len(self._ledgers) > 1:
            self._bytes -= len(self._ledgers.popitem(last=False)[1])

    def _snapshot(self, sequence: int, world: World) -> None:
        self._snapshots[sequence] = pickle.dumps(world)
        if len(self._snapshots) > _MAX_SNAPSHOTS:
            self._interval *= 2
            first = self._parameters.start
            self._snapshots = {at: kept for at, kept in self._snapshots.items() if (at - first) % self._interval == 0}
