"""Recomputes every hash that a ledger's header commits to.

What is proven of a run of ledgers: each header has the hash that the next one names, and transaction set,
results and transaction hashes are those of the headers. What no hash commits to, and nothing can prove from
LedgerCloseMeta alone: fee changes and transaction meta (ledger entry changes, events), upgrade meta, evicted keys.
The header's bucket-list hash commits to ledger state that is not part of LedgerCloseMeta.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import DecodeError, NetworkMismatchError
from stellar_arrow_source.ledgers.source import RawLedger
from stellar_arrow_source.networks import KNOWN_NETWORKS, network_id
from stellar_arrow_source.xdr import Arena, LedgerBuffer, Program, Relation, compile_program

PROVEN = "ledger hashes, their chain, transaction sets, results and transaction hashes"
NOT_PROVEN = "fee changes, transaction meta, events and evicted keys, which no hash of a ledger commits to"

_LEDGER = Relation("ledger", anchors=("LedgerCloseMeta",), strip=("v0", "v1", "v2"))
_ENVELOPE = Relation("envelope", anchors=("TransactionEnvelope",))
_RESULT = Relation("result", anchors=("TransactionResultMeta", "TransactionResultMetaV1"))

_HEADER = "ledgerHeader.header"
_FIELDS = (
    "ledgerHeader.hash",
    _HEADER,
    f"{_HEADER}.previousLedgerHash",
    f"{_HEADER}.scpValue.txSetHash",
    f"{_HEADER}.scpValue.ext",
    f"{_HEADER}.txSetResultHash",
    f"{_HEADER}.ledgerSeq",
    "txSet",
)
_SIGNED = {0: "v0.tx", 2: "v1.tx", 5: "feeBump.tx"}  # EnvelopeType → what its hash covers, with the discriminant
_TX_V0_PREFIX = bytes([0, 0, 0, 2, 0, 0, 0, 0])  # ENVELOPE_TYPE_TX, KEY_TYPE_ED25519
_EMPTY_TX_SET = 2  # STELLAR_VALUE_EMPTY_TX_SET, protocol 28


@dataclass(slots=True)
class Verified:
    """What has been recomputed and found right.

    Attributes:
        links: ledgers whose previousLedgerHash is the hash of the ledger that came before them.
        passphrase: of the network the transaction hashes were made with; None before the first transaction.
    """

    passphrase: str | None = None
    ledgers: int = 0
    links: int = 0
    transactions: int = 0


class Verifier:
    """Checks ledgers one by one, in ascending order.

    Args:
        passphrase: of the network; None = found among the known ones with the first transaction.
    """

    def __init__(self, passphrase: str | None = None) -> None:
        self.verified = Verified(passphrase)
        self._before: tuple[int, bytes] | None = None  # sequence and hash
        self._buffer = LedgerBuffer()
        self._arena = Arena(_program())

    def check(self, ledger: RawLedger, *, has_header: bool = True) -> None:
        """Recompute the hashes of one ledger.

        Args:
            has_header: False for a ledger whose header was made up around its transactions: only their
                hashes are checked then.

        Raises:
            DecodeError: it is not valid XDR.
            IntegrityError: a hash is not what it should be; says which.
            NetworkMismatchError: the transactions belong to another network.
        """
        parts = self._read(ledger)
        if has_header:
            self._check_header(ledger.sequence, parts)
            self._check_chain(ledger.sequence, parts)
            self._check_sets(ledger.sequence, parts)
        self._check_transactions(ledger.sequence, parts)
        self.verified.ledgers += 1

    def _read(self, ledger: RawLedger) -> _Parts:
        self._buffer.clear()
        try:
            self._buffer.append(ledger.xdr)
            self._arena.walk(self._buffer.words, self._buffer.bounds)
        except DecodeError as error:
            raise DecodeError(
                error.reason, ledger=ledger.sequence, index=0, offset=error.offset, path=error.path
            ) from None
        return _Parts(self._arena, ledger.xdr, int(self._buffer.bounds[0, 0]))

    def _check_header(self, sequence: int, parts: _Parts) -> None:
        if (inside := int.from_bytes(parts.field(f"{_HEADER}.ledgerSeq", 4), "big")) != sequence:
            raise IntegrityError(f"ledger {sequence} has the header of ledger {inside}")
        _compare(sequence, "ledger hash", parts.hash("ledgerHeader.hash"), sha256(parts.header).digest())

    def _check_chain(self, sequence: int, parts: _Parts) -> None:
        if self._before is not None:
            last, digest = self._before
            if sequence <= last:
                raise GapError(f"ledger {sequence} comes after ledger {last}")
            if sequence == last + 1:
                _compare(sequence, "hash of the previous ledger", parts.hash(f"{_HEADER}.previousLedgerHash"), digest)
                self.verified.links += 1
        self._before = sequence, parts.hash("ledgerHeader.hash")

    def _check_sets(self, sequence: int, parts: _Parts) -> None:
        results = len(parts.results).to_bytes(4, "big") + b"".join(parts.results)
        declared = parts.hash(f"{_HEADER}.txSetResultHash")
        _compare(sequence, "result-set hash", declared, sha256(results).digest())
        declared = parts.hash(f"{_HEADER}.scpValue.txSetHash")
        if int.from_bytes(parts.field(f"{_HEADER}.scpValue.ext", 4), "big") == _EMPTY_TX_SET:
            # The set that was proposed is named in the extension and was dropped: an empty one was applied.
            _compare(sequence, "transaction-set hash", declared, bytes(32))
            if parts.envelopes:
                raise IntegrityError(
                    f"ledger {sequence}: the header says that the transaction set is empty, but it holds "
                    f"{len(parts.envelopes)} transactions"
                )
            return
        _compare(sequence, "transaction-set hash", declared, parts.transaction_set_hash())

    def _check_transactions(self, sequence: int, parts: _Parts) -> None:
        named = Counter(bytes(pair[:32]) for pair in parts.results)
        if not named and not parts.envelopes:
            return
        passphrase = self.verified.passphrase or self._recognise(sequence, parts, named)
        made = Counter(parts.transaction_hashes(network_id(passphrase)))
        if made != named:
            if not made & named:
                raise NetworkMismatchError(
                    f"the transactions of ledger {sequence} do not belong to the network {passphrase!r}: "
                    "give the passphrase of their network"
                )
            stray = named - made or made - named
            which = "of its results are not in its set" if named - made else "of its set have no result"
            raise IntegrityError(
                f"ledger {sequence}: {stray.total()} transactions {which}, such as {next(iter(stray)).hex()}"
            )
        self.verified.passphrase = passphrase
        self.verified.transactions += sum(named.values())

    def _recognise(self, sequence: int, parts: _Parts, named: Counter[bytes]) -> str:
        for passphrase in KNOWN_NETWORKS.values():
            if named.keys() & set(parts.transaction_hashes(network_id(passphrase))):
                return passphrase
        raise NetworkMismatchError(
            f"the transactions of ledger {sequence} belong to none of the known networks "
            f"({', '.join(KNOWN_NETWORKS)}): give the passphrase of their network"
        )


def verify(ledgers: Iterable[RawLedger], passphrase: str | None = None) -> Verified:
    """Check ledgers that come in ascending order; see :meth:`Verifier.check` for what is raised."""
    verifier = Verifier(passphrase)
    for ledger in ledgers:
        verifier.check(ledger)
    return verifier.verified


class _Parts:
    """The spans of one LedgerCloseMeta that hashes are made of.

    Attributes:
        header: ``LedgerHeader``.
        envelopes: each ``TransactionEnvelope``, with its EnvelopeType and the length that its hash covers.
        results: each ``TransactionResultPair``, in apply order.
    """

    def __init__(self, arena: Arena, xdr: bytes | memoryview, first: int) -> None:
        self._arena, self._xdr, self._first = arena, memoryview(xdr).cast("B"), first
        self._ledger: list[int] = arena.rows("ledger")[0].tolist()
        self.version = int.from_bytes(self._xdr[:4], "big")
        self.header = self._span("ledger", self._ledger, _HEADER, f"v{self.version}.{_HEADER}")
        self.results = [self._span("result", row, "result", "result") for row in arena.rows("result").tolist()]
        self.envelopes = [self._envelope(row) for row in arena.rows("envelope").tolist()]

    def field(self, path: str, size: int) -> memoryview:
        """The first bytes of a field of the ledger."""
        at = self._at("ledger", self._ledger, path)
        return self._xdr[at : at + size]

    def hash(self, path: str) -> bytes:
        """A ``Hash`` of the ledger."""
        return bytes(self.field(path, 32))

    def transaction_set_hash(self) -> bytes:
        """Of a generalized set (LedgerCloseMeta V1 on) the hash of itself; of a legacy one that of its parts."""
        if self.version > 0:
            return sha256(self._span("ledger", self._ledger, "txSet", f"v{self.version}.txSet")).digest()
        envelopes = sorted((envelope for envelope, _ in self.envelopes), key=lambda one: sha256(one).digest())
        return sha256(b"".join([self.hash("txSet"), *envelopes])).digest()  # previousLedgerHash comes first

    def transaction_hashes(self, network: bytes) -> list[bytes]:
        """Of each envelope, under a network id."""
        return [
            sha256(network + (signed if signed[3] else _TX_V0_PREFIX + signed[4:])).digest()
            for signed in (bytes(envelope[:length]) for envelope, length in self.envelopes)
        ]

    def _envelope(self, row: list[int]) -> tuple[memoryview, int]:
        envelope = self._span("envelope", row, "", "")
        signed = _SIGNED[int.from_bytes(envelope[:4], "big")]
        return envelope, self._at("envelope", row, f"{signed}$") - self._at("envelope", row, "")

    def _span(self, relation: str, row: list[int], path: str, until: str) -> memoryview:
        return self._xdr[self._at(relation, row, path) : self._at(relation, row, f"{until}$")]

    def _at(self, relation: str, row: list[int], path: str) -> int:
        location = self._arena.location(relation, path)
        return (row[location.slot] + location.offset - self._first) * 4


@cache
def _program() -> Program:
    versions = ("v0", "v1", "v2")
    headers = {f"{version}.{_HEADER}" for version in versions}
    return compile_program(
        [_LEDGER, _ENVELOPE, _RESULT],
        {"ledger": frozenset(_FIELDS), "result": frozenset({"result"})},
        {
            "ledger": frozenset(headers | {"v1.txSet", "v2.txSet"}),
            "envelope": frozenset({"", *_SIGNED.values()}),
            "result": frozenset({"result"}),
        },
    )


def _compare(sequence: int, what: str, declared: bytes, computed: bytes) -> None:
    if declared != computed:
        raise IntegrityError(
            f"ledger {sequence}: the {what} should be {computed.hex()}, but the ledger says {declared.hex()}"
        )
