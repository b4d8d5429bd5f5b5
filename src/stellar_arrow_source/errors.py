"""Errors of the server and its sources, on the common base of the client SDK."""

from __future__ import annotations

from stellar_arrow_client.errors import IntegrityError, UnavailableError


class DecodeError(IntegrityError):
    """A ledger whose XDR is malformed.

    Attributes:
        ledger: sequence of the ledger, or None when its header could not be read.
        index: position of the ledger in the batch that was given to the decoder.
        offset: byte offset of the fault within the LedgerCloseMeta.
        path: where in the schema the reader stood, such as ``LedgerCloseMeta.v1.txSet``.
        reason: what is wrong there.
    """

    def __init__(self, reason: str, *, ledger: int | None, index: int, offset: int, path: str) -> None:
        self.reason, self.ledger, self.index, self.offset, self.path = reason, ledger, index, offset, path
        which = f"ledger {ledger}" if ledger is not None else f"ledger at position {index} of its batch"
        super().__init__(f"{which} is not valid XDR: {reason} at byte {offset}, in {path}")


class NetworkMismatchError(IntegrityError):
    """The ledgers belong to another network than the one configured or declared."""


class SourceUnavailableError(UnavailableError):
    """The ledger source cannot be reached, or has no ledger to give."""


class SourceRefusedError(SourceUnavailableError):
    """The ledger source refuses the credentials that the server has for it; to clients it is unavailable."""


class StalledClientError(UnavailableError):
    """A client did not read for too long; it may ask again for what it has not had."""
